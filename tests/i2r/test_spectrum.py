"""The width of a blur is read off the spectrum, and a known blur is undone exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.calibration_file import BANDS
from i2r.degradation import gaussian_blur
from i2r.spectrum import blur_width, deblur, log_band_power

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


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("shape", [(40, 56), (33, 47), (1, 20)])
def test_deblurring_undoes_an_exact_blur(width: float, shape: tuple[int, int]) -> None:
    x = _random(0, *shape)
    y = _mirrored_blur(x, width)
    assert (y - x).abs().max() > 0.3
    torch.testing.assert_close(deblur(y, torch.zeros_like(y), width, 1e-14), x, atol=1e-4, rtol=0)


@given(width=st.floats(0.3, 3), weight=st.floats(1e-3, 2))
def test_deblurring_minimises_its_objective(width: float, weight: float) -> None:
    """The gradient ``H (H x - y) + weight (x - estimate)`` is zero at the solution."""
    y, estimate = _random(1), _random(2)
    x = deblur(y, estimate, width, weight)
    gradient = _mirrored_blur(_mirrored_blur(x, width) - y, width) + weight * (x - estimate)
    assert gradient.abs().max() < 1e-5


def test_without_blur_the_solution_is_the_weighted_mean() -> None:
    y, estimate = _random(1), _random(2)
    torch.testing.assert_close(deblur(y, estimate, 0.0, 0.5), (y + 0.5 * estimate) / 1.5)


def test_what_the_blur_has_lost_comes_from_the_estimate() -> None:
    y, estimate = _random(1), _random(2)
    solved = deblur(_mirrored_blur(y, 50.0), estimate, 50.0, 0.01)
    mean = (1, 2)
    torch.testing.assert_close(
        solved - solved.mean(mean, True), estimate - estimate.mean(mean, True), atol=0.05, rtol=0
    )


def _texture(seed: int) -> np.ndarray:
    """A (192, 192, 3) image in [0, 1] whose amplitude falls as 1 / f, as photographs' does."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(192)[:, None], np.fft.rfftfreq(192)[None])
    radius[0, 0] = np.inf
    noise = np.fft.rfft2(rng.standard_normal((3, 192, 192)), axes=(1, 2)) / radius
    image = np.fft.irfft2(noise, s=(192, 192), axes=(1, 2)).transpose(1, 2, 0)
    return np.clip(0.5 + 0.15 * image / image.std(), 0, 1).astype(np.float32)


def _as_file(image: np.ndarray) -> Tensor:
    """(C, H, W) in [-1, 1] with the rounding of an 8-bit file."""
    return torch.from_numpy(np.rint(image * 255) / 127.5 - 1).permute(2, 0, 1).float()


@pytest.fixture(scope="module")
def clean_spectrum() -> list[float]:
    powers = [log_band_power(_as_file(_texture(seed))) for seed in range(8)]
    return torch.stack(powers).mean(dim=0).tolist()


@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 2.5])
def test_width_of_a_blur_is_found(clean_spectrum: list[float], width: float) -> None:
    for seed in (100, 101, 102):
        blurred = _as_file(gaussian_blur(_texture(seed), sigma=width))
        assert blur_width(blurred, clean_spectrum) == pytest.approx(width, rel=0.25)


def test_sharp_images_have_no_width(clean_spectrum: list[float]) -> None:
    for seed in (100, 101, 102):
        assert blur_width(_as_file(_texture(seed)), clean_spectrum) < 0.35
    sharp = _as_file(_texture(7))
    assert blur_width(sharp, log_band_power(sharp).tolist()) == pytest.approx(0, abs=1e-3)


def test_contrast_is_no_blur(clean_spectrum: list[float]) -> None:
    for seed in (100, 101):
        pale = _as_file(0.5 + 0.4 * (_texture(seed) - 0.5))
        assert blur_width(pale, clean_spectrum) < 0.45


@pytest.mark.parametrize("shape", [(32, 32), (33, 200)])
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_flat_images_have_a_finite_width(
    clean_spectrum: list[float], shape: tuple[int, int], level: float
) -> None:
    assert math.isfinite(blur_width(torch.full((3, *shape), level), clean_spectrum))


@given(seed=st.integers(0, 100))
def test_white_noise_has_a_flat_spectrum_of_its_variance(seed: int) -> None:
    noise = 0.3 * torch.randn(3, 96, 128, generator=torch.Generator().manual_seed(seed))
    powers = log_band_power(noise)
    assert powers.shape == (BANDS,)
    torch.testing.assert_close(powers[2:], torch.full((BANDS - 2,), 2 * math.log(0.3)), atol=0.25, rtol=0)
