"""DDIM, alone and in company."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_models import GaussianImages, Overlay
from torch import Tensor

from i2r.diffusion.inversion import invert
from i2r.diffusion.sampling import (
    Covered,
    Process,
    Query,
    counted,
    covered_once,
    denoise,
    drive,
    generate,
    levels,
)
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.prior.network import Prior


@given(low=st.floats(1e-3, 1), factor=st.floats(1.01, 1e3), count=st.integers(1, 60))
def test_levels_are_even_in_log_sigma(low: float, factor: float, count: int) -> None:
    sigmas = levels(low, low * factor, count)
    assert len(sigmas) == count + 1
    assert sigmas[0] == pytest.approx(low)
    assert sigmas[-1] == pytest.approx(low * factor)
    ratios = [higher / lower for lower, higher in itertools.pairwise(sigmas)]
    assert ratios == pytest.approx([factor ** (1 / count)] * count)


def test_denoise_is_the_posterior_mean(white_images: GaussianImages) -> None:
    x = _canvas(8, 8)
    torch.testing.assert_close(white_images.answer(denoise(x, 0.5)), x / 1.25)


def test_generation_follows_the_probability_flow(white_images: GaussianImages) -> None:
    """For N(0, 1) pixels the flow from level sigma is ``x / sqrt(1 + sigma^2)``, reached in the limit."""
    x = _canvas(8, 8)
    exact = x / math.sqrt(1 + 2.0**2)
    errors = [
        (white_images.answer(generate(x, levels(1e-3, 2.0, count))) - exact).abs().max().item()
        for count in (20, 200, 2000)
    ]
    assert errors[2] < errors[1] / 8 < errors[0] / 50
    assert errors[2] < 5e-3


def test_one_level_is_one_denoising_step(white_images: GaussianImages) -> None:
    x = _canvas(8, 8)
    generated = white_images.answer(generate(x, [0.7]))
    assert torch.equal(generated, white_images.answer(denoise(x, 0.7)))


def test_company_and_order_change_nothing(tiny: Prior) -> None:
    """Images of other sizes and depths share the batches; each result is the same to the bit."""
    grids = [TileGrid(*size, (32, 32), 8) for size in ((40, 70), (32, 32), (1, 5), (90, 33))]
    depths = [levels(0.02, 0.5, count) for count in (3, 1, 5, 2)]
    canvases = [grid.pad(_canvas(grid.height, grid.width).float()) for grid in grids]
    evaluator = FixedShapeEvaluator(tiny, lambda *_: 3)

    def run(order: list[int]) -> dict[int, Tensor]:
        processes = [_round_trip(canvases[i], depths[i], 2) for i in order]
        results = drive(processes, [grids[i] for i in order], evaluator)
        return {i: back for i, (back, _) in zip(order, results, strict=True)}

    alone = {i: run([i])[i] for i in range(4)}
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 0]):
        for index, back in run(order).items():
            assert torch.equal(back, alone[index])


def test_no_process_is_no_result(tiny: Prior) -> None:
    assert drive([], [], FixedShapeEvaluator(tiny, lambda *_: 1)) == []


def test_queries_are_counted(white_images: GaussianImages) -> None:
    x, sigmas = _canvas(4, 4), levels(0.1, 1, 4)
    generated, nfe = white_images.answer(counted(generate(x, sigmas)))
    assert nfe == len(sigmas)
    assert torch.equal(generated, white_images.answer(generate(x, sigmas)))
    assert white_images.answer(counted(_silent()))[1] == 0


def _silent() -> Process[None]:
    """A process that needs no noise."""
    queries: list[Query] = []
    yield from queries


def _round_trip(y: Tensor, sigmas: list[float], iterations: int) -> Process[tuple[Tensor, Tensor]]:
    inversion = yield from invert(y, sigmas, iterations, tolerance=0)
    return (yield from generate(inversion.z, sigmas)), inversion.z


def _canvas(height: int, width: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_what_covers_an_image_is_asked_once_until_it_changes(white_images: GaussianImages) -> None:
    canvas = _canvas(6, 6)

    def looks() -> Process[list[Tensor]]:
        parts = canvas[:, :4], canvas[:, :4], canvas[:, 2:], canvas[:, :4]
        answers = []
        for part in parts:
            answers.append((yield Covered(part)))
            answers.append((yield Query(part, 0.5)))
        return answers

    class Finder(Overlay):
        def covered(self, image: Tensor) -> Tensor:
            asked.append(image)
            return image[0]

    asked: list[Tensor] = []
    plain = white_images.answer(looks(), Finder())
    assert len(asked) == 4
    asked.clear()
    once = white_images.answer(covered_once(looks()), Finder())
    assert len(asked) == 3
    assert all(map(torch.equal, once, plain))
