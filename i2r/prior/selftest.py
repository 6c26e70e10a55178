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


@dataclass(frozen=True)
class SelfTestTuning:
    """What a prior is tested on, and when it passes.

    Attributes:
        levels: of the noise, in units of the range [-1, 1].
        side: of the test picture in pixels; rounded up to a multiple of the prior's stride.
        most_left: largest share of the noise power that may be left. Predicting no noise leaves all of it;
            averaging two pixels of a smooth picture leaves half, which any prior must beat. (photo-64 leaves
            2 % at most, and 60 % if its v prediction is read as eps.)
        clearly: factor by which another prediction type must leave less noise to count as the right one.
            (With the wrong type, photo-64 leaves 21 times as much, an equally good eps network 5 times.)
    """

    levels: tuple[float, ...] = (0.3, 1.0, 3.0)
    side: int = 64
    most_left: float = 0.5
    clearly: float = 2.0


SELF_TEST = SelfTestTuning()


def self_test(prior: Prior) -> dict[float, float]:
    """Denoise a smooth synthetic picture once at each of the ``levels``.

    Returns:
        the share of the noise power that was left, by noise level.

    Raises:
        PriorError: too much noise is left, or far more than with another prediction type.
    """
    left = _noise_left(prior)
    own = left[prior.prediction_type]
    for level, share in own.items():
        if not share <= SELF_TEST.most_left:  # written so that NaN fails too
            raise PriorError(
                f"the prior {prior.name} does not denoise: it leaves {share:.0%} of noise {level:g}; "
                "give the scheduler that it was trained with, and copy its weights again"
            )
    for other, of_other in left.items():
        if sum(own.values()) > SELF_TEST.clearly * sum(of_other.values()):
            raise PriorError(
                f"the prior {prior.name} is said to predict {prior.prediction_type}, but denoises better "
                f"read as {other}: set the prediction_type of its scheduler"
            )
    return own


def _noise_left(prior: Prior) -> dict[str, dict[float, float]]:
    """Compute the share of the noise power left, by level, with the output read as each prediction type."""
    x, own = _smooth_canvas(prior), prior.prediction_type
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    levels = torch.tensor(SELF_TEST.levels)
    noisy = x + levels.view(-1, 1, 1, 1).to(x) * noise
    timestep = prior.schedule.timestep(levels.to(prior.device))
    alpha, sigma = (level.view(-1, 1, 1, 1) for level in prior.schedule.alpha_sigma(timestep))
    predicted = {own: prior.eps(noisy, levels)}
    if own != SCORE:
        output = output_of(predicted[own], alpha * noisy, alpha, sigma, own)
        others = [kind for kind in PREDICTION_TYPES if kind != own]
        predicted |= {kind: noise_of(output, alpha * noisy, alpha, sigma, kind) for kind in others}
    left = {
        kind: (eps - noise).square().mean(dim=(1, 2, 3)) / noise.square().mean()
        for kind, eps in predicted.items()
    }
    return {kind: dict(zip(SELF_TEST.levels, of.tolist(), strict=True)) for kind, of in left.items()}


def _smooth_canvas(prior: Prior) -> Tensor:
    """Return the prior's canvas of a picture of two slow waves with different phases in every channel."""
    side = -(-SELF_TEST.side // prior.stride) * prior.stride
    turn = torch.linspace(0, 2 * torch.pi, side)
    waves = [torch.sin(turn + phase)[:, None] + torch.cos(turn - 2 * phase) for phase in (0.0, 0.5, 1.0)]
    picture = 0.4 * torch.stack(waves).to(prior.device)
    return prior.space.encode(picture, TileGrid.whole(side, side))
