"""Monochrome photographs in colour files: sepia, yellowed, or toned otherwise.

Each channel is the same gray picture (luma) mapped through its own curve. The grain is also equal in all
channels, so that a colour prior predicts it as texture. It is therefore detected and removed in the luma, and
the change is mapped through the curves into every channel. Colours that the curves do not explain, such as a
stain, stay unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LUMA = 0.299, 0.587, 0.114
"""Weights of red, green and blue in luma (ITU-R BT.601, as JPEG files have it)."""


@dataclass(frozen=True)
class ToningTuning:
    """How toned monochromes are detected.

    Attributes:
        knots: of a curve, evenly spaced in luma.
        most_colour: largest RMS colour that the curves may leave unexplained, in units of the range [-1, 1].
        most_colour_share: the same, as a share of the luma's standard deviation.
        smoothness: weight of the curves' bends, which interpolates them over values that the picture does not
            contain.
        ridge: weight of the curves' values, which determines the slope for an image of a single value.
        pixels: about the number of pixels to fit the curves to.
    """

    knots: int = 33
    most_colour: float = 7 / 255
    most_colour_share: float = 0.15
    smoothness: float = 1e-4
    ridge: float = 1e-9
    pixels: int = 1 << 16


TONING = ToningTuning()


@dataclass(frozen=True)
class Toning:
    """An image decomposed into its luma and the curves that tone it.

    Attributes:
        image: (3, H, W) in [-1, 1].
        luma: (1, H, W) in [-1, 1].
        curves: (3, knots), each channel's value at even steps of luma from -1 to 1, linear in between.
    """

    image: Tensor
    luma: Tensor
    curves: Tensor

    def apply(self, luma: Tensor) -> Tensor:
        """Return the image (3, H, W) for a changed ``luma`` (1, H, W)."""
        return self.image + (_evaluate(self.curves, luma) - _evaluate(self.curves, self.luma))


def find_toning(image: Tensor) -> Toning | None:
    """Fit the toning of an image (3, H, W) in [-1, 1]; None if the curves do not explain its colours."""
    step = max(1, math.isqrt(image[0].numel() // TONING.pixels))
    sample = image[:, ::step, ::step]
    luma, knots = luma_of(sample), TONING.knots
    low, share = _position(luma.flatten().double())
    weights = torch.zeros(luma.numel(), knots, dtype=torch.float64, device=image.device)
    weights.scatter_(1, low[:, None], 1 - share[:, None]).scatter_(1, low[:, None] + 1, share[:, None])
    unit = torch.eye(knots, dtype=torch.float64, device=image.device)
    bend = unit.diff(n=2, dim=0)
    normal = weights.T @ weights / luma.numel() + TONING.smoothness * bend.T @ bend + TONING.ridge * unit
    target = weights.T @ sample.flatten(1).T.double() / luma.numel()
    curves = torch.linalg.solve_ex(normal, target).result.T.to(image.dtype)  # solvable, due to the ridge
    colour = (sample - _evaluate(curves, luma)).square().mean(dim=(1, 2)).sqrt().max()
    if colour > (TONING.most_colour_share * luma.std(correction=0)).clamp_max(TONING.most_colour):
        return None
    return Toning(image, luma_of(image), curves)


def luma_of(image: Tensor) -> Tensor:
    """Luma (1, H, W) of an image (3, H, W)."""
    red, green, blue = (weight * channel for weight, channel in zip(LUMA, image, strict=True))
    return (red + green + blue)[None]


def _position(luma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the knot below each value, and the value's fraction of the way to the next knot."""
    position = (luma.clamp(-1, 1) + 1) / 2 * (TONING.knots - 1)
    low = position.long().clamp_max(TONING.knots - 2)
    return low, position - low


def _evaluate(curves: Tensor, luma: Tensor) -> Tensor:
    """Map (1, H, W) through the curves to (3, H, W)."""
    low, share = _position(luma[0])
    return torch.lerp(curves[:, low], curves[:, low + 1], share)
