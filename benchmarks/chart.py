"""The picture of quality against seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from benchmarks.speed_page import FAST, OURS

SCALE = 2
"""Drawn so many times larger, and shrunk: edges are smooth."""
WIDTH, HEIGHT, ACROSS = 600, 470, 3
"""Of a panel, in pixels, and panels in a line."""
LEFT, TOP, RIGHT, BOTTOM = 70, 56, 30, 82
PAPER, INK, FAINT, GRID = "white", "#222222", "#777777", "#e4e4e4"
TITLE, LABEL, TICK = 29, 25, 22
RADIUS = 12
KEY = (
    "better: up and to the left",
    "hollow: the best of several tries,",
    "picked with the original at hand",
)


@dataclass(frozen=True)
class Mark:
    """How a method is drawn: a regular polygon, of many sides a disc."""

    colour: str
    sides: int
    turn: int = 0
    radius: int = RADIUS


MARKS = {
    OURS: Mark("#d1410c", 60, radius=RADIUS + 3),
    "non-local means": Mark("#0072b2", 4),
    "wavelet": Mark("#56b4e9", 3),
    "total variation": Mark("#009e73", 4, 45),
    FAST: Mark("#1b3a6b", 3, 180),
    "Deep Image Prior": Mark("#7f7f7f", 5),
    "DreamClean": Mark("#b8860b", 6),
    "BIRD": Mark("#a0529c", 60),
}


class Panel:
    """One degradation: PSNR over seconds, both axes drawn.

    Args:
        pen: of the sheet.
        left, top: of the panel on the sheet, in pixels.
        decades: from which to which power of ten the seconds reach.
        decibels: from which to which PSNR.
    """

    def __init__(
        self,
        pen: ImageDraw.ImageDraw,
        left: int,
        top: int,
        decades: tuple[int, int],
        decibels: tuple[float, float],
    ) -> None:
        self.pen = pen
        self.left, self.right = left + LEFT, left + WIDTH - RIGHT
        self.top, self.bottom = top + TOP, top + HEIGHT - BOTTOM
        self.decades, self.decibels = decades, decibels

    def axes(self, title: str) -> None:
        _text(self.pen, self.left, self.top - 26, title, INK, TITLE, "lm")
        for power in range(self.decades[0], self.decades[1] + 1):
            x = self.across(10.0**power)
            _rule(self.pen, (x, self.top), (x, self.bottom), GRID)
            _text(self.pen, x, self.bottom + 20, f"{10.0**power:g}", FAINT, TICK, "mm")
        _text(self.pen, (self.left + self.right) / 2, self.bottom + 50, "seconds", FAINT, TICK, "mm")
        step = next(step for step in (1, 2, 5, 10) if (self.decibels[1] - self.decibels[0]) / step <= 6)
        low, high = (int(bound // step) for bound in self.decibels)
        for level in range((low + 1) * step, (high + 1) * step, step):
            y = self.up(level)
            _rule(self.pen, (self.left, y), (self.right, y), GRID)
            _text(self.pen, self.left - 10, y, str(level), FAINT, TICK, "rm")
        _text(self.pen, self.left - 10, self.top - 26, "dB", FAINT, TICK, "rm")

    def level(self, psnr: float, name: str) -> None:
        """A dashed line across, with its name at the right end."""
        y, dash = self.up(psnr), 8
        for x in range(self.left, self.right, 2 * dash):
            _rule(self.pen, (x, y), (min(x + dash, self.right), y), FAINT, 2)
        _text(self.pen, self.right, y - 4, name, FAINT, TICK, "rd")

    def across(self, seconds: float) -> float:
        low, high = self.decades
        return self.left + (self.right - self.left) * (math.log10(seconds) - low) / (high - low)

    def up(self, psnr: float) -> float:
        low, high = self.decibels
        return self.bottom - (self.bottom - self.top) * (psnr - low) / (high - low)


def degraded(record: Mapping[str, Any], size: str) -> dict[str, Mapping[str, Any]]:
    """What there is to draw of a size, by degradation."""
    return {kind: row for kind, row in record["measured"][size].items() if kind != "clean" and row}


def draw(record: Mapping[str, Any], size: str) -> Image.Image:
    """A panel for each degradation of a size, of one at least, and one that names the marks."""
    measured = degraded(record, size)
    names = [name for name in record["columns"] if any(name in row for row in measured.values())]
    lines = -(-(len(measured) + 1) // ACROSS)
    sheet = Image.new("RGB", (SCALE * WIDTH * ACROSS, SCALE * HEIGHT * lines), PAPER)
    pen = ImageDraw.Draw(sheet)
    seconds = [cell["seconds"] for row in measured.values() for cell in row.values()]
    decades = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    for index, (kind, row) in enumerate(measured.items()):
        _draw_panel(pen, *_corner(index), kind, row, decades)
    height, width = record["sizes"][size]
    _draw_key(pen, *_corner(len(measured)), names, f"one photograph, {width}x{height} px")
    return sheet.resize((sheet.width // SCALE, sheet.height // SCALE), Image.Resampling.LANCZOS)


def _draw_panel(
    pen: ImageDraw.ImageDraw,
    left: int,
    top: int,
    title: str,
    row: Mapping[str, Mapping[str, Any]],
    decades: tuple[int, int],
) -> None:
    taken = next(iter(row.values()))["input"]
    levels = [taken, *(cell["psnr"] for cell in row.values())]
    room = max(0.5, 0.1 * (max(levels) - min(levels)))
    panel = Panel(pen, left, top, decades, (min(levels) - room, max(levels) + 2 * room))
    panel.axes(title)
    panel.level(taken, "input")
    for name, cell in reversed(list(row.items())):  # ours, the first, above the others
        x, y = panel.across(cell["seconds"]), panel.up(cell["psnr"])
        _draw_mark(pen, x, y, name, hollow=cell["picked_of"] > 1)
        if name == OURS:
            inside = min(x, panel.right - LEFT)
            _text(pen, inside, y - 20, f"ours {cell['psnr']:.1f}", MARKS[name].colour, LABEL, "md")


def _draw_key(pen: ImageDraw.ImageDraw, left: int, top: int, names: Sequence[str], title: str) -> None:
    _text(pen, left + LEFT, top + TOP - 26, title, INK, TITLE, "lm")
    y = top + TOP + 14
    for name in names:
        _draw_mark(pen, left + LEFT + 16, y, name)
        _text(pen, left + LEFT + 42, y, name, INK, LABEL, "lm")
        y += 34
    for line in KEY:
        y += 26
        _text(pen, left + LEFT, y - 10, line, FAINT, TICK, "lm")


def _draw_mark(pen: ImageDraw.ImageDraw, x: float, y: float, name: str, *, hollow: bool = False) -> None:
    mark = MARKS[name]
    circle = SCALE * x, SCALE * y, SCALE * mark.radius
    fill = PAPER if hollow else mark.colour
    pen.regular_polygon(circle, mark.sides, mark.turn, fill, mark.colour, 3 * SCALE)


def _rule(
    pen: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: int = 1,
) -> None:
    pen.line([(SCALE * x, SCALE * y) for x, y in (start, end)], colour, SCALE * width)


def _text(
    pen: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: str, size: int, anchor: str
) -> None:
    pen.text((SCALE * x, SCALE * y), text, colour, ImageFont.load_default(SCALE * size), anchor)


def _corner(index: int) -> tuple[int, int]:
    """Left and top of a panel."""
    return WIDTH * (index % ACROSS), HEIGHT * (index // ACROSS)
