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
_SMALLEST_SIDE = 32
_TURNS = 36  # over half of a turn
_LARGEST_REACH = 16
_REFIT_PIXELS = 20_000
_REFIT_LEVEL = 0.03
_SIMPLEX_STEPS = 100
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
        if min(y.shape[-2:]) < _SMALLEST_SIDE:
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


@dataclass(frozen=True)
class SmallKernel(Convolution):
    """Any kernel that is not negative and sums to one.

    Attributes:
        kernel: (K, K), K odd; its middle leaves a pixel where it is.
    """

    name: ClassVar[str] = "small_kernel"
    kernel: Tensor

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """The Gaussian or the line that fits the spectrum better."""
        blur = likelier_blur(y, calibration, noise)
        if isinstance(blur, GaussianBlur):
            return cls.of(blur, math.ceil(2.5 * float(blur.width)), y)
        return cls.of(blur, math.ceil(float(blur.length) / 2), y)

    @classmethod
    def of(cls, blur: Convolution, reach: int, like: Tensor) -> Self:
        """Another blur's kernel, cut at ``reach`` pixels; on the device of ``like``."""
        reach = min(max(reach, 1), _LARGEST_REACH)
        canvas = like.new_zeros(1, 2 * _LARGEST_REACH, 2 * _LARGEST_REACH)
        kernel = torch.fft.irfft2(blur.transfer(*frequencies(canvas)), s=(4 * _LARGEST_REACH,) * 2)
        kernel = torch.fft.fftshift(kernel)
        middle = slice(2 * _LARGEST_REACH - reach, 2 * _LARGEST_REACH + reach + 1)
        part = kernel[middle, middle]
        return cls(onto_simplex(part.flatten()).view_as(part))

    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        reach = len(self.kernel) // 2
        offset = torch.arange(-reach, reach + 1, device=down.device)
        turn_down = torch.exp(-2j * math.pi * down * offset)
        turn_across = torch.exp(-2j * math.pi * across[..., None] * offset)
        return turn_down @ self.kernel.to(turn_down.dtype) @ turn_across[0].T

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Least squares over the kernels that are not negative and sum to one, at low levels.

        At high ones the estimate is so smooth that a narrower kernel explains the image.
        """
        side = len(self.kernel)
        reach = side // 2
        if level > _REFIT_LEVEL or min(x.shape[-2:]) <= side:
            return self
        # Some of the pixels are enough, and all of a large image would not fit into memory side^2 times.
        stride = max(1, math.isqrt(y.numel() // _REFIT_PIXELS))
        wanted = y[:, reach : y.shape[1] - reach : stride, reach : y.shape[2] - reach : stride].flatten()
        # A convolution turns the kernel around.
        design = x.unfold(1, side, stride).unfold(2, side, stride).flatten(0, 2).flip(1, 2).flatten(1)
        gram, target = design.T @ design / len(design), design.T @ wanted / len(design)
        kernel = self.kernel.flatten()
        # Of an image that is nothing but middle gray there is nothing to fit.
        rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp_min(1e-6)
        for _ in range(_SIMPLEX_STEPS):
            kernel = onto_simplex(kernel - rate * (gram @ kernel - target))
        return type(self)(kernel.view(side, side))

    def parameters(self) -> Mapping[str, Any]:
        return {"kernel": [[round(float(value), 4) for value in row] for row in self.kernel]}


def likelier_blur(y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> GaussianBlur | MotionBlur:
    """The Gaussian that the spectrum of (C, H, W) shows, or the line, where that fits clearly better."""
    gaussian = GaussianBlur.start(y, calibration, noise)
    if min(y.shape[-2:]) < _SMALLEST_SIDE:
        return gaussian
    line = MotionBlur.start(y, calibration, noise)
    fit = TransferFit.of(y, calibration.spectrum, noise)
    of_gaussian, of_line = (fit.misfit(blur.transfer(fit.down, fit.across)) for blur in (gaussian, line))
    return line if of_line < _CLEARER * of_gaussian else gaussian


def onto_simplex(values: Tensor) -> Tensor:
    """The nearest vector (N,) that is not negative and sums to one (Duchi et al. 2008)."""
    ordered = values.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(values) + 1, device=values.device)
    return (values - excess[ordered > excess][-1]).clamp_min(0)
