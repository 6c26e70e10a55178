"""Suspicion: cheap looks at an image for where local damage may be, so that the prior is asked only there.

A suspicion is no test. It orders the regions of an image for one local statistic, which then decides on the
first of them. It costs a hundredth of an evaluation of the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import diagonal_differences


@dataclass(frozen=True)
class SuspicionTuning:
    """How regions are compared. Contrasts are in units of the range [-1, 1], distances in pixels.

    Attributes:
        faintest: added to the mean contrast of specks: flat regions do not stand out.
        directions: rows and columns between the samples along a line.
        samples: on either side of a pixel along a line.
        aside: from a line to what is beside it.
        glare: added to the distance from white: near white any line would be opaque.
        patch: side of the patches that are tested for noise.
        strongest: stronger noise is not more suspicious.
        white: correlation of the diagonal differences of white noise, by their rows and columns apart.
        correlation_weight: of the distance from those correlations.
    """

    faintest: float = 0.02
    directions: tuple[tuple[int, int], ...] = (
        *((3, 0), (3, 1), (3, -1), (2, 2)),
        *((2, -2), (1, 3), (-1, 3), (0, 3)),
    )
    samples: int = 2
    aside: int = 3
    glare: float = 0.15
    patch: int = 32
    strongest: float = 0.12
    white: tuple[tuple[int, int, float], ...] = (
        *((0, 1, -0.5), (1, 0, -0.5), (1, 1, 0.25)),
        *((0, 2, 0.0), (2, 0, 0.0), (2, 2, 0.0)),
    )
    correlation_weight: float = 3.0


SUSPICION = SuspicionTuning()
_FARTHEST = max(max(step[:2]) for step in SUSPICION.white)


def specks(images: Tensor) -> Tensor:
    """How far single pixels stand out of their four neighbours, over how far they usually do: (N,).

    Args:
        images: (N, C, H, W) in [-1, 1].
    """
    inner = _inner(images, 1)
    first, *others = (_inner(images, 1, *step) for step in ((0, -1), (0, 1), (-1, 0), (1, 0)))
    highest = lowest = first
    for other in others:
        highest, lowest = torch.maximum(highest, other), torch.minimum(lowest, other)
    peak = torch.maximum(inner - highest, lowest - inner).clamp_min_(0).flatten(1)
    return peak.square().mean(dim=1) / (peak.mean(dim=1) + SUSPICION.faintest)


def lines(images: Tensor) -> Tensor:
    """How much stronger bright and nearly white lines are in one direction than in most: (N,)."""
    from_white = 1 + SUSPICION.glare - images.amin(dim=1)
    powers = torch.stack([_lines_along(from_white, *step) for step in SUSPICION.directions])
    return powers.amax(dim=0) - powers.median(dim=0).values


def _lines_along(from_white: Tensor, down: int, across: int) -> Tensor:
    """The power (N,) of bright lines of one direction, less that of dark ones, in (N, H, W)."""
    reach = SUSPICION.samples * max(abs(down), abs(across))
    places = range(-SUSPICION.samples, SUSPICION.samples + 1)
    first, *others = (_inner(from_white, reach, place * down, place * across) for place in places)
    summed = sum(others, first)
    aside = SUSPICION.aside
    sides = ((0, aside), (0, -aside)) if abs(down) >= abs(across) else ((aside, 0), (-aside, 0))
    line, (one, other) = _inner(summed, aside), (_inner(summed, aside, *side) for side in sides)
    bright = (1 - line / torch.minimum(one, other)).clamp_min_(0)
    dark = (line / torch.maximum(one, other) - 1).clamp_min_(0)
    return (bright.square() - dark.square()).mean(dim=(1, 2))


def grainy(images: Tensor) -> Tensor:
    """How much the most suspicious patch looks like white noise, by its finest differences: (N,).

    As :func:`i2r.screening.graininess.graininess` of gray images, on patches that do not overlap.
    """
    steps = diagonal_differences(images.mean(dim=1))
    inner = _inner(steps, _FARTHEST)
    power = _by_patch(inner.square()) + 1e-9
    apart = torch.zeros_like(power)
    for down, across, white in SUSPICION.white:
        apart += (_by_patch(inner * _inner(steps, _FARTHEST, down, across)) / power - white).square()
    scale = _by_patch(inner.abs()).clamp_max(SUSPICION.strongest) + 1e-3
    return (scale.log() - SUSPICION.correlation_weight * apart.sqrt()).flatten(1).amax(dim=1)


def _inner(x: Tensor, margin: int, down: int = 0, across: int = 0) -> Tensor:
    """All but a margin of (..., H, W), moved."""
    height, width = x.shape[-2:]
    return x[..., margin + down : height - margin + down, margin + across : width - margin + across]


def _by_patch(x: Tensor) -> Tensor:
    """Averages of (N, H, W) over patches."""
    return F.avg_pool2d(x, SUSPICION.patch, ceil_mode=True)


SUSPICIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"tails": specks, "streaks": lines, "patchy": grainy}
"""What tells where a local statistic may be atypical, by its name. The others are measured everywhere."""
