"""Scores against closed forms and a reference implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from i2r.metrics import no_reference, noise_level, psnr, ssim
from i2r.training.degradation import FloatImage, gaussian_blur, gaussian_noise, jpeg

TINY = [(1, 1), (1, 5), (2, 2), (3, 200), (8, 8), (9, 1), (10, 300)]


@given(error=st.floats(1e-4, 1), level=st.floats(0, 1))
def test_psnr_of_a_constant_error(error: float, level: float) -> None:
    flat = np.full((4, 5, 3), level, np.float32)
    assert psnr(flat + np.float64(error), flat) == pytest.approx(-20 * math.log10(error), abs=1e-6)


def test_psnr_of_equal_images_is_infinite(photograph: FloatImage) -> None:
    assert psnr(photograph, photograph.copy()) == math.inf


def test_ssim_agrees_with_scikit_image(photograph: FloatImage) -> None:
    noisy = gaussian_noise(photograph, np.random.default_rng(0), sigma=0.1)
    # Borders count here, reflected; the other mean leaves them out and comes as a map as well.
    _, similarity = structural_similarity(
        noisy,
        photograph,
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim(noisy, photograph) == pytest.approx(similarity.mean(), abs=0.005)
    assert ssim(photograph, photograph) == pytest.approx(1)
    assert ssim(noisy[..., :1], photograph[..., :1]) < 1


def test_ssim_is_undefined_below_its_window() -> None:
    assert math.isnan(ssim(np.zeros((10, 40, 3), np.float32), np.zeros((10, 40, 3), np.float32)))
    assert ssim(np.zeros((11, 11, 1), np.float32), np.zeros((11, 11, 1), np.float32)) == 1


@given(sigma=st.floats(0.002, 0.15), channels=st.sampled_from([1, 3]))
def test_noise_level_is_that_of_white_noise(sigma: float, channels: int) -> None:
    noise = np.random.default_rng(0).standard_normal((201, 255, channels))
    ramp = np.linspace(0.2, 0.8, 255)[None, :, None]
    assert noise_level((ramp + sigma * noise).astype(np.float32)) == pytest.approx(sigma, rel=0.05)


def test_noise_level_of_a_plane_is_zero() -> None:
    rows, columns = np.mgrid[0:40, 0:50] / 100
    assert noise_level((rows + columns)[..., None].astype(np.float32)) == pytest.approx(0, abs=1e-6)


def test_blockiness_sees_blocks(photograph: FloatImage) -> None:
    scores = [no_reference(jpeg(photograph, quality=quality))["blockiness"] for quality in (5, 10, 30)]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 1.3
    assert no_reference(photograph)["blockiness"] == pytest.approx(1, abs=0.1)


def test_blockiness_of_steps_on_the_grid_only() -> None:
    steps = np.repeat(np.arange(8) / 8, 8).astype(np.float32)
    assert no_reference((steps[:, None] + steps[None])[..., None] / 2)["blockiness"] > 1e3
    noise = np.random.default_rng(0).random((256, 256, 3), dtype=np.float32)
    assert no_reference(noise)["blockiness"] == pytest.approx(1, abs=0.02)


def test_sharpness_falls_with_blur(photograph: FloatImage) -> None:
    scores = [no_reference(photograph)["sharpness"]] + [
        no_reference(gaussian_blur(photograph, sigma=sigma))["sharpness"] for sigma in (0.7, 1, 2, 4)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < scores[0] / 5


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_and_flat_images_have_finite_scores(shape: tuple[int, int], channels: int) -> None:
    for image in (
        np.zeros((*shape, channels), np.float32),
        np.random.default_rng(0).random((*shape, channels), dtype=np.float32),
    ):
        scores = no_reference(image)
        assert set(scores) == {"noise_level", "sharpness", "blockiness"}
        assert all(math.isfinite(score) and score >= 0 for score in scores.values())
    assert no_reference(np.zeros((*shape, channels), np.float32)) == pytest.approx(
        {"noise_level": 0, "sharpness": 0, "blockiness": 1}
    )
