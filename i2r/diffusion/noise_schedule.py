"""Noise levels of a variance-preserving diffusion, as a continuous function of the timestep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class NoiseSchedule:
    """The map between timesteps and noise levels ``sigma = sqrt((1 - abar) / abar)``.

    ``sigma`` is the standard deviation of the noise on an image of range [-1, 1] after the division by
    ``alpha = sqrt(abar)`` (the variance-exploding view of DDIM: Song et al., arXiv 2010.02502, equation
    14). Between the integer timesteps of a checkpoint, ``log sigma`` is linear.

    Attributes:
        log_sigmas: (T,) float32, strictly increasing.
    """

    log_sigmas: torch.Tensor

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: torch.Tensor) -> NoiseSchedule:
        """Build from ``abar`` of shape (T,), each in [0, 1].

        Raises:
            ValueError: there are fewer than two timesteps, or the noise does not grow strictly with them.
        """
        if len(alphas_cumprod) < 2:
            raise ValueError("a schedule needs two timesteps or more")
        # A schedule rescaled to zero terminal SNR ends at abar = 0, where sigma is infinite.
        abar = alphas_cumprod.double().clamp(1e-12, 1 - 1e-8)
        log_sigmas = (((1 - abar) / abar).log() / 2).float()
        if not (log_sigmas.diff() > 0).all():
            raise ValueError("the schedule's noise must grow strictly with the timestep")
        return cls(log_sigmas)

    @classmethod
    def between(cls, low: float, high: float, count: int) -> NoiseSchedule:
        """Build ``count`` levels from ``low`` to ``high``, evenly spaced in log sigma."""
        return cls(torch.linspace(math.log(low), math.log(high), count))

    def to(self, device: torch.device) -> NoiseSchedule:
        """Copy to a device, on which :meth:`timestep` and :meth:`sigma` then expect their arguments."""
        return NoiseSchedule(self.log_sigmas.to(device))

    def __len__(self) -> int:
        return len(self.log_sigmas)

    @property
    def sigma_min(self) -> float:
        return self.log_sigmas[0].exp().item()

    @property
    def sigma_max(self) -> float:
        return self.log_sigmas[-1].exp().item()

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """Fractional timesteps of the levels ``sigma``, clamped to the range of the schedule."""
        log_sigma = sigma.clamp_min(1e-12).log().float()
        above = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self) - 1)
        low, high = self.log_sigmas[above - 1], self.log_sigmas[above]
        return (above - 1 + ((log_sigma - low) / (high - low)).clamp(0, 1)).float()

    def sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        """Noise levels at fractional timesteps; the inverse of :meth:`timestep`."""
        below = timestep.floor().long().clamp(0, len(self) - 2)
        low, high = self.log_sigmas[below], self.log_sigmas[below + 1]
        return torch.lerp(low, high, timestep - below).exp()

    def alpha_sigma(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal and noise scales of the variance-preserving sample at fractional timesteps, with
        ``alpha^2 + sigma^2 = 1``."""
        sigma = self.sigma(timestep)
        alpha = (1 + sigma.square()).rsqrt()
        return alpha, alpha * sigma
