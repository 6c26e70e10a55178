"""Blurs: convolutions with a kernel that sums to one, the image mirrored at its borders."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from i2r.calibration_file import Calibration
from i2r.errors import FormError
from i2r.forms.form import Operator
from i2r.spectrum import ROUNDING, TransferFit, blur_width, frequencies, mirror

_LENGTHS = range(3, 32)
SMALLEST_SIDE = 32
"""Below it the spectrum of an image does not tell how it was blurred."""
_TURNS = 36  # over half of a turn
_CLEARER = 0.7  # of a Gaussian's misfit: what a line's is below, or its zeros may be those of the scene


class Convolution(Operator):
    """A blur that is told by its transfer function."""

    @abstractmethod
    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        """The kernel's Fourier transform at frequencies in cycles a pixel, which broadcast."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        wide = torch.fft.rfft2(mirror(x))
        blurred = wide * self.transfer(*frequencies(x))
        return torch.fft.irfft2(blurred, s=(2 * height, 2 * width))[..., :height, :width]


@dataclass(frozen=True)
class GaussianBlur(Convolution):
    """An isotropic Gaussian.

    Attributes:
        width: standard deviation in pixels.
    """

    name: ClassVar[str] = "gaussian_blur"
    width: Tensor | float

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """The width that tells the spectrum from that of clean photographs.

        It is not refined on estimates of the clean image: those are too smooth, so that the width which fits
        them best is too narrow, and shrinks with every round (measured: from 1.5 to 1.0 in eight levels).
        """
        return cls(blur_width(y, calibration.spectrum, noise))

    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        return torch.exp(-2 * math.pi**2 * self.width**2 * (down.square() + across.square()))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def solve(self, y: Tensor, estimate: Tensor, weight: float) -> Tensor:
        """Exact: symmetric both ways, the blur is diagonal in the Fourier space of mirrored images."""
        height, width = y.shape[-2:]
        transfer = self.transfer(*frequencies(y))
        blurred, expected = torch.fft.rfft2(mirror(y)), torch.fft.rfft2(mirror(estimate))
        solved = (transfer * blurred + weight * expected) / (transfer.square() + weight)
        return torch.fft.irfft2(solved, s=(2 * height, 2 * width))[..., :height, :width]

    def parameters(self) -> Mapping[str, Any]:
        return {"width": round(float(self.width), 3)}


@dataclass(frozen=True)
class MotionBlur(Convolution):
    """A camera that moved along a straight line, at even speed.

    Attributes:
        length: of the line, in pixels.
        angle: of the line in radians, from the columns' direction to the rows'.
    """

    name: ClassVar[str] = "motion_blur"
    length: Tensor | float
    angle: Tensor | float

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """The line whose zeros the spectrum shows.

        Raises:
            FormError: the image is too small to have such a spectrum.
        """
        if min(y.shape[-2:]) < SMALLEST_SIDE:
            raise FormError(f"an image of {y.shape[-1]}x{y.shape[-2]} is too small to tell how it moved")
        fit = TransferFit.of(y, calibration.spectrum, noise)
        lines = [cls(length, math.pi * turn / _TURNS) for length in _LENGTHS for turn in range(_TURNS)]
        misfits = [fit.misfit(line.transfer(fit.down, fit.across)) for line in lines]
        return lines[misfits.index(min(misfits))]

    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        angle = torch.as_tensor(self.angle)
        return torch.sinc(self.length * (torch.sin(angle) * down + torch.cos(angle) * across))

    def parameters(self) -> Mapping[str, Any]:
        return {
            "length": round(float(self.length), 2),
            "angle": round(math.degrees(float(self.angle)) % 180, 1),
        }


def likelier_blur(y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> GaussianBlur | MotionBlur:
    """The Gaussian that the spectrum of (C, H, W) shows, or the line, where that fits clearly better."""
    gaussian = GaussianBlur.start(y, calibration, noise)
    if min(y.shape[-2:]) < SMALLEST_SIDE:
        return gaussian
    line = MotionBlur.start(y, calibration, noise)
    fit = TransferFit.of(y, calibration.spectrum, noise)
    of_gaussian, of_line = (fit.misfit(blur.transfer(fit.down, fit.across)) for blur in (gaussian, line))
    return line if of_line < _CLEARER * of_gaussian else gaussian
