"""Base classes of the forms of degradation: maps from clean to degraded images with unknown parameters.

There are two kinds. An :class:`Operator` is a linear degradation operator (blur, downsampling); a
:class:`Record` changes the values afterwards (noise, missing pixels, JPEG compression). Both map an image to
an image of the same shape, so that they compose. To add a form, write a frozen dataclass whose fields are its
parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING


@dataclass(frozen=True)
class SolverTuning:
    """How images that explain a degraded image are solved for.

    Attributes:
        iterations: of conjugate gradients.
    """

    iterations: int = 12


SOLVER = SolverTuning()

Map = Callable[[Tensor], Tensor]


class Form(ABC):
    """A form of degradation with particular parameters."""

    name: ClassVar[str]
    """Its name in settings and manifests."""

    @classmethod
    @abstractmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Estimate initial parameters from the degraded image alone.

        Args:
            y: (C, H, W) in [-1, 1].
            calibration: statistics of clean photographs.
            noise: standard deviation of the white noise in ``y``.

        Raises:
            FormError: the image does not show this form.
        """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Degrade (C, H, W); differentiable in ``x`` and in the parameters that are tensors."""

    @abstractmethod
    def parameters(self) -> Mapping[str, Any]:
        """Return the parameters as plain JSON, for manifests."""


class Operator(Form):
    """A linear degradation operator ``H``."""

    @property
    def error(self) -> float:
        """Standard deviation of the error in the degraded image that uncertain parameters leave."""
        return 0.0

    def others(self) -> Sequence[Self]:
        """Return operators with other parameters that explain the degraded image equally well."""
        return ()

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Refit the parameters to ``forward(x) = y``; unchanged if the estimate of ``start`` is better.

        Args:
            x: (C, H, W), the prior's estimate of the clean image.
            y: (C, H, W), the degraded image.
            level: noise level at which ``x`` was estimated: the higher, the smoother it is.
        """
        return self

    def adjoint(self, y: Tensor) -> Tensor:
        """Return ``H^T y``, with ``<H x, y> = <x, H^T y>`` for all ``x``."""
        pull_back = torch.func.vjp(self.forward, y.new_zeros(()).expand_as(y))[1]
        (x,) = pull_back(y)
        return x

    def solve(self, y: Tensor, estimate: Tensor, weight: float) -> Tensor:
        """Minimise ``|H x - y|^2 + weight |x - estimate|^2``, by conjugate gradients from the estimate."""
        back = self.adjoint(y - self.forward(estimate))
        return regularised(self.forward, self.adjoint, back, estimate, weight)


class Record(Form):
    """A change of an image's values, after every linear operator."""

    @property
    def noise(self) -> float:
        """Standard deviation of the error that remains in the result of :meth:`reveal`."""
        return 0.0

    def reveal(self, y: Tensor, expected: Tensor) -> Tensor:
        """Return the image nearest to ``expected`` that this form could have turned into ``y``."""
        return y


def regularised(forward: Map, adjoint: Map, back: Tensor, estimate: Tensor, weight: float) -> Tensor:
    """Minimise ``|H x - y|^2 + weight |x - estimate|^2``; ``back`` is ``H^T (y - H estimate)``."""
    step = conjugate_gradients(lambda x: adjoint(forward(x)).add_(x, alpha=weight), back, SOLVER.iterations)
    return step.add_(estimate)


def conjugate_gradients(operator: Map, b: Tensor, iterations: int) -> Tensor:
    """Solve ``A x = b`` from zero, for a symmetric and positive ``A`` (Hestenes and Stiefel 1952).

    Overwrites ``b`` with the residual.
    """
    x, residual, direction = torch.zeros_like(b), b, b.clone()
    power = _inner(residual, residual)
    for _ in range(iterations):
        image = operator(direction)
        # The smallest number keeps 0 / 0 from becoming NaN once the residual is zero.
        length = power / _inner(direction, image).clamp_min(torch.finfo(b.dtype).tiny)
        x.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
        power, last = _inner(residual, residual), power
        direction.mul_(power / last.clamp_min(torch.finfo(b.dtype).tiny)).add_(residual)
    return x


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """The inner product, plane by plane."""
    return torch.stack([(one * other).sum() for one, other in zip(x, y, strict=True)]).sum()
