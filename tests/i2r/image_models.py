"""Image models whose noise is known in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from i2r.diffusion.sampling import Covered, Finder, Process

T = TypeVar("T")


def bare(image: Tensor) -> Tensor:
    """Logits (H, W) of an image that nothing lies over."""
    return torch.full(image.shape[1:], -9.0)


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

    def answer(self, process: Process[T], find_overlays: Finder = bare) -> T:
        """Run a process to its end."""
        try:
            question = next(process)
            while True:
                if isinstance(question, Covered):
                    question = process.send(find_overlays(question.image))
                else:
                    question = process.send(self.eps(question.x, question.sigma))
        except StopIteration as stop:
            return stop.value
