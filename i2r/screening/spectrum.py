"""The spectrum of an image against that of clean photographs: what blurred it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from i2r.canvas.bands import bands
from i2r.canvas.cosines import analyse, frequencies
from i2r.screening.calibration import BANDS

ROUNDING = 2 / 255 / 12**0.5
"""Standard deviation of what rounding to 8 bits adds, of the range [-1, 1]."""


_FIT = slice(1, 12)  # the lowest band is content; the highest drown in the rounding to 8 bits
_OVER_NOISE = 1.5  # bands this close (in log power) to that of the noise say nothing of the blur

_WINDOW = 128  # side of the windows whose power is averaged, in pixels
_LEAK = 0.0005  # of the power: how much a window leaks into the zeros of a line


def log_band_power(image: Tensor) -> Tensor:
    """Log mean power of (C, H, W) in ``BANDS`` rings from zero to the Nyquist frequency; shape (BANDS,)."""
    power = torch.zeros_like(image[0])
    for plane in image:
        power += analyse(plane).square_() / len(image)
    down, across = frequencies(image)
    # How many cells of the mirrored image's Fourier plane a wave stands for, and its power in all of them.
    cells, twice = torch.full_like(down, 2.0), torch.ones_like(across)
    cells[0], twice[0, 0] = 1, 2
    count, total = torch.zeros(2, BANDS, dtype=torch.float64)
    for rows in bands(*power.shape):
        ring = (torch.sqrt(down[rows].square() + across.square()) * 2 * BANDS).long()
        inside = ring < BANDS
        # On the CPU: a GPU adds up in another order each time.
        within = ring[inside].cpu()
        count.index_add_(0, within, cells[rows].expand_as(ring)[inside].cpu().double())
        total.index_add_(0, within, (2 * twice * power[rows])[inside].cpu().double())
    return (total / count.clamp_min(1) + 1e-12).log().to(image.dtype)


def blur_width(image: Tensor, clean: Sequence[float], noise: float = ROUNDING) -> float:
    """Standard deviation in pixels of the Gaussian blur that tells this image from clean photographs.

    Fits ``log P(f) - log P_clean(f) = a + b log f - 4 pi^2 width^2 f^2`` over the bands that rise out
    of the noise. ``a`` and ``b`` leave contrast and texture free, which differ from scene to scene.

    Args:
        image: (C, H, W) in [-1, 1].
        clean: log band power of clean photographs, of length ``BANDS``.
        noise: standard deviation of the white noise in the image.
    """
    power = log_band_power(image)[_FIT].double().cpu()
    reference = torch.tensor(clean, dtype=torch.float64)[_FIT]
    frequency = (torch.arange(BANDS, dtype=torch.float64)[_FIT] + 0.5) / (2 * BANDS)
    usable = power > 2 * math.log(noise) + _OVER_NOISE
    if usable.sum() < 4:
        usable = torch.arange(len(power)) < 4
    design = torch.stack([torch.ones_like(frequency), frequency.log(), -4 * math.pi**2 * frequency**2], dim=1)
    # Scenes differ little in the slope of their texture: a pull of b to zero keeps it from posing as blur.
    pull = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    system = torch.cat([design[usable], pull])
    wanted = torch.cat([(power - reference)[usable], torch.zeros(1, dtype=torch.float64)])
    squared_width = torch.linalg.lstsq(system, wanted[:, None]).solution[2].item()
    return math.sqrt(max(squared_width, 0.0))


@dataclass(frozen=True)
class TransferFit:
    """How badly a transfer function ``H`` explains an image's power ``P``, cell by cell of its Fourier plane.

    Of ``log P(f) = log P_clean(|f|) + a + b log |f| + log(|H(f)|^2 + leak + noise^2 / P_clean(|f|))``, with
    contrast and texture ``a`` and ``b`` left free.

    Attributes:
        down, across: frequencies of the cells, (N,) float64, in cycles a pixel.
        excess: (N,), log power over that of clean photographs.
        floor: (N,), the leak and the noise.
        free: (N, 2), an orthonormal basis of what is left free.
    """

    down: Tensor
    across: Tensor
    excess: Tensor
    floor: Tensor
    free: Tensor

    @classmethod
    def of(cls, image: Tensor, clean: Sequence[float], noise: float) -> Self:
        """Of (C, H, W) in [-1, 1], with white noise of standard deviation ``noise`` in it."""
        power, down, across = _welch(image)
        radius = torch.sqrt(down.square() + across.square())
        band = (radius * 2 * BANDS).long()
        usable = (band >= _FIT.start) & (band < _FIT.stop)
        radius, reference = radius[usable], torch.tensor(clean, dtype=torch.float64)[band[usable]]
        free = torch.stack([torch.ones_like(radius), radius.log()], dim=1)
        return cls(
            down[usable],
            across[usable],
            power[usable].log() - reference,
            _LEAK + noise**2 / reference.exp(),
            torch.linalg.qr(free).Q,
        )

    def misfit(self, transfer: Tensor) -> float:
        """Mean absolute error in log power, given ``H`` of the cells (N,)."""
        return self.missed(transfer).abs().mean().item()

    def missed(self, transfer: Tensor) -> Tensor:
        """Error in log power of every cell (N,), given ``H``; differentiable."""
        missed = self.excess - (transfer.square() + self.floor).log()
        return missed - self.free @ (self.free.T @ missed)


def _welch(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Power of the image in cells of its Fourier plane, and the cells' frequencies down and across.

    Not mirrored, which would confuse a direction with its reflection: faded out at the borders instead, in
    windows that are averaged (Welch 1967).
    """
    side = min(_WINDOW, *image.shape[-2:])
    window = torch.hann_window(side, periodic=False, dtype=torch.float64) + 1e-3
    window = window[:, None] * window
    step = max(1, side // 2)
    rows = image.unfold(1, side, step)
    power = torch.zeros(side, side // 2 + 1, dtype=torch.float64)
    for row in rows.unbind(1):  # (C, W, side), of the windows that start at one height
        patches = row.double().cpu().unfold(1, side, step)
        patches = patches - patches.mean(dim=(-1, -2), keepdim=True)
        power += torch.fft.rfft2(patches * window).abs().square().mean(dim=(0, 1))
    power /= rows.shape[1] * window.square().sum()
    down = torch.fft.fftfreq(side, dtype=torch.float64)[:, None].expand_as(power)
    across = torch.fft.rfftfreq(side, dtype=torch.float64)[None].expand_as(power)
    return power + 1e-12, down, across
