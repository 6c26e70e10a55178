"""What the network alone costs: the time to hold a restoration against, and how much is asked of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch

from i2r import Prior, Restorer

SIDES = (128, 192, 256, 320, 384)
"""Of square tiles, in pixels: from one that fits a small image to one that a cache can hardly hold."""
ROUNDS = 2
"""Of each side; the first makes ready what later ones use."""


@dataclass(frozen=True, order=True)
class Pace:
    """Seconds that one evaluation takes for a pixel of its tile, and the side of the tile."""

    seconds_a_pixel: float
    tile: int


def best_pace(prior: Prior) -> Pace:
    """The network's best over the tiles, one at a time: it takes what two megapixels do.

    Args:
        prior: one of pixels.
    """
    return min(Pace(_evaluate(prior, side) / side**2, side) for side in SIDES for _ in range(ROUNDS))


def _evaluate(prior: Prior, side: int) -> float:
    tile = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(prior.device)
    started = time.perf_counter()
    prior.eps(tile, torch.ones(1, device=prior.device))[0, 0, 0, 0].item()  # which waits for the device
    return time.perf_counter() - started


@dataclass
class Asked:
    """How many pixels of tiles a network was shown."""

    pixels: int = 0


@contextmanager
def watched(restorer: Restorer) -> Iterator[Asked]:
    """Count what a restorer shows its network, with what pads its batches."""
    asked, evaluator = Asked(), restorer.evaluator
    eps = evaluator.eps

    def counting(tiles: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        height, width = tiles.shape[2:]
        asked.pixels += evaluator.batch(height, width) * height * width
        return eps(tiles, sigmas)

    with patch.object(evaluator, "eps", counting):
        yield asked
