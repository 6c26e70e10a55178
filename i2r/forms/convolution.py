"""Blurs: convolutions with a kernel that sums to one; images are mirrored at their borders."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from i2r.canvas.bands import in_planes
from i2r.canvas.cosines import COSINES, Kind, analyse, frequencies, synthesise
from i2r.errors import FormError
from i2r.forms.form import Operator
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING, TransferFit, blur_width
from i2r.screening.typicality import TYPICALITY


@dataclass(frozen=True)
class BlurTuning:
    """How blurs are estimated.

    Attributes:
        shortest, longest: lengths of the lines that are tested, in pixels.
        span: most of the image's shorter side that a line covers: too few waves are seen of a longer one.
        directions: of the lines that are tested, over half a turn.
        clearer: a line must fit with less than this share of the Gaussian's misfit: else its zeros may be the
            scene's.
    """

    shortest: int = 3
    longest: int = 31
    span: float = 1 / 6
    directions: int = 36
    clearer: float = 0.7


BLURS = BlurTuning()


class Convolution(Operator):
    """A blur that is defined by its transfer function."""

    @abstractmethod
    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        """Return the kernel's Fourier transform at frequencies in cycles per pixel, which broadcast."""

    def forward(self, x: Tensor) -> Tensor:
        gains = self._gains(x)
        return in_planes(partial(_blurred, gains), x)

    def adjoint(self, y: Tensor) -> Tensor:
        gains = self._gains(y)
        return in_planes(partial(_blurred_back, gains), y)

    def _gains(self, x: Tensor) -> Mapping[Kind, Tensor]:
        """Return the gain from every cosine wave of (C, H, W) to the wave of each kind, cosine or sine.

        A product of cosines down and across is the sum, in equal parts, of two plane waves, of frequencies
        (down, across) and (down, -across). The transfer function scales and shifts each of the two.
        """
        down, across = frequencies(x)
        across_gain, back_gain = self.transfer(down, across), self.transfer(down, -across)
        both, apart = (across_gain + back_gain) / 2, (back_gain - across_gain) / 2
        gains = {COSINES: both.real, (True, True): apart.real}
        if both.is_complex():  # the kernel is not symmetric about its centre
            gains |= {(True, False): -both.imag, (False, True): apart.imag}
        return gains


@dataclass(frozen=True)
class GaussianBlur(Convolution):
    """An isotropic Gaussian blur.

    Attributes:
        width: standard deviation in pixels.
    """

    name: ClassVar[str] = "gaussian_blur"
    width: Tensor | float

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Estimate the width by comparing the spectrum with that of clean photographs.

        The width is not refined on estimates of the clean image: they are too smooth, so that the best
        fitting width is too narrow and shrinks at every noise level (measured: from 1.5 to 1.0 in eight).
        """
        return cls(blur_width(y, calibration.spectrum, noise))

    def transfer(self, down: Tensor, across: Tensor) -> Tensor:
        return torch.exp(-2 * math.pi**2 * self.width**2 * (down.square() + across.square()))

    def _gains(self, x: Tensor) -> Mapping[Kind, Tensor]:
        """The kernel is symmetric along both axes, so that every cosine stays a cosine."""
        return {COSINES: self.transfer(*frequencies(x))}

    def solve(self, y: Tensor, estimate: Tensor, weight: float) -> Tensor:
        """Solve exactly, frequency by frequency."""
        transfer = self.transfer(*frequencies(y))
        power = transfer.square() + weight

        def solved(y: Tensor, estimate: Tensor) -> Tensor:
            return synthesise((transfer * analyse(y) + weight * analyse(estimate)) / power)

        return in_planes(solved, y, estimate)

    def parameters(self) -> Mapping[str, Any]:
        return {"width": round(float(self.width), 3)}


@dataclass(frozen=True)
class MotionBlur(Convolution):
    """Blur by a camera that moved along a straight line at constant speed.

    Attributes:
        length: of the line, in pixels.
        angle: of the line, in radians, from the direction across to the direction down.
    """

    name: ClassVar[str] = "motion_blur"
    length: Tensor | float
    angle: Tensor | float

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Find the line whose transfer function fits the spectrum best.

        Raises:
            FormError: the image is too small to test.
        """
        if min(y.shape[-2:]) < TYPICALITY.smallest_side:
            raise FormError(f"an image of {y.shape[-1]}x{y.shape[-2]} is too small to estimate a motion blur")
        fit = TransferFit.of(y, calibration.spectrum, noise)
        angles = [math.pi * turn / BLURS.directions for turn in range(BLURS.directions)]
        longest = max(BLURS.shortest, min(BLURS.longest, int(BLURS.span * min(y.shape[-2:]))))
        lines = [cls(n, angle) for n in range(BLURS.shortest, longest + 1) for angle in angles]
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


def _blurred(gains: Mapping[Kind, Tensor], x: Tensor) -> Tensor:
    waves = analyse(x)
    return _sum(synthesise(gain * waves, kind) for kind, gain in gains.items())


def _blurred_back(gains: Mapping[Kind, Tensor], y: Tensor) -> Tensor:
    return synthesise(_sum(gain * analyse(y, kind) for kind, gain in gains.items()))


def _sum(images: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, images)


def likelier_blur(y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> GaussianBlur | MotionBlur:
    """Return the Gaussian that fits the spectrum of (C, H, W), or the line if that fits clearly better."""
    gaussian = GaussianBlur.start(y, calibration, noise)
    if min(y.shape[-2:]) < TYPICALITY.smallest_side:
        return gaussian
    line = MotionBlur.start(y, calibration, noise)
    fit = TransferFit.of(y, calibration.spectrum, noise)
    of_gaussian, of_line = (fit.misfit(blur.transfer(fit.down, fit.across)) for blur in (gaussian, line))
    return line if of_line < BLURS.clearer * of_gaussian else gaussian
