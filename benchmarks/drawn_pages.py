"""Clean pictures that are no photographs, drawn by chance: text, drawings, charts, maps, windows, lights.

No two seeds draw the same picture. The set that chooses constants has the even seeds, the set that is only
measured the odd ones (:mod:`benchmarks.clean_pictures`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 256
_LETTERS = "aaabcdeeefghiiklmnnooprrssttuvwxyzABDEGHKLMNPRST0123456789.,:;!?()-"
_INKS = ("#101010", "#202840", "#401818", "#303030")
_PAPERS = ("white", "white", "#fdf6e3", "#f4f1ea", "#202430")


def draw_page(kind: str, seed: int) -> Image.Image:
    """Draw a picture of a kind, of `SIDE` pixels a side; every fifth in gray.

    Args:
        kind: a name of :data:`KINDS`.
        seed: of all that is random in it.
    """
    chance = random.Random(f"{kind} {seed}")
    page = KINDS[kind](chance)
    return page.convert("L") if seed % 5 == 0 else page


def _paper(chance: random.Random) -> tuple[Image.Image, ImageDraw.ImageDraw, str]:
    colour = chance.choice(_PAPERS)
    page = Image.new("RGB", (SIDE, SIDE), colour)
    return page, ImageDraw.Draw(page), "#f0f0f0" if colour == "#202430" else chance.choice(_INKS)


def _words(chance: random.Random, letters: int) -> str:
    text = "".join(chance.choice(_LETTERS) for _ in range(letters))
    return "".join(" " if chance.random() < 0.16 else letter for letter in text)


def _text(chance: random.Random) -> Image.Image:
    page, pen, ink = _paper(chance)
    size = chance.choice([9, 10, 12, 16, 24])
    for top in range(chance.randint(4, 14), SIDE - 12, round(size * chance.uniform(1.3, 1.6))):
        pen.text((10, top), _words(chance, round(430 / size)), ink, ImageFont.load_default(size))
    return page


def _invoice(chance: random.Random) -> Image.Image:
    page, pen, ink = _paper(chance)
    pen.text((12, 8), _words(chance, 9), ink, ImageFont.load_default(20))
    font, columns = ImageFont.load_default(10), (12, 130, 180, 220)
    for top in range(50, 230, 18):
        pen.line((8, top - 3, 248, top - 3), ink, 1)
        for left, letters in zip(columns, (16, 5, 4, 5), strict=True):
            pen.text((left, top), _words(chance, letters), ink, font)
    for left in columns:
        pen.line((left - 4, 47, left - 4, 227), ink, 1)
    return page


def _line_art(chance: random.Random) -> Image.Image:
    page, pen, ink = _paper(chance)
    width = chance.choice([1, 1, 2, 3])
    for _ in range(chance.randint(6, 18)):
        start, turn, points = chance.uniform(0, 6.3), chance.uniform(-0.25, 0.25), [_place(chance)]
        for _ in range(chance.randint(5, 40)):
            start += turn + chance.gauss(0, 0.1)
            points.append((points[-1][0] + 6 * math.cos(start), points[-1][1] + 6 * math.sin(start)))
        pen.line(points, ink, width, joint="curve")
    return page


def _cartoon(chance: random.Random) -> Image.Image:
    page, pen, ink = _paper(chance)
    for _ in range(chance.randint(5, 14)):
        (x, y), reach = _place(chance), chance.randint(10, 70)
        turns = np.linspace(0, 2 * math.pi, chance.randint(5, 16), endpoint=False)
        radii = [reach * chance.uniform(0.5, 1) for _ in turns]
        corners = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(turns, radii, strict=True)]
        pen.polygon(corners, _colour(chance))
        pen.line([*corners, corners[0]], ink, chance.choice([2, 3, 4]), joint="curve")
    for _ in range(chance.randint(1, 4)):
        x, y = _place(chance)
        pen.ellipse((x, y, x + 24, y + 24), "white", ink, 2)
        pen.ellipse((x + 8, y + 8, x + 17, y + 17), "#101010")
    return page


def _screentone(chance: random.Random) -> Image.Image:
    """A shaded surface as dots of a halftone, under outlines."""
    pitch, angle = chance.uniform(4, 9), chance.choice([0, math.pi / 4, math.pi / 12])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    u = (math.cos(angle) * columns + math.sin(angle) * rows) * 2 * math.pi / pitch
    v = (math.cos(angle) * rows - math.sin(angle) * columns) * 2 * math.pi / pitch
    shade = 0.5 + 0.45 * np.sin(columns / chance.uniform(30, 90) + rows / chance.uniform(30, 90))
    dots = np.clip((2 * shade - 1 - (np.cos(u) + np.cos(v)) / 2) * 3 + 0.5, 0, 1)
    page = Image.fromarray(np.rint(dots * 255).astype(np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(page)
    for _ in range(chance.randint(2, 5)):
        (x, y), reach = _place(chance), chance.randint(20, 80)
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), "white", "black", 3)
    return page


def _chart(chance: random.Random) -> Image.Image:
    page, pen, ink = _paper(chance)
    pen.line((30, 10, 30, 226, 246, 226), ink, 1)
    font = ImageFont.load_default(9)
    if chance.random() < 0.5:
        for index in range(9):
            high = chance.randint(8, 200)
            pen.rectangle((38 + 23 * index, 226 - high, 54 + 23 * index, 225), _colour(chance))
            pen.text((38 + 23 * index, 230), str(chance.randint(0, 99)), ink, font)
        return page
    for top in range(26, 226, 40):
        pen.line((30, top, 246, top), "#c8c8c8", 1)
        pen.text((8, top - 5), str(chance.randint(0, 99)), ink, font)
    for _ in range(chance.randint(1, 4)):
        heights = np.cumsum([chance.randint(40, 200), *(chance.gauss(0, 9) for _ in range(27))])
        values = [(30 + 8 * index, min(220.0, max(12.0, high))) for index, high in enumerate(heights)]
        pen.line(values, colour := _colour(chance), 2)
        for x, y in values[::4]:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
    return page


def _map(chance: random.Random) -> Image.Image:
    page = Image.new("RGB", (SIDE, SIDE), "#f2efe9")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    for colour in ("#aad3df", "#c8e6b4", "#e4dccf"):
        x, y = _place(chance)
        pen.polygon([(x + chance.randint(-70, 70), y + chance.randint(-70, 70)) for _ in range(7)], colour)
    for outline, road, width in (("#b0a080", "#ffffff", 3), ("#a06040", "#f9b29c", 5)):
        for _ in range(chance.randint(3, 9)):
            points = [_place(chance) for _ in range(chance.randint(2, 4))]
            pen.line(points, outline, width + 2, joint="curve")
            pen.line(points, road, width, joint="curve")
    for _ in range(12):
        pen.text(_place(chance), _words(chance, 8), "#404040", font, stroke_width=1, stroke_fill="#f2efe9")
    return page


def _window(chance: random.Random) -> Image.Image:
    dark = chance.random() < 0.4
    back, front = ("#2b2b2b", "#e0e0e0") if dark else ("#f3f3f3", "#202020")
    page = Image.new("RGB", (SIDE, SIDE), back)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(chance.choice([9, 10, 11]))
    pen.rectangle((0, 0, SIDE, 22), accent := _colour(chance))
    pen.text((8, 5), _words(chance, 26), "white", font)
    for index in range(6):
        top = 32 + 36 * index
        button = accent if index % 3 == 0 else back
        pen.rounded_rectangle((12, top, 112, top + 24), 5, outline=front, fill=button)
        pen.text((22, top + 6), _words(chance, 10), front, font)
        pen.ellipse((128, top + 6, 140, top + 18), outline=front, fill=chance.choice([None, accent]))
        pen.text((148, top + 6), _words(chance, 14), front, font)
    return page


def _pixel_art(chance: random.Random) -> Image.Image:
    side = chance.choice([16, 32])
    colours = [tuple(chance.randint(0, 255) for _ in range(3)) for _ in range(6)]
    small = Image.new("RGB", (side, side), colours[0])
    for _ in range(side * side // 3):
        x, y, colour = chance.randrange(side), chance.randrange(side), chance.choice(colours)
        for dx, dy in ((0, 0), (1, 0), (0, 1)):
            small.putpixel(((x + dx) % side, (y + dy) % side), colour)
    return small.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _lights(chance: random.Random) -> Image.Image:
    """Bright discs on dark, with a glow, some in grain: lamps and stars."""
    count, largest = chance.choice([(20, 15), (150, 3), (6, 30), (60, 6)])
    image = np.full((SIDE, SIDE, 3), chance.uniform(0.02, 0.12), np.float32)
    image += np.linspace(0, chance.uniform(0, 0.25), SIDE, dtype=np.float32)[:, None, None]
    page = Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(page)
    for _ in range(count):
        (x, y), reach = _place(chance), chance.uniform(0.8, largest / 2)
        tint = tuple(chance.randint(200, 255) for _ in range(3))
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), tint)
    page = page.filter(ImageFilter.GaussianBlur(chance.choice([0.0, 0.6, 1.0])))
    if chance.random() < 0.5:
        return page
    grain = np.random.default_rng(chance.randrange(1 << 30)).normal(0, 3, (SIDE, SIDE, 1))
    return Image.fromarray(np.rint(np.clip(np.asarray(page) + grain, 0, 255)).astype(np.uint8))


def _ramp(chance: random.Random) -> Image.Image:
    """Synthetic shades without any noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    turn = chance.uniform(0, 2 * math.pi)
    across = math.cos(turn) * columns + math.sin(turn) * rows
    shade = across if chance.random() < 0.5 else np.hypot(rows - chance.random(), columns - chance.random())
    low, high = np.array([chance.random() for _ in range(3)]), np.array([chance.random() for _ in range(3)])
    shade = (shade - shade.min()) / np.ptp(shade)
    return Image.fromarray(np.rint((low + (high - low) * shade[..., None]) * 255).astype(np.uint8))


def _place(chance: random.Random) -> tuple[float, float]:
    return chance.uniform(0, SIDE), chance.uniform(0, SIDE)


def _colour(chance: random.Random) -> str:
    return "#" + "".join(f"{chance.randint(30, 230):02x}" for _ in range(3))


KINDS: Mapping[str, Callable[[random.Random], Image.Image]] = {
    "text": _text,
    "invoice": _invoice,
    "line art": _line_art,
    "cartoon": _cartoon,
    "screentone": _screentone,
    "chart": _chart,
    "map": _map,
    "window": _window,
    "pixel art": _pixel_art,
    "lights": _lights,
    "ramp": _ramp,
}
