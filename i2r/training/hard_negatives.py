"""Content that resembles overlays, drawn on photographs: what the network of overlays must leave alone.

Letters, lamps and stars, eyes, window frames, fences, wires, and cut-out objects with hard edges: a clean
picture holds any of them. :mod:`i2r.training.overlay_network` draws them under the overlays of its batches,
and labels them as not covered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from i2r.errors import SettingsError
from i2r.training.overlay_drawing import FloatImage, log_uniform

_SIGNS = "aaabcdeeefghiiklmnnooprrsttuvwxyzABCDEFGHIKLMNOPRSTUVZ0123456789.,:;!?()/%&+-"
_SCALE = 3  # drawings are made so much larger and reduced, which smooths their edges


class HardNegatives:
    """Draws such content.

    Args:
        cutouts: folder of PNG files with a transparent background, searched recursively; None for none.
        fonts: folder of TrueType fonts, searched recursively; None for the font of Pillow alone.

    Raises:
        SettingsError: a folder is given that holds none.
    """

    def __init__(self, cutouts: Path | None = None, fonts: Path | None = None) -> None:
        self._cutouts = _files(cutouts, "*.png", "PNG")
        self._fonts = _files(fonts, "*.ttf", "TrueType")
        self._kinds: Sequence[Callable[[Image.Image, np.random.Generator], Image.Image]] = [
            self._lines_of_text,
            self._lines_of_text,
            _lamps,
            _eyes,
            _bars,
            _wires,
            *([self._objects] * 3 if self._cutouts else []),
        ]

    def draw(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Draw one kind of content on an image (H, W, 3) in [0, 1]; returns a new one."""
        picture = Image.fromarray(np.rint(image * 255).astype(np.uint8))
        if rng.random() < 0.25:
            picture = _flat(picture, rng)
        drawn = self._kinds[int(rng.integers(len(self._kinds)))](picture, rng)
        return np.asarray(drawn, np.float32) / np.float32(255)

    def _lines_of_text(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Letters, a line or a page of them, some on a sign of their own, some turned."""
        font = self._font(rng)
        layer, pen = _layer(picture)
        left, top = (int(rng.uniform(-0.1, 0.5) * side) for side in layer.size)
        lines = ["".join(rng.choice(list(_SIGNS), rng.integers(2, 30))) for _ in range(rng.integers(1, 14))]
        text = "\n".join(line.replace("%", " ").replace("&", " ") for line in lines)
        ink, paper = _two_colours(rng)
        if rng.random() < 0.4:
            box = pen.multiline_textbbox((left, top), text, font)
            margin = int(rng.integers(2, 12)) * _SCALE
            pen.rectangle((box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin), paper)
        outline = int(rng.integers(1, 3)) * _SCALE if rng.random() < 0.2 else 0
        pen.multiline_text((left, top), text, ink, font, stroke_width=outline, stroke_fill=paper)
        turn = float(rng.choice([0.0, rng.normal(0, 8), rng.uniform(0, 360)], p=[0.6, 0.25, 0.15]))
        return _laid_over(picture, layer.rotate(turn, Image.Resampling.BILINEAR) if turn else layer)

    def _font(self, rng: np.random.Generator) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        size = log_uniform(rng, 8, 44) * _SCALE
        if self._fonts and rng.random() < 0.8:
            return ImageFont.truetype(self._fonts[rng.integers(len(self._fonts))], round(size))
        return ImageFont.load_default(size)

    def _objects(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Cut-out things, one or many small ones."""
        side = max(picture.size)
        for _ in range(int(rng.choice([1, 1, 2, 4, 12]))):
            with Image.open(self._cutouts[rng.integers(len(self._cutouts))]) as file:
                thing = file.convert("RGBA")
            reach = log_uniform(rng, 10, 1.2 * side)
            scale = reach / max(thing.size)
            size = [max(1, round(length * scale)) for length in thing.size]
            thing = thing.resize((size[0], size[1]), Image.Resampling.LANCZOS)
            place = [int(rng.uniform(-length / 2, side - length / 2)) for length in size]
            picture.paste(thing, (place[0], place[1]), thing)
        return picture


def _files(folder: Path | None, pattern: str, kind: str) -> list[Path]:
    found = sorted(folder.rglob(pattern)) if folder is not None else []
    if folder is not None and not found:
        raise SettingsError(f"{folder} holds no {kind} file: give a folder that does, or none")
    return found


def _two_colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One dark and one bright, in either order, mostly without much of a hue."""
    hue = rng.normal(0, rng.choice([4, 60]), (2, 3))
    levels = np.array([rng.uniform(0, 80), rng.uniform(175, 255)])[:, None] + hue
    first, second = (tuple(int(x) for x in row) for row in np.clip(levels, 0, 255))
    return (first, second) if rng.random() < 0.6 else (second, first)


def _flat(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A sheet of one colour, or with a shade, in its place: paper, a wall, the sky."""
    (dark, bright), (width, height) = _two_colours(rng), picture.size
    sheet = Image.new("RGB", (width, height), dark)
    if rng.random() < 0.4:
        return sheet
    other = Image.new("RGB", (width, height), bright if rng.random() < 0.3 else tuple(x // 2 for x in dark))
    shade = Image.linear_gradient("L").rotate(float(rng.choice([0, 90, 180, 270]))).resize((width, height))
    return Image.composite(other, sheet, shade)


def _layer(picture: Image.Image) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    width, height = picture.size
    layer = Image.new("RGBA", (width * _SCALE, height * _SCALE))
    return layer, ImageDraw.Draw(layer)


def _laid_over(picture: Image.Image, layer: Image.Image) -> Image.Image:
    """A layer in premultiplied colours, so that its edges do not darken."""
    small = layer.convert("RGBa").resize(picture.size, Image.Resampling.BOX).convert("RGBA")
    return Image.alpha_composite(picture.convert("RGBA"), small).convert("RGB")


def _lamps(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Bright discs of one scene with a glow, over a dark one: lamps, stars, glints, bokeh."""
    dark = picture.point(
        [int(level * share) for share in [rng.uniform(0.05, 0.7)] for level in range(256)] * 3
    )
    layer, pen = _layer(dark)
    width, height = layer.size
    largest, tint = log_uniform(rng, 0.6, 14) * _SCALE, rng.normal(0, 18, 3)
    colour = tuple(int(x) for x in np.clip(rng.uniform(215, 255) + tint, 0, 255))
    band = rng.uniform(0, 1, 2) * height
    for _ in range(int(log_uniform(rng, 1, 80))):
        reach = largest * rng.uniform(0.4, 1)
        x, y = (
            rng.uniform(0, width),
            rng.uniform(*sorted(band)) if rng.random() < 0.7 else rng.uniform(0, height),
        )
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), colour)
    if rng.random() < 0.5:
        glow = layer.filter(ImageFilter.GaussianBlur(float(largest * rng.uniform(1, 3))))
        dark = _laid_over(dark, glow)
    return _laid_over(dark, layer)


def _eyes(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Dark discs in lighter ones, some with a glint: eyes, buttons, wheels, knots, berries."""
    layer, pen = _layer(picture)
    width, height = layer.size
    reach = log_uniform(rng, 2, 14) * _SCALE
    (dark, bright), around = _two_colours(rng), rng.uniform(1.3, 2.6)
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
    for _ in range(int(rng.choice([1, 2, 2, 5]))):
        flat = rng.uniform(0.4, 1)
        pen.ellipse(
            (x - around * reach, y - flat * around * reach, x + around * reach, y + flat * around * reach),
            bright,
        )
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), dark)
        if rng.random() < 0.7:
            glint, at = reach * rng.uniform(0.15, 0.4), reach * rng.uniform(-0.5, 0.5, 2)
            pen.ellipse((x + at[0] - glint, y + at[1] - glint, x + at[0] + glint, y + at[1] + glint), bright)
        x, y = x + reach * rng.uniform(3, 8), y + reach * rng.normal(0, 0.4)
    return _laid_over(picture, layer.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.5) * _SCALE))))


def _bars(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Even rows of bars, one way or both, in a frame or beyond the edge: windows, fences, blinds, tiles."""
    layer, pen = _layer(picture)
    width, height = layer.size
    left, top = rng.uniform(-0.2, 0.5) * width, rng.uniform(-0.2, 0.5) * height
    right, bottom = left + rng.uniform(0.25, 1.2) * width, top + rng.uniform(0.25, 1.2) * height
    ink, _ = _two_colours(rng)
    thick, step = round(log_uniform(rng, 1, 7) * _SCALE), log_uniform(rng, 5, 50) * _SCALE
    if rng.random() < 0.5:
        pen.rectangle((left, top, right, bottom), outline=ink, width=thick)
    ways = rng.integers(1, 4)
    if ways & 1:
        for x in np.arange(left, right, step):
            pen.line((x, top, x, bottom), ink, thick)
    if ways & 2:
        for y in np.arange(top, bottom, step * rng.uniform(0.5, 2)):
            pen.line((left, y, right, y), ink, thick)
    turn = float(rng.choice([0.0, rng.normal(0, 6), rng.uniform(0, 360)]))
    return _laid_over(picture, layer.rotate(turn, Image.Resampling.BILINEAR) if turn else layer)


def _wires(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A few long lines that belong together: wires, masts, twigs that part, outlines of a drawing."""
    layer, pen = _layer(picture)
    width, height = layer.size
    ink, _ = _two_colours(rng)
    thick, count = log_uniform(rng, 0.7, 4) * _SCALE, int(rng.integers(1, 5))
    x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, math.pi)
    fan, bend = rng.choice([0.0, 0.5]), rng.normal(0, 0.012)
    for index in range(count):
        turn, points = angle + fan * (index - count / 2), [(x, y)]
        for _ in range(round(rng.uniform(0.5, 2.5) * width / 12)):
            turn += bend + rng.normal(0, 0.03)
            points.append((points[-1][0] + 12 * math.cos(turn), points[-1][1] + 12 * math.sin(turn)))
        pen.line(points, ink, max(1, round(thick)), joint="curve")
        if not fan:
            x, y = x + rng.uniform(6, 24) * _SCALE, y + rng.uniform(-8, 8) * _SCALE
        thick *= 0.8 if fan else 1
    return _laid_over(picture, layer)
