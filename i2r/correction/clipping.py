"""Clipping: a file cuts noise off at the ends of its range, which moves the mean of what lies there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from i2r.canvas.bands import in_bands

_KNOTS = 1025


def clipped_mean(x: Tensor, sigma: float) -> Tensor:
    """The mean of ``x + sigma n`` for normal ``n``, clipped to [-1, 1] (Foi 2009, equations 3 to 7)."""
    low, high = (-1 - x) / sigma, (1 - x) / sigma
    below, above = torch.special.ndtr(low), torch.special.ndtr(-high)
    return above - below + x * (1 - below - above) + sigma * (_density(low) - _density(high))


def unclip(mean: Tensor, sigma: float) -> Tensor:
    """The values in [-1, 1] whose noisy, clipped versions have this mean: the inverse of `clipped_mean`.

    A denoiser gives back the mean of what it sees; black that is seen through clipped noise is gray.

    Args:
        mean: (C, H, W) in [-1, 1].
        sigma: of the noise.
    """
    values = torch.linspace(-1, 1, _KNOTS, device=mean.device)
    means = clipped_mean(values, sigma)

    def unclipped(mean: Tensor) -> Tensor:
        above = torch.searchsorted(means, mean.contiguous()).clamp(1, _KNOTS - 1)
        share = ((mean - means[above - 1]) / (means[above] - means[above - 1])).clamp(0, 1)
        return torch.lerp(values[above - 1], values[above], share)

    return in_bands(unclipped, mean)


def _density(x: Tensor) -> Tensor:
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
