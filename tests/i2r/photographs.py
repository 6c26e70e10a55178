"""The photographs of the benchmark, which no training saw: each is read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from i2r.training.degradation import FloatImage

FOLDER = Path(__file__).parents[2] / "benchmarks" / "photographs"


@cache
def picture(name: str) -> Image.Image:
    """In colours, of 8 bits; crop or copy it to draw on it."""
    with Image.open(FOLDER / f"{name}.png") as file:
        return file.convert("RGB")


def pixels(shown: Image.Image) -> FloatImage:
    """(H, W, 1) or (H, W, 3) in [0, 1]."""
    return np.atleast_3d(np.asarray(shown, np.float32)) / np.float32(255)


def photograph(name: str) -> FloatImage:
    """(H, W, 3) in [0, 1]."""
    return pixels(picture(name))


def crop(name: str) -> FloatImage:
    """(96, 96, 3) in [0, 1], of its middle."""
    return photograph(name)[48:144, 48:144]
