"""Forms that act on each pixel alone: noise, and missing pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from i2r.forms.form import Record
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING
from i2r.screening.typicality import difference_scale


@dataclass(frozen=True)
class Noise(Record):
    """White noise, independent in every channel.

    Attributes:
        level: its standard deviation, in units of the [-1, 1] range.
    """

    name: ClassVar[str] = "noise"
    level: float

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Estimate the level from the diagonal differences of neighbouring pixels."""
        return cls(difference_scale(y).item())

    def forward(self, x: Tensor) -> Tensor:
        """Return the expected value over the noise, ``x`` itself."""
        return x

    @property
    def noise(self) -> float:
        return self.level

    def parameters(self) -> Mapping[str, Any]:
        return {"level": round(self.level, 4)}


@dataclass(frozen=True)
class Mask(Record):
    """Missing pixels, with arbitrary values.

    Attributes:
        missing: (H, W) bool, True where a pixel is missing.
    """

    name: ClassVar[str] = "mask"
    missing: Tensor

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Return an empty mask; :func:`i2r.correction.rectification.fill_missing` detects the pixels."""
        return cls(torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device))

    def forward(self, x: Tensor) -> Tensor:
        """Set missing pixels to gray."""
        return torch.where(self.missing, 0.0, x)

    def reveal(self, y: Tensor, expected: Tensor) -> Tensor:
        return torch.where(self.missing, expected, y)

    def parameters(self) -> Mapping[str, Any]:
        return {"fraction": round(self.missing.float().mean().item(), 4)}
