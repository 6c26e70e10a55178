"""Images whose spectrum falls as that of photographs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from i2r.training.degradation import FloatImage


def texture(seed: int, side: int = 192) -> FloatImage:
    """A (side, side, 3) image in [0, 1] whose amplitude falls as 1 / f, as photographs' does."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    radius[0, 0] = np.inf
    noise = np.fft.rfft2(rng.standard_normal((3, side, side)), axes=(1, 2)) / radius
    image = np.fft.irfft2(noise, s=(side, side), axes=(1, 2)).transpose(1, 2, 0)
    return np.clip(0.5 + 0.15 * image / image.std(), 0, 1).astype(np.float32)


def as_file(image: FloatImage) -> Tensor:
    """(C, H, W) in [-1, 1] with the rounding of an 8-bit file."""
    return torch.from_numpy(np.rint(image * 255) / 127.5 - 1).permute(2, 0, 1).float()
