"""The general blur: any small nonnegative kernel that sums to one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.forms.convolution import Convolution, GaussianBlur, likelier_blur
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING, TransferFit
from i2r.screening.typicality import TYPICALITY


@dataclass(frozen=True)
class KernelTuning:
    """How small kernels are estimated. Noise levels and errors are in units of the range [-1, 1].

    Attributes:
        largest_reach: at which the kernel of another blur is cut, in pixels.
        refit_pixels: about the number of pixels that a kernel is refitted to.
        refit_steps: of projected gradient descent.
        refit_level: highest level to refit a Gaussian or line at; above, a narrower kernel fits best.
        free_misfit: least misfit of a Gaussian or line in log power from which a free kernel is searched for:
            it is 0.4 to 0.74 if the blur is one, 0.67 to 1.33 if not.
        free_reach: of a free kernel, in pixels.
        free_level: highest level to refit a free kernel at.
        free_pull: toward the kernel from the spectrum, in units of the power of the image's differences.
        free_error: error left in the degraded image by a free kernel.
        search_widths: standard deviations in pixels of the Gaussians that the search starts near.
        search_steps: of Adam.
        search_rate: its learning rate.
    """

    largest_reach: int = 16
    refit_pixels: int = 20_000
    refit_steps: int = 100
    refit_level: float = 0.03
    free_misfit: float = 0.75
    free_reach: int = 4
    free_level: float = 0.15
    free_pull: float = 0.3
    free_error: float = 0.05
    search_widths: tuple[float, ...] = (1.0, 1.5, 2.0)
    search_steps: int = 150
    search_rate: float = 0.1


KERNELS = KernelTuning()


@dataclass(frozen=True)
class SmallKernel(Convolution):
    """Blur by any nonnegative kernel that sums to one.

    Attributes:
        kernel: (K, K), K odd, centred on the pixel.
        shown: (K, K), the free kernel estimated from the spectrum; None if a Gaussian or a line fits it.
    """

    name: ClassVar[str] = "small_kernel"
    kernel: Tensor
    shown: Tensor | None = None

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Estimate the Gaussian or line that fits the spectrum better, or a free kernel if neither fits."""
        blur = likelier_blur(y, calibration, noise)
        if min(y.shape[-2:]) >= TYPICALITY.smallest_side:
            fit = TransferFit.of(y, calibration.spectrum, noise)
            if fit.misfit(blur.transfer(fit.down, fit.across)) > KERNELS.free_misfit:
                shown = _search(fit).to(y)
                return cls(shown, shown)
        reach = 2.5 * blur.width if isinstance(blur, GaussianBlur) else blur.length / 2
        return cls.of(blur, math.ceil(float(reach)), y)

    @classmethod
    def of(cls, blur: Convolution, reach: int, like: Tensor) -> Self:
        """Convert another blur to its kernel, cut at ``reach`` pixels, on the device of ``like``."""
        reach, side = min(max(reach, 1), KERNELS.largest_reach), 4 * KERNELS.largest_reach
        down, across = torch.fft.fftfreq(side).to(like), torch.fft.rfftfreq(side).to(like)
        kernel = torch.fft.irfft2(blur.transfer(down[:, None], across[None]), s=(side, side))
        kernel = torch.fft.fftshift(kernel)
        middle = slice(side // 2 - reach, side // 2 + reach + 1)
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
        return 0.0 if self.shown is None else KERNELS.free_error

    def others(self) -> Sequence[Self]:
        """Return a free kernel rotated by 180 degrees, which has the same power spectrum."""
        return [] if self.shown is None else [type(self)(*(self.shown.flip(0, 1),) * 2)]

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Refit by least squares over nonnegative kernels that sum to one, at low noise levels only.

        At high levels the estimate is so smooth that a narrower kernel fits best. A free kernel is pulled
        toward the one estimated from the spectrum, which does not depend on the clean estimate.
        """
        side = len(self.kernel)
        reach, unknown = side // 2, self.shown is not None
        highest = KERNELS.free_level if unknown else KERNELS.refit_level
        if level > highest or min(x.shape[-2:]) <= side + 1:
            return self
        if unknown:  # edges determine a kernel better than flat areas
            x, y = _differences(x), _differences(y)
        # A subset of the pixels is enough; all pixels of a large image, side^2 times, exceed memory.
        stride = max(1, math.isqrt(y.numel() // KERNELS.refit_pixels))
        wanted = y[:, reach : y.shape[1] - reach : stride, reach : y.shape[2] - reach : stride].flatten()
        # Convolution flips the kernel.
        design = x.unfold(1, side, stride).unfold(2, side, stride).flatten(0, 2).flip(1, 2).flatten(1)
        gram, target = design.T @ design / len(design), design.T @ wanted / len(design)
        kernel = self.kernel.flatten()
        if self.shown is not None:
            pull = KERNELS.free_pull * gram.diagonal().mean()
            gram, target = gram + pull * torch.eye(len(gram)).to(gram), target + pull * self.shown.flatten()
        # The clamp avoids division by zero for an image of middle gray alone.
        rate = 1 / torch.linalg.matrix_norm(gram, 2).clamp_min(1e-6)
        for _ in range(KERNELS.refit_steps):
            kernel = onto_simplex(kernel - rate * (gram @ kernel - target))
        return replace(self, kernel=kernel.view(side, side))

    def parameters(self) -> Mapping[str, Any]:
        return {"kernel": [[round(float(value), 4) for value in row] for row in self.kernel]}


def _search(fit: TransferFit) -> Tensor:
    """Find the kernel whose power spectrum fits best, by Adam from a few starts: (K, K) float64, centred."""
    side = 2 * KERNELS.free_reach + 1
    offset = torch.arange(side, dtype=torch.float64) - KERNELS.free_reach
    turn_down = torch.exp(-2j * math.pi * fit.down[:, None] * offset)
    turn_across = torch.exp(-2j * math.pi * fit.across[:, None] * offset)
    generator = torch.Generator().manual_seed(0)
    best, least = torch.empty(0), math.inf
    for width in KERNELS.search_widths:
        bell = -(offset[:, None].square() + offset.square()) / (2 * width**2)
        scores = bell + torch.randn(bell.shape, generator=generator, dtype=bell.dtype) / 2
        scores.requires_grad_()
        adam = torch.optim.Adam([scores], lr=KERNELS.search_rate)
        for _ in range(KERNELS.search_steps):
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
    """Differences of (C, H, W) across and down, (2 C, H - 1, W - 1)."""
    return torch.cat([x.diff(dim=-1)[:, 1:], x.diff(dim=-2)[..., 1:]])


def onto_simplex(values: Tensor) -> Tensor:
    """Project (N,) onto the simplex: the nearest nonnegative vector that sums to one (Duchi et al. 2008)."""
    ordered = values.sort(descending=True).values
    excess = (ordered.cumsum(0) - 1) / torch.arange(1, len(values) + 1, device=values.device)
    return (values - excess[ordered > excess][-1]).clamp_min(0)
