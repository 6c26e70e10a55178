"""Low resolution: downsampling and enlargement to the old size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.errors import FormError
from i2r.forms.form import Operator, conjugate_gradients
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING


@dataclass(frozen=True)
class ResolutionTuning:
    """How the factor of a reduction is estimated.

    Attributes:
        factors: that are tested.
        beyond: factor that the largest of them is compared with.
        iterations: of conjugate gradients, to find the reduced image.
        explained: largest RMS residual of a factor that explains the image, over the noise.
        distinct: least ratio of the next factor's residual to this one's: it is 8 and more, for blurs 3.
    """

    factors: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    beyond: int = 12
    iterations: int = 6
    explained: float = 2.5
    distinct: float = 5.0


RESOLUTION = ResolutionTuning()


@dataclass(frozen=True)
class Downsampling(Operator):
    """Bicubic reduction with antialiasing and bicubic enlargement to the old size, both as in Pillow.

    Attributes:
        factor: factor by which both sides were reduced.
    """

    name: ClassVar[str] = "downsampling"
    factor: int

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Find the largest factor that explains the image, enlarged from fewer pixels, up to the noise.

        If no factor does, because the image was changed since, take the one with the least residual.

        Raises:
            FormError: the image is too small: a side is below 8 pixels.
        """
        usable = [cls(factor) for factor in RESOLUTION.factors if factor <= min(y.shape[-2:]) // 4]
        if not usable:
            raise FormError(f"an image of {y.shape[-1]}x{y.shape[-2]} is too small to estimate its factor")
        missed = [form._missed(y) for form in usable]
        most = RESOLUTION.explained * noise
        exact = [form for form, miss in zip(usable, missed, strict=True) if miss < most]
        return exact[-1] if exact else usable[missed.index(min(missed))]

    @classmethod
    def seen_in(cls, y: Tensor, noise: float = ROUNDING) -> Self | None:
        """Find the largest factor that explains (C, H, W) much better than the next; None if there is none.

        This distinguishes low resolution from blur: a blurred image is explained by several factors, each a
        little worse than the one before it.
        """
        factors = (*RESOLUTION.factors, RESOLUTION.beyond)
        missed = [cls(factor)._missed(y) for factor in factors if factor <= min(y.shape[-2:]) // 4]
        most = RESOLUTION.explained * noise
        for factor, miss, next_miss in reversed([*zip(factors, missed, missed[1:], strict=False)]):
            if miss < most and next_miss > RESOLUTION.distinct * max(miss, noise / 2):
                return cls(factor)
        return None

    def forward(self, x: Tensor) -> Tensor:
        return self._enlarge(self._reduce(x), x)

    def parameters(self) -> Mapping[str, Any]:
        return {"factor": self.factor}

    def _missed(self, y: Tensor) -> float:
        """RMS residual between ``y`` and the nearest enlarged image."""
        pull_back = torch.func.vjp(lambda small: self._enlarge(small, y), self._reduce(y))[1]
        small = conjugate_gradients(
            lambda small: pull_back(self._enlarge(small, y))[0], pull_back(y)[0], RESOLUTION.iterations
        )
        return self._enlarge(small, y).sub_(y).square_().mean().sqrt().item()

    def _reduce(self, x: Tensor) -> Tensor:
        size = (max(1, x.shape[-2] // self.factor), max(1, x.shape[-1] // self.factor))
        return F.interpolate(x[None], size=size, mode="bicubic", antialias=True)[0]

    def _enlarge(self, small: Tensor, like: Tensor) -> Tensor:
        # antialias=True selects Pillow's cubic (a = -0.5); for enlargement it filters nothing.
        return F.interpolate(small[None], size=like.shape[-2:], mode="bicubic", antialias=True)[0]
