"""The general blur: any small kernel that is not negative and sums to one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.forms.convolution import SMALLEST_SIDE, Convolution, GaussianBlur, likelier_blur
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING, TransferFit

_LARGEST_REACH = 16
_REFIT_PIXELS = 20_000
_SIMPLEX_STEPS = 100
_REFIT_LEVEL = 0.03  # of a kernel of known shape; at higher ones a narrower kernel explains the image

# In log power a Gaussian or a line misses by 0.4 to 0.74 where the blur is one, by 0.67 to 1.33 where not.
_LIKE_NOTHING = 0.75
_REACH = 4
_WIDTHS = (1.0, 1.5, 2.0)  # of the Gaussians that the search starts near
_SEARCH_STEPS, _SEARCH_RATE = 150, 0.1
_SEARCH_LEVEL = 0.15  # at which it is refined
_PULL = 0.3  # to what the spectrum shows, in units of the power of the image's differences
_UNSURE = 0.05  # of the range [-1, 1], in what such a kernel explains


@dataclass(frozen=True)
class SmallKernel(Convolution):
    """Any kernel that is not negative and sums to one.

    Attributes:
        kernel: (K, K), K odd; its middle leaves a pixel where it is.
        shown: (K, K), what the spectrum shows of a kernel that is like no other blur; None of one that is.
    """

    name: ClassVar[str] = "small_kernel"
    kernel: Tensor
    shown: Tensor | None = None

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """The Gaussian or the line that fits the spectrum better; a free kernel where neither fits."""
        blur = likelier_blur(y, calibration, noise)
        if min(y.shape[-2:]) >= SMALLEST_SIDE:
            fit = TransferFit.of(y, calibration.spectrum, noise)
            if fit.misfit(blur.transfer(fit.down, fit.across)) > _LIKE_NOTHING:
                shown = _search(fit).to(y)
                return cls(shown, shown)
        if isinstance(blur, GaussianBlur):
            return cls.of(blur, math.ceil(2.5 * float(blur.width)), y)
        return cls.of(blur, math.ceil(float(blur.length) / 2), y)

    @classmethod
    def of(cls, blur: Convolution, reach: int, like: Tensor) -> Self:
        """Another blur's kernel, cut at ``reach`` pixels; on the device of ``like``."""
        reach = min(max(reach, 1), _LARGEST_REACH)
        side = 4 * _LARGEST_REACH
        down, across = torch.fft.fftfreq(side).to(like), torch.fft.rfftfreq(side).to(like)
        kernel = torch.fft.irfft2(blur.transfer(down[:, None], across[None]), s=(side, side))
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

    @property
    def error(self) -> float:
        return 0.0 if self.shown is None else _UNSURE

    def others(self) -> Sequence[Self]:
        """A power spectrum does not tell a kernel from one that is turned around."""
        return [] if self.shown is None else [type(self)(*(self.shown.flip(0, 1),) * 2)]

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Least squares over the kernels that are not negative and sum to one, at low levels.

        At high ones the estimate is so smooth that a narrower kernel explains the image. What the spectrum
        shows is independent of the estimate, and held on to.
        """
        side = len(self.kernel)
        reach, unknown = side // 2, self.shown is not None
        if level > (_SEARCH_LEVEL if unknown else _REFIT_LEVEL) or min(x.shape[-2:]) <= side + 1:
            return self
        if unknown:  # edges tell more of a kernel than areas
            x, y = _differences(x), _differences(y)
        # Some of the pixels are enough, and all of a large image would not fit into memory side^2 times.
        stride = max(1, math.isqrt(y.numel() // _REFIT_PIXELS))
        wanted = y[:, reach : y.shape[1] - reach : stride, reach : y.shape[2] - reach : stride].flatten()
        # A convolution turns the kernel around.
        design = x.unfold(1, side, stride).unfold(2, side, stride).flatten(0, 2).flip(1, 2).flatten(1)
        gram, target = design.T @ design / len(design), design.T @ wanted / len(design)
        kernel = self.kernel.flatten()
        if self.shown is not None:
            pull = _PULL * gram.diagonal().mean()
            gram, target = gram + pull * torch.eye(len(gram)).to(gram), target + pull * self.shown.flatten()
        # Of an image that is nothing but middle gray there is nothing to fit.
        rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp_min(1e-6)
        for _ in range(_SIMPLEX_STEPS):
            kernel = onto_simplex(kernel - rate * (gram @ kernel - target))
        return replace(self, kernel=kernel.view(side, side))

    def parameters(self) -> Mapping[str, Any]:
        return {"kernel": [[round(float(value), 4) for value in row] for row in self.kernel]}


def _search(fit: TransferFit) -> Tensor:
    """The kernel whose power fits best, centred: (K, K), float64, found by Adam from a few starts."""
    side = 2 * _REACH + 1
    offset = torch.arange(side, dtype=torch.float64) - _REACH
    turn_down = torch.exp(-2j * math.pi * fit.down[:, None] * offset)
    turn_across = torch.exp(-2j * math.pi * fit.across[:, None] * offset)
    generator = torch.Generator().manual_seed(0)
    best, least = torch.empty(0), math.inf
    for width in _WIDTHS:
        bell = -(offset[:, None].square() + offset.square()) / (2 * width**2)
        scores = bell + torch.randn(bell.shape, generator=generator, dtype=bell.dtype) / 2
        scores.requires_grad_()
        adam = torch.optim.Adam([scores], lr=_SEARCH_RATE)
        for _ in range(_SEARCH_STEPS):
            kernel = scores.flatten().softmax(dim=0).view(side, side)
            transfer = ((turn_down @ kernel.to(turn_down.dtype)) * turn_across).sum(dim=1)
            missed = fit.missed(transfer.abs())
            loss = F.huber_loss(missed, torch.zeros_like(missed))
            adam.zero_grad()
            loss.backward()
            adam.step()
        if loss.item() < least:
            best, least = kernel.detach(), loss.item()
    down, across = (int((best.sum(dim=axis) @ offset).round()) for axis in (1, 0))
    return best.roll((-down, -across), (0, 1))


def _differences(x: Tensor) -> Tensor:
    """Of (C, H, W) across and down, (2 C, H - 1, W - 1)."""
    return torch.cat([x.diff(dim=-1)[:, 1:], x.diff(dim=-2)[..., 1:]])


def onto_simplex(values: Tensor) -> Tensor:
    """The nearest vector (N,) that is not negative and sums to one (Duchi et al. 2008)."""
    ordered = values.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(values) + 1, device=values.device)
    return (values - excess[ordered > excess][-1]).clamp_min(0)
