"""Detail: where an image shows enough for its sharpness to be told.

A gradient, a clear sky or a blank page looks the same blurred and sharp, so the noise of their patches is no
evidence of either, nor of a grid. What bends over a few pixels is: an edge or a texture, however blurred.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class DetailTuning:
    """When a patch shows detail.

    Attributes:
        reach: of the second differences that measure it, in pixels: those of a blur of sigma 3 are still far
            from zero.
        least: root mean square of them, in units of the range [-1, 1], from which a patch shows detail (4 of
            255): rounding alone leaves 0.6 of 255, a slope none.
        fewest: patches with detail, below which nothing is said about sharpness: so few are out of focus in
            any photograph, and a crop of 64 pixels a side has nine.
    """

    reach: int = 4
    least: float = 8 / 255
    fewest: int = 20


DETAIL = DetailTuning()


def detailed(image: Tensor, side: int) -> Tensor:
    """Find the patches of ``side`` pixels in (..., C, H, W) in [-1, 1] that show detail: (N,), row by row."""
    planes = image.unbind(-3)
    power = torch.zeros_like(planes[0])
    for plane in planes:
        for axis in (-2, -1):
            power += _bends(plane, axis).square_()
    power /= 2 * len(planes)
    return F.avg_pool2d(power.unsqueeze(-3), side).flatten() > DETAIL.least**2


def _bends(plane: Tensor, axis: int) -> Tensor:
    """Second differences of (..., H, W) along an axis; zero at the borders, where one end is missing."""
    bends, reach = torch.zeros_like(plane), DETAIL.reach
    inner = plane.shape[axis] - 2 * reach
    middle, before, after = (plane.narrow(axis, start, inner) for start in (reach, 0, 2 * reach))
    bends.narrow(axis, reach, inner).copy_(before).add_(after).sub_(middle, alpha=2)
    return bends
