"""Screening: two evaluations tell whether the noise of an image is that of clean photographs."""

from __future__ import annotations

import pytest
import torch
from image_models import GaussianImages
from torch import Tensor

from i2r.calibration_file import LOCAL_STATISTICS, STATISTICS, Calibration
from i2r.sampling import counted
from i2r.screening import screen
from i2r.tiling import TileGrid
from i2r.trace import Trace

GRID = TileGrid(64, 64, 64, 0)


def test_two_evaluations_tell_everything(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    trace = Trace()
    seen, nfe = smooth_images.answer(counted(screen(waves, GRID, calibration, 0.05, trace)))
    assert nfe == 2
    assert set(seen.p_values) == set(STATISTICS)
    assert seen.atypical <= set(STATISTICS)
    assert set(seen.where) == seen.atypical & set(LOCAL_STATISTICS)
    [look] = trace.looks
    assert look.screening is seen
    assert look.eps.shape == look.noise.shape == waves.shape


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 64), (64, 31)])
def test_small_images_are_not_looked_at(calibration: Calibration, height: int, width: int) -> None:
    grid = TileGrid(height, width, 64, 0)
    with pytest.raises(StopIteration) as stop:
        next(screen(torch.zeros(3, 64, 64), grid, calibration, 0.05))
    assert stop.value.value.p_values == {}
    assert not stop.value.value.atypical


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_prior_that_diverges_is_an_error(waves: Tensor, calibration: Calibration, value: float) -> None:
    process = screen(waves, GRID, calibration, 0.05)
    next(process)
    process.send(torch.zeros_like(waves))
    with pytest.raises(FloatingPointError, match="diverged"):
        process.send(torch.full_like(waves, value))
