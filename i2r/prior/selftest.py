"""A cheap test that a prior denoises, and that its schedule and prediction type match its training.

A wrong schedule, prediction type or set of weights raises no error by itself: the noise is just wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from i2r.diffusion.tiling import TileGrid
from i2r.errors import PriorError
from i2r.prior.folder import PREDICTION_TYPES, SCORE
from i2r.prior.network import Prior, noise_of, output_of

LEVELS = (0.3, 1.0, 3.0)
SIDE = 64
"""Side of the test picture in pixels; rounded up to a multiple of the prior's stride."""
MOST_LEFT = 0.5
"""Most of the noise power that may be left, as a share. Predicting no noise leaves all of it; averaging two
pixels of a smooth picture leaves half, which any prior must beat. (photo-64 leaves 2 % at most, and 60 % if
its v prediction is read as eps.)"""
CLEARLY = 2.0
"""Factor by which another prediction type must leave less noise to count as the right one. (With the wrong
type, photo-64 leaves 21 times as much, and an eps network that is as good 5 times.)"""


@dataclass(frozen=True)
class SelfTest:
    """Result of denoising a smooth picture.

    Attributes:
        left: share of the noise power that was left, by noise level.
    """

    left: dict[float, float]


def self_test(prior: Prior) -> SelfTest:
    """Denoise a smooth synthetic picture once at each of ``LEVELS``.

    Raises:
        PriorError: too much noise is left, or far more than with another prediction type.
    """
    evaluation = _Evaluation.of(prior)
    left = evaluation.noise_left(prior.prediction_type)
    for level, share in left.items():
        if not share <= MOST_LEFT:  # written so that NaN fails too
            raise PriorError(
                f"the prior {prior.name} does not denoise: it leaves {share:.0%} of noise {level:g}; "
                "give the scheduler that it was trained with, and copy its weights again"
            )
    for other in PREDICTION_TYPES if prior.prediction_type != SCORE else ():
        if sum(left.values()) > CLEARLY * sum(evaluation.noise_left(other).values()):
            raise PriorError(
                f"the prior {prior.name} is said to predict {prior.prediction_type}, but denoises better "
                f"read as {other}: set the prediction_type of its scheduler"
            )
    return SelfTest(left)


@dataclass(frozen=True)
class _Evaluation:
    """The noise predicted in noisy pictures, ``found`` (B, C, H, W), with the true noise and the input."""

    prediction_type: str
    noise: Tensor
    found: Tensor
    sample: Tensor
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, prior: Prior) -> _Evaluation:
        x = _smooth_canvas(prior)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        levels = torch.tensor(LEVELS)
        noisy = x + levels.view(-1, 1, 1, 1).to(x) * noise
        timestep = prior.schedule.timestep(levels.to(prior.device))
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in prior.schedule.alpha_sigma(timestep))
        return cls(prior.prediction_type, noise, prior.eps(noisy, levels), alpha * noisy, alpha, sigma)

    def noise_left(self, prediction_type: str) -> dict[float, float]:
        """Compute the share of the noise power left, by level, if the network had this prediction type."""
        found = self.found
        if prediction_type != self.prediction_type:
            said = output_of(found, self.sample, self.alpha, self.sigma, self.prediction_type)
            found = noise_of(said, self.sample, self.alpha, self.sigma, prediction_type)
        wrong = (found - self.noise).square().mean(dim=(1, 2, 3)) / self.noise.square().mean()
        return dict(zip(LEVELS, wrong.tolist(), strict=True))


def _smooth_canvas(prior: Prior) -> Tensor:
    """Return the prior's canvas of a picture of two slow waves with different phases in every channel."""
    side = -(-SIDE // prior.stride) * prior.stride
    turn = torch.linspace(0, 2 * torch.pi, side)
    waves = [torch.sin(turn + phase)[:, None] + torch.cos(turn - 2 * phase) for phase in (0.0, 0.5, 1.0)]
    picture = 0.4 * torch.stack(waves).to(prior.device)
    return prior.space.encode(picture, TileGrid.whole(side, side))
