"""Corrections: each moves one kind of atypical noise toward the noise of clean photographs.

All are processes (see :mod:`i2r.sampling`) from a canvas of shape (C, H, W) in [-1, 1] to a canvas of that
shape. ``grid`` tells which part of the canvas is the image and which is padding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.calibration_file import Calibration
from i2r.forms import GaussianBlur
from i2r.sampling import Process, Query, denoise, generate, levels
from i2r.spectrum import blur_width
from i2r.tiling import TileGrid
from i2r.typicality import damaged, log_period, log_scale

PATH_DEPTH = 10.0
"""Regeneration ends this far below its entry level; what noise is left there cannot be seen."""

_FILL_LEVELS = levels(0.04, 0.6, 5)
_SMALLEST_CHANGE = 0.25  # of the range [-1, 1]: what the fill gives back nearly as it was, was not damaged
_ROUNDS = 2

_BLOCK_LEVELS = (0.01, 0.25)  # the range of entry levels that the line over periods was fitted in

_SHARPEN_LEVELS = levels(0.03, 0.12, 2)
_CAUTION = 0.85  # on the width: too narrow a kernel leaves some blur, too wide a one rings
_INPUT_NOISE = 0.02  # of the range [-1, 1], as sharpening trusts its input


def fill_damage(y: Tensor, calibration: Calibration) -> Process[tuple[Tensor, Tensor]]:
    """Find the pixels that stand out of their neighbourhood and fill them from the prior.

    Returns the canvas and the mask (H, W) of what was replaced. What was damaged first hides what lies
    beside it, so the search is repeated on the filled canvas.
    """
    x, mask = y, torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device)
    for _ in range(_ROUNDS):
        expected = yield from denoise(x, calibration.damage_level)
        mask = damaged((y - expected).square().mean(dim=0).sqrt())
        x = yield from _fill(y, mask)
    mask &= (y - x).square().mean(dim=0).sqrt() > _SMALLEST_CHANGE
    return torch.where(mask, x, y), mask


def _fill(y: Tensor, mask: Tensor) -> Process[Tensor]:
    """Replace the masked pixels by posterior means at falling noise levels, the known ones held."""
    known = (~mask).float()[None]
    weight = F.avg_pool2d(known, 9, stride=1, padding=4)
    x = torch.where(mask, F.avg_pool2d(y * known, 9, stride=1, padding=4) / weight.clamp_min(1 / 81), y)
    for level in reversed(_FILL_LEVELS):
        x = torch.where(mask, (yield from denoise(x, level)), y)
    return x


def remove_noise(y: Tensor, grid: TileGrid, calibration: Calibration, steps: int) -> Process[Tensor]:
    """Read ``y`` as a sample at the level of its own noise, and regenerate it from there.

    The entry level is the highest one at which the image's noise is as strong as noise of that level is.
    """
    below: tuple[float, float] | None = None
    for level, wanted in calibration.entry_scale.items():
        excess = log_scale(grid.crop((yield Query(y, level)))) - wanted
        if excess < 0:
            if below is not None:
                lower, lower_excess = below
                share = lower_excess / (lower_excess - excess)
                level = math.exp(math.log(lower) + share * (math.log(level) - math.log(lower)))
            break
        below = level, excess
    return (yield from regenerate(y, level, steps))


def remove_blocks(y: Tensor, grid: TileGrid, calibration: Calibration, steps: int) -> Process[Tensor]:
    """Regenerate from the entry level that fits how much of a grid the noise shows."""
    intercept, slope = calibration.block_entry
    period = log_period(grid.crop((yield Query(y, calibration.level))))
    entry = min(max(math.exp(intercept + slope * period), _BLOCK_LEVELS[0]), _BLOCK_LEVELS[1])
    return (yield from regenerate(y, entry, steps))


def sharpen(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[Tensor]:
    """Undo a Gaussian blur whose width is read off the spectrum, the prior filling what the blur has lost.

    Alternates posterior means with the exact solution of ``|H x - y|^2`` near them (half-quadratic
    splitting with a denoiser: Zhang et al., arXiv 2008.13751, equation 6).
    """
    blur = GaussianBlur(_CAUTION * blur_width(grid.crop(y), calibration.spectrum))
    x = blur.solve(y, y, _INPUT_NOISE)
    for level in reversed(_SHARPEN_LEVELS):
        expected = yield from denoise(x, level)
        x = blur.solve(y, expected, (_INPUT_NOISE / level) ** 2)
    return x


def regenerate(y: Tensor, entry: float, steps: int) -> Process[Tensor]:
    """Follow DDIM from ``y``, read as a sample at level ``entry``, to a clean image."""
    return (yield from generate(y, levels(entry / PATH_DEPTH, entry, steps - 1)))
