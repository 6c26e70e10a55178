"""DDIM as an invertible map: the deterministic steps between noise levels.

:mod:`i2r.diffusion.inversion` inverts it.

Everything here is a generator for one canvas: it *yields* a :class:`Query` whenever it needs the prior and is
sent the predicted noise. The code of a method thus handles one image, while :func:`drive` evaluates the
queries of many images in shared batches. Overlays (dust, scratches, stains) are requested in the same way
(:class:`Judged`, :class:`Covered`): only the caller of :func:`drive` knows the networks and their precision.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Requests the noise in canvas ``x`` (C, H, W), taken as a sample at noise level ``sigma``.

    ``grid`` is the grid of the canvas; None for that of the process. ``wanted`` (H, W) are the pixels whose
    noise matters; None for all. Tiles without any are not evaluated, and the answer is right at those pixels
    alone. The process owns the answer and may overwrite it.
    """

    x: Tensor
    sigma: float
    grid: TileGrid | None = None
    wanted: Tensor | None = None


@dataclass(frozen=True)
class Covered:
    """Requests the logits (H, W) that an overlay covers each pixel of ``image`` (C, H, W) in [-1, 1]."""

    image: Tensor


@dataclass(frozen=True)
class Judged:
    """Requests the log odds (N,) that an overlay lies over each region of ``image`` (C, H, W) in [-1, 1]."""

    image: Tensor


Process = Generator[Query | Covered | Judged, Tensor, T]
"""A computation that requests noise or what overlays there are, and returns a ``T``."""


class Finder(Protocol):
    """Answers :class:`Covered` and :class:`Judged`; see :class:`i2r.screening.overlays.OverlayFinder`."""

    def covered(self, image: Tensor) -> Tensor: ...

    def judged(self, image: Tensor) -> Tensor: ...


def found(question: Covered | Judged, finder: Finder) -> Tensor:
    """Answer a request for overlays."""
    look = finder.covered if isinstance(question, Covered) else finder.judged
    return look(question.image)


def levels(low: float, high: float, count: int) -> list[float]:
    """Return ``count + 1`` noise levels from ``low`` to ``high``, evenly spaced in log sigma.

    This spacing makes DDIM invertible by fixed-point iteration: the contraction factor
    ``1 - sigma[i-1] / sigma[i]`` is then the same at every step, instead of 1 at the last.
    """
    return [math.exp(math.log(low) + (math.log(high) - math.log(low)) * i / count) for i in range(count + 1)]


def denoise(x: Tensor, sigma: float, wanted: Tensor | None = None) -> Process[Tensor]:
    """Compute the posterior mean ``E[x0 | x]`` (Tweedie) with one evaluation.

    ``wanted`` is that of the :class:`Query`.
    """
    return (yield Query(x, sigma, wanted=wanted)).mul_(-sigma).add_(x)


def generate(x: Tensor, sigmas: Sequence[float], wanted: Tensor | None = None) -> Process[Tensor]:
    """Follow DDIM (eta = 0) from ``sigmas[-1]`` down to ``sigmas[0]``, then to the clean image.

    In the variance-exploding view a step is ``x += (sigma' - sigma) eps(x, sigma)`` (Song et al., arXiv
    2010.02502, equation 13).

    Args:
        x: (C, H, W), a sample at ``sigmas[-1]``.
        sigmas: increasing noise levels; one evaluation each.
        wanted: that of the :class:`Query`.
    """
    for sigma, lower in zip(reversed(sigmas), [*reversed(sigmas[:-1]), 0.0], strict=True):
        x = (yield Query(x, sigma, wanted=wanted)).mul_(lower - sigma).add_(x)
    return x


def counted(process: Process[T]) -> Process[tuple[T, int]]:
    """Run a process unchanged; returns its result and the number of its queries, its NFE."""
    queries = 0
    try:
        asked = [next(process)]
        while True:
            queries += isinstance(asked[0], Query)
            # Popped before it is yielded, so that this frame keeps no reference to the canvas.
            asked.append(process.send((yield asked.pop())))
    except StopIteration as stop:
        return stop.value, queries


def covered_once(process: Process[T]) -> Process[T]:
    """Run a process unchanged; what covers an image is not asked again until it has changed."""
    last: tuple[Tensor, Tensor] | None = None
    try:
        asked = [next(process)]
        while True:
            if isinstance(asked[0], Covered):
                if last is None or not last[0].is_set_to(asked[0].image):
                    last = asked[0].image, (yield asked[0])
                asked = [process.send(last[1])]
            else:
                asked.append(process.send((yield asked.pop())))  # popped as in `counted`
    except StopIteration as stop:
        return stop.value


def drive(
    processes: Sequence[Process[T]],
    grids: Sequence[TileGrid],
    evaluator: FixedShapeEvaluator,
    finder: Finder | None = None,
) -> list[T]:
    """Run one process per image to its end, sharing network batches between the images.

    Each round evaluates the open query of every process. Images of different sizes and noise levels share
    batches if their tiles have the same shape.

    Args:
        processes: one per image.
        grids: of their canvases.
        evaluator: evaluates the prior.
        finder: looks for overlays; None if no process requests any.

    Returns:
        The results in order.

    Raises:
        ValueError: a process requests overlays and ``finder`` is None.
    """
    results: dict[int, T] = {}
    queries: dict[int, Query] = {}
    answers: dict[int, Tensor] = {}

    def advance(index: int) -> None:
        process = processes[index]
        try:
            # Popped, so that only the process keeps a reference to its answer.
            question = process.send(answers.pop(index)) if index in answers else next(process)
            while isinstance(question, Covered | Judged):
                if finder is None:
                    raise ValueError("a process requests overlays: give ``finder``")
                question = process.send(found(question, finder))
            queries[index] = question
        except StopIteration as stop:
            results[index] = stop.value

    for index in range(len(processes)):
        advance(index)
    while queries:
        asked = list(queries)
        predicted = evaluator.noise(
            [queries[index].grid or grids[index] for index in asked],
            [queries[index].x for index in asked],
            [queries[index].sigma for index in asked],
            [queries[index].wanted for index in asked],
        )
        queries.clear()
        answers.update(zip(asked, predicted, strict=True))
        predicted.clear()
        for index in asked:
            advance(index)
    return [results[index] for index in range(len(processes))]
