"""The benchmark's picture: what came in, and what came out of the best filter and of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.baselines import FILTERS, Method
from benchmarks.quality_page import BLIND, SPECIFIED
from benchmarks.scenes import Case, rounded
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage

SHOWN = (
    "noise 25/255",
    "JPEG quality 10",
    "blur sigma 1.5",
    "low resolution 4x",
    "rain 5 %",
    "dead pixels 2 %",
    "dust 1 %",
)
"""Rows, each on another photograph, so that none is picked for its looks."""
GAP, LINE, SIZE = 8, 18, 13
PAPER, INK = "white", "black"


def draw(methods: Mapping[str, Method], cases: Sequence[Case]) -> Image.Image:
    """A line of pictures a case: original, input, best filter, ours blind and specified, with their PSNR."""
    lines = [_line(methods, case) for case in cases]
    height, width = cases[0].colour.shape[:2]
    step_down, step_across = height + LINE + GAP, width + GAP
    sheet = Image.new("RGB", (GAP + step_across * len(lines[0]), GAP + step_down * len(lines)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(SIZE)
    for row, pictures in enumerate(lines):
        for column, (title, image) in enumerate(pictures):
            left, top = GAP + column * step_across, GAP + row * step_down
            pen.text((left, top), title, INK, font)
            sheet.paste(_picture(image), (left, top + LINE))
    return sheet


def _line(methods: Mapping[str, Method], case: Case) -> list[tuple[str, FloatImage]]:
    def made_by(name: str) -> FloatImage:
        return max((rounded(image) for image in methods[name](case).images), key=quality)

    def quality(image: FloatImage) -> float:
        return psnr(image, case.clean)

    filtered = {name: made_by(name) for name in FILTERS}
    best = max(filtered, key=lambda name: quality(filtered[name]))
    shown = {
        case.row: case.degraded,
        best: filtered[best],
        BLIND: made_by(BLIND),
        SPECIFIED: made_by(SPECIFIED),
    }
    titled = [(f"{name}: {quality(image):.1f} dB", image) for name, image in shown.items()]
    return [("original", case.clean), *titled]


def _picture(image: FloatImage) -> Image.Image:
    levels = np.rint(image * 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).convert("RGB")
