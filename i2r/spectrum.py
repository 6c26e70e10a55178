"""The spectrum of an image: how blurred it is against clean photographs, and undoing that.

Images are mirrored at their borders before every transform, so that nothing wraps around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from i2r.calibration_file import BANDS

_FIT = slice(1, 12)  # the lowest band is content; the highest drown in the rounding to 8 bits
_ROUNDING_FLOOR = (
    1.5  # bands this close (in log power) to the floor of 8-bit rounding say nothing of the blur
)


def log_band_power(image: Tensor) -> Tensor:
    """Mean log power of (C, H, W) in ``BANDS`` rings from zero to the Nyquist frequency; shape (BANDS,)."""
    power = torch.fft.rfft2(_mirror(image)).abs().square().mean(dim=0) / (
        4 * image.shape[-1] * image.shape[-2]
    )
    ring = (_frequency(power, image) * 2 * BANDS).long()
    inside = ring < BANDS
    total = torch.zeros(BANDS, device=image.device).index_add(0, ring[inside], power[inside])
    count = torch.zeros(BANDS, device=image.device).index_add(0, ring[inside], torch.ones_like(power[inside]))
    return (total / count.clamp_min(1) + 1e-12).log()


def blur_width(image: Tensor, clean: Sequence[float]) -> float:
    """Standard deviation in pixels of the Gaussian blur that tells this image from clean photographs.

    Fits ``log P(f) - log P_clean(f) = a + b log f - 4 pi^2 width^2 f^2`` over the bands above the floor of
    8-bit rounding. ``a`` and ``b`` leave contrast and texture free, which differ from scene to scene.

    Args:
        image: (C, H, W) in [-1, 1].
        clean: log band power of clean photographs, of length ``BANDS``.
    """
    power = log_band_power(image)[_FIT].double().cpu()
    reference = torch.tensor(clean, dtype=torch.float64)[_FIT]
    frequency = (torch.arange(BANDS, dtype=torch.float64)[_FIT] + 0.5) / (2 * BANDS)
    floor = math.log((2 / 255) ** 2 / 12)
    usable = power > floor + _ROUNDING_FLOOR
    if usable.sum() < 4:
        usable = torch.arange(len(power)) < 4
    design = torch.stack([torch.ones_like(frequency), frequency.log(), -4 * math.pi**2 * frequency**2], dim=1)
    # Scenes differ little in the slope of their texture: a pull of b to zero keeps it from posing as blur.
    pull = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    system = torch.cat([design[usable], pull])
    wanted = torch.cat([(power - reference)[usable], torch.zeros(1, dtype=torch.float64)])
    squared_width = torch.linalg.lstsq(system, wanted[:, None]).solution[2].item()
    return math.sqrt(max(squared_width, 0.0))


def deblur(y: Tensor, estimate: Tensor, width: float, weight: float) -> Tensor:
    """Minimise ``|H x - y|^2 + weight |x - estimate|^2`` for a Gaussian blur ``H``, exactly.

    Args:
        y, estimate: (C, H, W).
        width: standard deviation of the blur in pixels.
        weight: of the estimate; the noise-to-signal ratio below which a frequency is given up.
    """
    blurred, expected = torch.fft.rfft2(_mirror(y)), torch.fft.rfft2(_mirror(estimate))
    transfer = torch.exp(-2 * math.pi**2 * width**2 * _frequency(blurred, y).square())
    solved = (transfer * blurred + weight * expected) / (transfer.square() + weight)
    return torch.fft.irfft2(solved)[..., : y.shape[-2], : y.shape[-1]]


def _mirror(image: Tensor) -> Tensor:
    wide = torch.cat([image, image.flip(-1)], dim=-1)
    return torch.cat([wide, wide.flip(-2)], dim=-2)


def _frequency(transform: Tensor, image: Tensor) -> Tensor:
    """Radial frequency in cycles a pixel of every coefficient of the mirrored image's ``rfft2``."""
    down = torch.fft.fftfreq(2 * image.shape[-2], device=transform.device)[:, None]
    across = torch.fft.rfftfreq(2 * image.shape[-1], device=transform.device)[None]
    return torch.sqrt(down.square() + across.square())
