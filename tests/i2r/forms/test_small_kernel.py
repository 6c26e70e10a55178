"""The general blur: read off the spectrum, then refined on estimates of the clean image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from textures import as_file, texture
from torch import Tensor

from i2r.forms import SmallKernel
from i2r.forms.small_kernel import onto_simplex
from i2r.screening.calibration import Calibration
from i2r.training.degradation import gaussian_blur, motion_blur


@pytest.fixture(scope="module")
def textured(calibration: Calibration, clean_spectrum: list[float]) -> Calibration:
    return dataclasses.replace(calibration, spectrum=tuple(clean_spectrum))


def _random(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 40, 56, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def bent() -> Tensor:
    """The way of a camera that turned a corner, (5, 5)."""
    kernel = torch.zeros(5, 5)
    kernel[:, 0] = kernel[4, :] = 1 / 9
    return kernel


def _distance(kernel: Tensor, other: Tensor) -> float:
    """Between kernels, wherever they lie: a blur that is moved is as good."""
    padded = torch.nn.functional.pad(other, [(len(kernel) - len(other)) // 2] * 4)
    moves = [padded.roll((down, across), (0, 1)) for down in range(-2, 3) for across in range(-2, 3)]
    return min(((kernel - moved).square().sum().sqrt() / other.norm()).item() for moved in moves)


def test_a_small_kernel_begins_as_the_blur_that_fits_better(textured: Calibration) -> None:
    drawn = np.random.default_rng(3).uniform(0, np.pi)
    line = SmallKernel.start(
        as_file(motion_blur(texture(103), np.random.default_rng(3), length=11)), textured
    )
    assert _spread(line.kernel, drawn) > 2.5
    assert _spread(line.kernel, drawn + math.pi / 2) < 1
    gaussian = SmallKernel.start(as_file(gaussian_blur(texture(103), sigma=2.0)), textured)
    assert _spread(gaussian.kernel, 0.0) == pytest.approx(2, rel=0.2)
    assert _spread(gaussian.kernel, 1.0) == pytest.approx(2, rel=0.2)


def test_small_kernels_are_convolved_as_they_lie() -> None:
    """A kernel with its weight one row below the middle moves the image down."""
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    kernel[2, 1] = 1
    x = _random(0)
    torch.testing.assert_close(SmallKernel(kernel).forward(x)[:, 1:], x[:, :-1])


def test_a_kernel_is_found_from_a_clean_and_a_blurred_image() -> None:
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel /= kernel.sum()
    x = _random(0)
    guess = SmallKernel(torch.full((5, 5), 1 / 25, dtype=torch.float64))
    y = SmallKernel(kernel).forward(x)
    assert guess.fit(x, y, 0.5) is guess
    found = guess.fit(x, y, 0.01)
    torch.testing.assert_close(found.kernel, kernel, atol=2e-3, rtol=0)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_the_simplex_holds_what_is_projected_onto_it(values: list[float]) -> None:
    point = torch.tensor(values, dtype=torch.float64)
    nearest = onto_simplex(point)
    assert nearest.min() >= 0
    assert nearest.sum().item() == pytest.approx(1)
    torch.testing.assert_close(onto_simplex(nearest), nearest)
    corner = torch.eye(len(values), dtype=torch.float64)
    # No corner lies on the point's side of the nearest one: the condition for a projection onto a convex set.
    assert ((point - nearest) @ (corner - nearest).T).max() < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_a_kernel_like_no_other_is_read_off_the_spectrum(
    textured: Calibration, bent: Tensor, seed: int
) -> None:
    blurred = as_file(texture(100 + seed))
    blurred = SmallKernel(bent).forward(blurred)
    found = SmallKernel.start(blurred, textured)
    assert found.shown is not None
    [turned] = found.others()
    assert min(_distance(one.kernel, bent) for one in (found, turned)) < 0.6
    assert torch.equal(turned.kernel, found.kernel.flip(0, 1))
    assert found.error > 0
    again = SmallKernel.start(blurred, textured)
    assert torch.equal(found.kernel, again.kernel)


def test_what_the_spectrum_shows_is_held_on_to(bent: Tensor) -> None:
    x, far = _random(0), torch.zeros(5, 5, dtype=torch.float64)
    far[0, 4] = 1
    y, guess = SmallKernel(bent.double()).forward(x), SmallKernel(far, far)
    assert guess.fit(x, y, 0.5) is guess
    found = guess.fit(x, y, 0.1)
    freely = dataclasses.replace(guess, shown=bent.double()).fit(x, y, 0.1)
    assert _distance(freely.kernel, bent.double()) < 0.02 < _distance(found.kernel, bent.double())
    assert found.kernel[0, 4] > 0.05
    assert found.shown is far


def _spread(kernel: Tensor, angle: float) -> float:
    """Standard deviation of the kernel along a direction."""
    reach = len(kernel) // 2
    offset = torch.arange(-reach, reach + 1)
    along = math.sin(angle) * offset[:, None] + math.cos(angle) * offset
    return math.sqrt((kernel * along.square()).sum() - (kernel * along).sum() ** 2)
