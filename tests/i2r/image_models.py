"""Image models whose noise is known in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from i2r.diffusion.sampling import Finder, Process, Query, found
from i2r.screening.regions import regions

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What lies over an image: its logits, and the log odds of every region; nothing by default."""

    logits: Tensor | None = None
    log_odds: float = -9.0

    def covered(self, image: Tensor) -> Tensor:
        return torch.full(image.shape[1:], -9.0) if self.logits is None else self.logits

    def judged(self, image: Tensor) -> Tensor:
        return torch.full((len(regions(*image.shape[1:])),), self.log_odds)


@dataclasses.dataclass(frozen=True)
class GaussianImages:
    """The exact noise predictor of images whose Fourier coefficients are independent Gaussians.

    The posterior mean of such an image is the Wiener filter ``S / (S + sigma^2)``, so that
    ``eps = sigma x / (S + sigma^2)`` coefficient by coefficient.

    Attributes:
        power: maps radial frequency in cycles a pixel to the power ``S``.
    """

    power: Callable[[Tensor], Tensor]

    def eps(self, x: Tensor, sigma: float) -> Tensor:
        """The noise in (..., H, W) at level ``sigma``."""
        down = torch.fft.fftfreq(x.shape[-2], dtype=x.dtype)[:, None]
        across = torch.fft.rfftfreq(x.shape[-1], dtype=x.dtype)[None]
        spectrum = self.power(torch.sqrt(down.square() + across.square()))
        noise = torch.fft.rfft2(x) * sigma / (spectrum + sigma**2)
        return torch.fft.irfft2(noise, s=x.shape[-2:])

    def answer(self, process: Process[T], finder: Finder = Overlay()) -> T:
        """Run a process to its end."""
        try:
            question = next(process)
            while True:
                if isinstance(question, Query):
                    question = process.send(self.eps(question.x, question.sigma))
                else:
                    question = process.send(found(question, finder))
        except StopIteration as stop:
            return stop.value
