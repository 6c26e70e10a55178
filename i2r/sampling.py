"""DDIM as an invertible map: the deterministic steps between noise levels (:mod:`i2r.inversion` inverts it).

Everything here is written for one canvas and is a generator: it *yields* a :class:`Query` whenever it needs
the prior and is sent the predicted noise. Straight-line code for one image, while whoever drives the
generators evaluates the queries of many images together (:func:`drive`).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from i2r.tiling import FixedShapeEvaluator, TileGrid, gather_tiles

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """Asks for the noise in canvas ``x`` (C, H, W), read as a sample at noise level ``sigma``."""

    x: Tensor
    sigma: float


Process = Generator[Query, Tensor, T]
"""A computation that asks for noise and returns a ``T``."""


def levels(low: float, high: float, count: int) -> list[float]:
    """``count + 1`` noise levels from ``low`` to ``high``, even in log sigma.

    Even spacing in log sigma is what makes DDIM invertible by fixed-point iteration: the contraction
    factor ``1 - sigma[i-1] / sigma[i]`` is then the same at every step, instead of 1 at the last.
    """
    return [math.exp(math.log(low) + (math.log(high) - math.log(low)) * i / count) for i in range(count + 1)]


def denoise(x: Tensor, sigma: float) -> Process[Tensor]:
    """The posterior mean ``E[x0 | x]`` (Tweedie): one evaluation."""
    return x - sigma * (yield Query(x, sigma))


def generate(x: Tensor, sigmas: Sequence[float]) -> Process[Tensor]:
    """Follow DDIM (eta = 0) from ``sigmas[-1]`` down to ``sigmas[0]``, then to the clean image.

    In the variance-exploding view a step is ``x += (sigma' - sigma) eps(x, sigma)`` (Song et al., arXiv
    2010.02502, equation 13).

    Args:
        x: (C, H, W), a sample at ``sigmas[-1]``.
        sigmas: increasing noise levels.
    """
    for sigma, lower in zip(reversed(sigmas), [*reversed(sigmas[:-1]), 0.0], strict=True):
        x = x + (lower - sigma) * (yield Query(x, sigma))
    return x


def counted(process: Process[T]) -> Process[tuple[T, int]]:
    """Pass a process on; returns its result and the number of its queries, which is its NFE."""
    queries, answer = 0, None
    while True:
        try:
            query = next(process) if answer is None else process.send(answer)
        except StopIteration as stop:
            return stop.value, queries
        queries += 1
        answer = yield query


def drive(
    processes: Sequence[Process[T]], grids: Sequence[TileGrid], evaluator: FixedShapeEvaluator
) -> list[T]:
    """Run one process per image to its end, sharing network batches between the images.

    Every process's open query is evaluated in each round, so that images of different sizes and depths
    fill batches together; gray canvases among themselves, since what is evaluated together has one shape.
    Returns the results in order.
    """
    results: dict[int, T] = {}
    queries: dict[int, Query] = {}

    def advance(index: int, answer: Tensor | None) -> None:
        try:
            queries[index] = next(processes[index]) if answer is None else processes[index].send(answer)
        except StopIteration as stop:
            queries.pop(index, None)
            results[index] = stop.value

    for index in range(len(processes)):
        advance(index, None)
    while queries:
        by_channels: dict[int, list[int]] = {}
        for index, query in queries.items():
            by_channels.setdefault(len(query.x), []).append(index)
        for together in by_channels.values():
            asked = [queries[index] for index in together]
            tiles, counts = gather_tiles([grids[index] for index in together], [query.x for query in asked])
            sigmas = torch.cat(
                [tiles.new_full((n,), query.sigma) for query, n in zip(asked, counts, strict=True)]
            )
            predicted = evaluator.eps(tiles, sigmas).split(counts)
            for index, part in zip(together, predicted, strict=True):
                advance(index, grids[index].blend(part))
    return [results[index] for index in range(len(processes))]
