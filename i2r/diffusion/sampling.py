"""DDIM as an invertible map: the deterministic steps between noise levels.

:mod:`i2r.diffusion.inversion` inverts it.

Everything here is written for one canvas and is a generator: it *yields* a :class:`Query` whenever it needs
the prior and is sent the predicted noise. Straight-line code for one image, while whoever drives the
generators evaluates the queries of many images together (:func:`drive`). What lies over an image is asked
for in the same way (:class:`Covered`): who drives knows the networks and what they compute in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Asks for the noise in canvas ``x`` (C, H, W), read as a sample at noise level ``sigma``.

    ``grid`` is that of the canvas, where it is another than the process's. Who asks may overwrite the answer.
    """

    x: Tensor
    sigma: float
    grid: TileGrid | None = None


@dataclass(frozen=True)
class Covered:
    """Asks how surely something lies over each pixel of ``image`` (C, H, W) in [-1, 1], as logits (H, W)."""

    image: Tensor


Process = Generator[Query | Covered, Tensor, T]
"""A computation that asks for noise, or for what lies over an image, and returns a ``T``."""

Finder = Callable[[Tensor], Tensor]
"""Answers what :class:`Covered` asks."""


def levels(low: float, high: float, count: int) -> list[float]:
    """``count + 1`` noise levels from ``low`` to ``high``, even in log sigma.

    Even spacing in log sigma is what makes DDIM invertible by fixed-point iteration: the contraction
    factor ``1 - sigma[i-1] / sigma[i]`` is then the same at every step, instead of 1 at the last.
    """
    return [math.exp(math.log(low) + (math.log(high) - math.log(low)) * i / count) for i in range(count + 1)]


def denoise(x: Tensor, sigma: float) -> Process[Tensor]:
    """The posterior mean ``E[x0 | x]`` (Tweedie): one evaluation."""
    return (yield Query(x, sigma)).mul_(-sigma).add_(x)


def generate(x: Tensor, sigmas: Sequence[float]) -> Process[Tensor]:
    """Follow DDIM (eta = 0) from ``sigmas[-1]`` down to ``sigmas[0]``, then to the clean image.

    In the variance-exploding view a step is ``x += (sigma' - sigma) eps(x, sigma)`` (Song et al., arXiv
    2010.02502, equation 13).

    Args:
        x: (C, H, W), a sample at ``sigmas[-1]``.
        sigmas: increasing noise levels.
    """
    for sigma, lower in zip(reversed(sigmas), [*reversed(sigmas[:-1]), 0.0], strict=True):
        x = (yield Query(x, sigma)).mul_(lower - sigma).add_(x)
    return x


def counted(process: Process[T]) -> Process[tuple[T, int]]:
    """Pass a process on; returns its result and the number of its queries, which is its NFE."""
    queries = 0
    try:
        asked = [next(process)]
        while True:
            queries += isinstance(asked[0], Query)
            # Popped as it is passed on: once it is answered nobody but the process holds its canvas.
            asked.append(process.send((yield asked.pop())))
    except StopIteration as stop:
        return stop.value, queries


def drive(
    processes: Sequence[Process[T]],
    grids: Sequence[TileGrid],
    evaluator: FixedShapeEvaluator,
    find_overlays: Finder | None = None,
) -> list[T]:
    """Run one process per image to its end, sharing network batches between the images.

    Every process's open query is evaluated in each round, so that images of different sizes and depths
    fill batches together, as far as their tiles are of one shape.

    Args:
        processes: of the images.
        grids: of their canvases.
        evaluator: of the prior.
        find_overlays: answers those that ask what lies over an image.

    Returns:
        The results in order.
    """
    results: dict[int, T] = {}
    queries: dict[int, Query] = {}
    answers: dict[int, Tensor] = {}

    def advance(index: int) -> None:
        process = processes[index]
        try:
            # Sent as it is popped: from here on nobody but the process holds its answer.
            question = process.send(answers.pop(index)) if index in answers else next(process)
            while isinstance(question, Covered):
                if find_overlays is None:
                    raise ValueError("a process asks what lies over an image: give what finds it")
                question = process.send(find_overlays(question.image))
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
        )
        queries.clear()
        answers.update(zip(asked, predicted, strict=True))
        predicted.clear()
        for index in asked:
            advance(index)
    return [results[index] for index in range(len(processes))]
