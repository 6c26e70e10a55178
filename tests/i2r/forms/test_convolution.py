"""Blurs: what they do to an image, and how they are read off one."""

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

from i2r.forms import GaussianBlur, MotionBlur, likelier_blur
from i2r.screening.calibration import Calibration
from i2r.training.degradation import gaussian_blur, motion_blur

HEIGHT, WIDTH = 40, 56


def _cosines(length: int) -> Tensor:
    """The orthonormal waves of mirrored images, (length, length) float64, one a row: DCT-II."""
    k, n = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(length) + 0.5
    waves = torch.cos(math.pi * k * n / length) * math.sqrt(2 / length)
    waves[0] /= math.sqrt(2)
    return waves


def _mirrored_blur(image: Tensor, width: float) -> Tensor:
    """A Gaussian blur of the mirrored (C, H, W) image: wave k of N has k / 2N cycles a pixel."""
    down, across = _cosines(image.shape[1]), _cosines(image.shape[2])
    frequency = [torch.arange(side, dtype=torch.float64) / (2 * side) for side in image.shape[1:]]
    squared = frequency[0][:, None].square() + frequency[1].square()
    damped = (down @ image @ across.T) * torch.exp(-2 * math.pi**2 * width**2 * squared)
    return down.T @ damped @ across


def _random(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def textured(calibration: Calibration, clean_spectrum: list[float]) -> Calibration:
    return dataclasses.replace(calibration, spectrum=tuple(clean_spectrum))


@pytest.mark.parametrize("shape", [(40, 56), (33, 47), (1, 20)])
def test_gaussian_blur_is_what_the_waves_say(shape: tuple[int, int]) -> None:
    x = _random(0, *shape)
    torch.testing.assert_close(GaussianBlur(1.2).forward(x), _mirrored_blur(x, 1.2))


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("shape", [(40, 56), (33, 47), (1, 20)])
def test_deblurring_undoes_an_exact_blur(width: float, shape: tuple[int, int]) -> None:
    x = _random(0, *shape)
    y = _mirrored_blur(x, width)
    assert (y - x).abs().max() > 0.3
    solved = GaussianBlur(width).solve(y, torch.zeros_like(y), 1e-14)
    torch.testing.assert_close(solved, x, atol=1e-4, rtol=0)


@given(width=st.floats(0.3, 3), weight=st.floats(1e-3, 2))
def test_deblurring_minimises_its_objective(width: float, weight: float) -> None:
    """The gradient ``H (H x - y) + weight (x - estimate)`` is zero at the solution."""
    y, estimate = _random(1), _random(2)
    x = GaussianBlur(width).solve(y, estimate, weight)
    gradient = _mirrored_blur(_mirrored_blur(x, width) - y, width) + weight * (x - estimate)
    assert gradient.abs().max() < 1e-5


def test_without_blur_the_solution_is_the_weighted_mean() -> None:
    y, estimate = _random(1), _random(2)
    torch.testing.assert_close(GaussianBlur(0.0).solve(y, estimate, 0.5), (y + 0.5 * estimate) / 1.5)


def test_what_the_blur_has_lost_comes_from_the_estimate() -> None:
    y, estimate = _random(1), _random(2)
    solved = GaussianBlur(50.0).solve(_mirrored_blur(y, 50.0), estimate, 0.01)
    mean = (1, 2)
    torch.testing.assert_close(
        solved - solved.mean(mean, True), estimate - estimate.mean(mean, True), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("width", [1.0, 2.0])
def test_width_of_a_gaussian_is_found(textured: Calibration, width: float) -> None:
    for seed in (100, 101):
        found = GaussianBlur.start(as_file(gaussian_blur(texture(seed), sigma=width)), textured)
        assert found.width == pytest.approx(width, rel=0.25)


@pytest.mark.parametrize("length", [7.0, 12.0])
@pytest.mark.parametrize("seed", [3, 4])
def test_motion_is_found(textured: Calibration, length: float, seed: int) -> None:
    blurred = as_file(motion_blur(texture(100 + seed), np.random.default_rng(seed), length=length))
    found = MotionBlur.start(blurred, textured)
    drawn = np.random.default_rng(seed).uniform(0, np.pi)
    assert found.length == pytest.approx(length, abs=1.01)
    assert abs((float(found.angle) - drawn + np.pi / 2) % np.pi - np.pi / 2) < math.radians(6)


def test_a_line_is_told_from_a_gaussian(textured: Calibration) -> None:
    moved = as_file(motion_blur(texture(103), np.random.default_rng(3), length=9))
    assert isinstance(likelier_blur(moved, textured), MotionBlur)
    for sigma in (1.0, 3.0):
        blurred = as_file(gaussian_blur(texture(103), sigma=sigma))
        assert isinstance(likelier_blur(blurred, textured), GaussianBlur)
    assert isinstance(likelier_blur(blurred[:, :20], textured), GaussianBlur)
