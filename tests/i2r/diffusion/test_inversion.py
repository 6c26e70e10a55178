"""Inversion: whichever solver, it finds the noise, counts what it took, and says when it did not."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from image_models import GaussianImages
from torch import Tensor

from i2r.diffusion.inversion import Convergence, Inversion, Solver, invert
from i2r.diffusion.sampling import Process, counted, drive, generate, levels
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.prior.network import Prior

STEPWISE = [solver for solver in Solver if solver is not Solver.BIRD]


def _canvas(height: int, width: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("solver", STEPWISE)
def test_inversion_of_a_linear_predictor_is_exact(white_images: GaussianImages, solver: Solver) -> None:
    y, sigmas = _canvas(8, 8), levels(0.01, 3.0, 30)
    inversion = white_images.answer(invert(y, sigmas, 60, tolerance=1e-10, solver=solver))
    shrink = math.prod(
        1 - (sigma - lower) * sigma / (1 + sigma**2)
        for lower, sigma in zip([0.0, *sigmas], sigmas, strict=False)
    )
    torch.testing.assert_close(inversion.z, y / shrink, rtol=1e-7, atol=0)
    torch.testing.assert_close(white_images.answer(generate(inversion.z, sigmas)), y, rtol=1e-7, atol=1e-10)
    assert inversion.convergence is Convergence.REACHED
    assert inversion.residual <= 1e-10


@pytest.mark.parametrize("solver", STEPWISE)
def test_residual_falls_with_iterations(white_images: GaussianImages, solver: Solver) -> None:
    y, sigmas = _canvas(8, 8), levels(0.01, 3.0, 8)
    residuals = [
        white_images.answer(invert(y, sigmas, iterations, tolerance=0, solver=solver)).residual
        for iterations in (1, 4, 16)
    ]
    assert all(later < earlier / 2 for earlier, later in itertools.pairwise(residuals))


def test_acceleration_pays(smooth_images: GaussianImages) -> None:
    """Few directions with factors of their own are what the mixing of earlier iterates cancels."""
    y, sigmas = _canvas(16, 16), levels(0.02, 1.0, 6)
    nfe = {
        solver: smooth_images.answer(invert(y, sigmas, 60, tolerance=1e-6, solver=solver)).nfe
        for solver in (Solver.FIXED_POINT, Solver.ANDERSON)
    }
    assert nfe[Solver.ANDERSON] < 0.7 * nfe[Solver.FIXED_POINT]


@pytest.mark.parametrize("solver", STEPWISE)
def test_every_evaluation_leaves_its_trace(white_images: GaussianImages, solver: Solver) -> None:
    y, sigmas = _canvas(4, 4), levels(0.1, 1, 3)
    inversion, nfe = white_images.answer(counted(invert(y, sigmas, 5, tolerance=0, solver=solver)))
    assert nfe == inversion.nfe == len(inversion.trace) == 5 * 4
    assert inversion.residual == max(inversion.trace[4::5])
    loose, nfe = white_images.answer(counted(invert(y, sigmas, 5, tolerance=10, solver=solver)))
    assert nfe == loose.nfe == 4


def test_birds_optimiser_searches_all_steps_at_once(white_images: GaussianImages) -> None:
    y, sigmas = _canvas(8, 8), levels(0.1, 1, 3)
    runs = [
        white_images.answer(counted(invert(y, sigmas, iterations, tolerance=1e-3, solver=Solver.BIRD)))
        for iterations in (1, 20, 400)
    ]
    assert [nfe == found.nfe == len(found.trace) for found, nfe in runs] == [True] * 3
    first, some, last = (found for found, _ in runs)
    assert (first.nfe, some.nfe) == (4, 80)
    assert last.residual <= 1e-3 < some.residual < first.residual
    assert [found.convergence for found, _ in runs] == [Convergence.NOT_REACHED] * 2 + [Convergence.REACHED]
    back = white_images.answer(generate(last.z, sigmas))
    assert (back - y).square().mean().sqrt().item() == last.residual


def test_a_missed_tolerance_has_a_name(white_images: GaussianImages) -> None:
    inversion = white_images.answer(invert(_canvas(4, 4), levels(0.1, 1, 3), 1, tolerance=1e-6))
    assert inversion.convergence is Convergence.NOT_REACHED
    assert inversion.residual > 1e-6
    assert "allow more iterations" in inversion.convergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("solver", [Solver.ANDERSON, Solver.BIRD])
def test_divergence_has_a_name_and_a_finite_noise(
    white_images: GaussianImages, value: float, solver: Solver
) -> None:
    inversion = white_images.answer(
        _spoilt(invert(_canvas(4, 4), levels(0.1, 1, 3), 5, tolerance=0, solver=solver), after=7, value=value)
    )
    assert inversion.convergence is Convergence.DIVERGED
    assert inversion.nfe == 8
    assert inversion.z.isfinite().all()
    assert "lower the depth" in inversion.convergence


def test_line_search_tames_a_predictor_that_overshoots() -> None:
    """Where ``g`` turns back by more than it came, fixed points run away; half a step does not."""
    overshooting = GaussianImages(lambda frequency: torch.full_like(frequency, -0.6))
    y = _canvas(4, 4)
    runs = {
        solver: overshooting.answer(invert(y, [0.35], 40, tolerance=1e-6, solver=solver))
        for solver in STEPWISE
    }
    assert (
        runs[Solver.FIXED_POINT].convergence is not Convergence.REACHED
        or runs[Solver.FIXED_POINT].nfe > runs[Solver.DAMPED].nfe
    )
    assert runs[Solver.ANDERSON].convergence is Convergence.REACHED
    assert runs[Solver.LINE_SEARCH].residual <= runs[Solver.FIXED_POINT].residual


@pytest.mark.parametrize("solver", STEPWISE)
def test_inversion_and_generation_meet_on_a_network(tiny: Prior, solver: Solver) -> None:
    grid, sigmas = TileGrid(40, 70, (32, 32), 8), levels(0.02, 1.0, 10)
    y = grid.pad(_canvas(40, 70).float().clamp(-1, 1))
    [(back, z)] = drive([_round_trip(y, sigmas, solver)], [grid], FixedShapeEvaluator(tiny, lambda *_: 4))
    assert not torch.allclose(z, y, atol=0.1)
    assert -10 * math.log10((back - y).square().mean().item() / 4) > 45


def _round_trip(y: Tensor, sigmas: list[float], solver: Solver) -> Process[tuple[Tensor, Tensor]]:
    inversion = yield from invert(y, sigmas, 12, tolerance=1e-5, solver=solver)
    return (yield from generate(inversion.z, sigmas)), inversion.z


def _spoilt(process: Process[Inversion], after: int, value: float) -> Process[Inversion]:
    """Pass a process on, its answers multiplied by ``value`` once there were ``after`` of them."""
    query = next(process)
    for answered in itertools.count(1):
        eps = yield query
        try:
            query = process.send(eps if answered <= after else eps * value)
        except StopIteration as stop:
            return stop.value
    raise AssertionError("a count ends never")
