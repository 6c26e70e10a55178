"""Clipping: a file clips noise at the ends of its range, which shifts the mean of dark and bright pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from i2r.canvas.bands import in_bands


def clipped_mean(x: Tensor, sigma: float) -> Tensor:
    """Mean of ``x + sigma n`` clipped to [-1, 1], for normal ``n`` (Foi 2009, equations 3 to 7)."""
    low, high = (-1 - x) / sigma, (1 - x) / sigma
    below, above = torch.special.ndtr(low), torch.special.ndtr(-high)
    return above - below + x * (1 - below - above) + sigma * (_density(low) - _density(high))


def unclip(mean: Tensor, sigma: float, knots: int = 1025) -> Tensor:
    """Invert :func:`clipped_mean`: find the values in [-1, 1] whose noisy, clipped versions have this mean.

    A denoiser estimates the mean of the clipped values, so that black under clipped noise turns gray.

    Args:
        mean: (C, H, W) in [-1, 1].
        sigma: of the noise.
        knots: values that the inverse is tabulated at, linear in between; four per 8-bit step by default.
    """
    values = torch.linspace(-1, 1, knots, device=mean.device)
    means = clipped_mean(values, sigma)

    def unclipped(mean: Tensor) -> Tensor:
        above = torch.searchsorted(means, mean.contiguous()).clamp(1, knots - 1)
        share = ((mean - means[above - 1]) / (means[above] - means[above - 1])).clamp(0, 1)
        return torch.lerp(values[above - 1], values[above], share)

    return in_bands(unclipped, mean)


def _density(x: Tensor) -> Tensor:
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
