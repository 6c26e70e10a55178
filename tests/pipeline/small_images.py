"""Images that the stand-in for the model understands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, seed: int, mark: int = 100, side: int = 24) -> None:
    """A small image of noise, whose first pixel tells the stand-in what to do with it."""
    pixels = np.random.default_rng(seed).integers(0, 200, (side, side, 3), dtype=np.uint8)
    pixels[0, 0] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
