"""Estimate the blur of an image by comparing its spectrum with that of clean photographs."""

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
"""Standard deviation of the error of rounding to 8 bits, in units of the [-1, 1] range."""


@dataclass(frozen=True)
class SpectrumTuning:
    """How spectra are compared.

    Attributes:
        fitted: first band to fit, and the first above: the lowest is content, the highest are hidden by
            rounding to 8 bits.
        over_noise: least log power of a band over that of the noise: closer bands are not informative of the
            blur.
        window: side of the windows whose power is averaged, in pixels.
        leak: share of the power that a window leaks into the zeros of a line's transfer function.
    """

    fitted: tuple[int, int] = (1, 12)
    over_noise: float = 1.5
    window: int = 128
    leak: float = 0.0005


SPECTRUM = SpectrumTuning()


def log_band_power(image: Tensor) -> Tensor:
    """Log mean power (BANDS,) of (C, H, W) in ``BANDS`` rings from zero to the Nyquist frequency."""
    power = torch.zeros_like(image[0])
    for plane in image:
        power += analyse(plane).square_() / len(image)
    down, across = frequencies(image)
    # Number of cells of the mirrored image's Fourier plane per wave, and the wave's power in all of them.
    cells, twice = torch.full_like(down, 2.0), torch.ones_like(across)
    cells[0], twice[0, 0] = 1, 2
    count, total = torch.zeros(2, BANDS, dtype=torch.float64)
    for rows in bands(*power.shape):
        ring = (torch.sqrt(down[rows].square() + across.square()) * 2 * BANDS).long()
        inside = ring < BANDS
        # On the CPU: on a GPU the order of the sum, and so its last digits, vary from run to run.
        within = ring[inside].cpu()
        count.index_add_(0, within, cells[rows].expand_as(ring)[inside].cpu().double())
        total.index_add_(0, within, (2 * twice * power[rows])[inside].cpu().double())
    return (total / count.clamp_min(1) + 1e-12).log().to(image.dtype)


def blur_width(image: Tensor, clean: Sequence[float], noise: float = ROUNDING) -> float:
    """Estimate the standard deviation in pixels of a Gaussian blur of the image.

    Fits ``log P(f) - log P_clean(f) = a + b log f - 4 pi^2 width^2 f^2`` over the bands whose power exceeds
    that of the noise. ``a`` and ``b`` absorb contrast and texture, which differ between scenes.

    Args:
        image: (C, H, W) in [-1, 1].
        clean: log band power of clean photographs, of length ``BANDS``.
        noise: standard deviation of the white noise in the image.
    """
    fitted = slice(*SPECTRUM.fitted)
    power = log_band_power(image)[fitted].double().cpu()
    reference = torch.tensor(clean, dtype=torch.float64)[fitted]
    frequency = (torch.arange(BANDS, dtype=torch.float64)[fitted] + 0.5) / (2 * BANDS)
    usable = power > 2 * math.log(noise) + SPECTRUM.over_noise
    if usable.sum() < 4:
        usable = torch.arange(len(power)) < 4
    design = torch.stack([torch.ones_like(frequency), frequency.log(), -4 * math.pi**2 * frequency**2], dim=1)
    # Scenes differ little in the slope b of their texture: regularising b to zero keeps it from fitting blur.
    pull = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    system = torch.cat([design[usable], pull])
    wanted = torch.cat([(power - reference)[usable], torch.zeros(1, dtype=torch.float64)])
    squared_width = torch.linalg.lstsq(system, wanted[:, None]).solution[2].item()
    return math.sqrt(max(squared_width, 0.0))


@dataclass(frozen=True)
class TransferFit:
    """Misfit of a transfer function ``H`` to an image's power ``P``, cell by cell of the Fourier plane.

    Models ``log P(f) = log P_clean(|f|) + a + b log |f| + log(|H(f)|^2 + leak + noise^2 / P_clean(|f|))``,
    with free contrast ``a`` and texture ``b``.

    Attributes:
        down, across: frequencies of the cells, (N,) float64, in cycles per pixel.
        excess: (N,), log power over that of clean photographs.
        floor: (N,), the sum of leak and noise in the model.
        free: (N, 2), an orthonormal basis of the terms of ``a`` and ``b``.
    """

    down: Tensor
    across: Tensor
    excess: Tensor
    floor: Tensor
    free: Tensor

    @classmethod
    def of(cls, image: Tensor, clean: Sequence[float], noise: float) -> Self:
        """Prepare the fit for an image (C, H, W) in [-1, 1] with white noise of this standard deviation.

        Args:
            image: (C, H, W) in [-1, 1].
            clean: log band power of clean photographs, of length ``BANDS``.
            noise: standard deviation of the white noise in the image.
        """
        power, down, across = _welch(image)
        radius = torch.sqrt(down.square() + across.square())
        band = (radius * 2 * BANDS).long()
        first, end = SPECTRUM.fitted
        usable = (band >= first) & (band < end)
        radius, reference = radius[usable], torch.tensor(clean, dtype=torch.float64)[band[usable]]
        free = torch.stack([torch.ones_like(radius), radius.log()], dim=1)
        return cls(
            down[usable],
            across[usable],
            power[usable].log() - reference,
            SPECTRUM.leak + noise**2 / reference.exp(),
            torch.linalg.qr(free).Q,
        )

    def misfit(self, transfer: Tensor) -> float:
        """Mean absolute residual in log power, given ``H`` at the cells (N,)."""
        return self.missed(transfer).abs().mean().item()

    def missed(self, transfer: Tensor) -> Tensor:
        """Residual in log power at every cell (N,), given ``H`` there; differentiable."""
        missed = self.excess - (transfer.square() + self.floor).log()
        return missed - self.free @ (self.free.T @ missed)


def _welch(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the power of (C, H, W) in cells of the Fourier plane, and their frequencies down and across.

    Averages the power over windows that fade out at their borders (Welch 1967). Mirroring the image instead
    would mix each direction with its reflection.
    """
    side = min(SPECTRUM.window, *image.shape[-2:])
    window = torch.hann_window(side, periodic=False, dtype=torch.float64) + 1e-3
    window = window[:, None] * window
    step = max(1, side // 2)
    rows = image.unfold(1, side, step)
    power = torch.zeros(side, side // 2 + 1, dtype=torch.float64)
    for row in rows.unbind(1):  # (C, W, side): the windows that start at one row
        patches = row.double().cpu().unfold(1, side, step)
        patches = patches - patches.mean(dim=(-1, -2), keepdim=True)
        power += torch.fft.rfft2(patches * window).abs().square().mean(dim=(0, 1))
    power /= rows.shape[1] * window.square().sum()
    down = torch.fft.fftfreq(side, dtype=torch.float64)[:, None].expand_as(power)
    across = torch.fft.rfftfreq(side, dtype=torch.float64)[None].expand_as(power)
    return power + 1e-12, down, across
