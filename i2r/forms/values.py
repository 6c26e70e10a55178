"""What happens to single values: noise, and pixels that are lost."""

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
        """From the finest differences."""
        return cls(difference_scale(y).item())

    def forward(self, x: Tensor) -> Tensor:
        """The mean over all noise."""
        return x

    @property
    def noise(self) -> float:
        return self.level

    def parameters(self) -> Mapping[str, Any]:
        return {"level": round(self.level, 4)}


@dataclass(frozen=True)
class Mask(Record):
    """Pixels that are lost, and hold anything.

    Attributes:
        lost: (H, W) bool.
    """

    name: ClassVar[str] = "mask"
    lost: Tensor

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """None: which pixels are lost is for :func:`i2r.correction.rectification.fill_lost` to find."""
        return cls(torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device))

    def forward(self, x: Tensor) -> Tensor:
        """Lost pixels are gray."""
        return torch.where(self.lost, 0.0, x)

    def reveal(self, y: Tensor, expected: Tensor) -> Tensor:
        return torch.where(self.lost, expected, y)

    def parameters(self) -> Mapping[str, Any]:
        return {"fraction": round(self.lost.float().mean().item(), 4)}
