"""Small images for the tests of jobs."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32


def png(seed: int) -> Image.Image:
    """A small image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
