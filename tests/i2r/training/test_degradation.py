"""What every degradation keeps to, and what each one does."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.training.degradation import (
    DEGRADATIONS,
    FloatImage,
    dead_pixels,
    drops,
    dust,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    motion_blur,
    noisy_shadows,
    rain,
    salt_and_pepper,
    scratches,
    stains,
)


class DamageByShare(Protocol):
    def __call__(self, image: FloatImage, rng: np.random.Generator, *, fraction: float) -> FloatImage: ...


NAMES = sorted(DEGRADATIONS)


@pytest.mark.parametrize("name", NAMES)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(4, 48),
    width=st.integers(4, 48),
    channels=st.sampled_from([1, 3]),
)
def test_keeps_shape_type_and_range_and_repeats(
    name: str, seed: int, height: int, width: int, channels: int
) -> None:
    image = np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)
    before = image.copy()
    degraded = DEGRADATIONS[name](image, np.random.default_rng(seed))
    assert degraded.shape == image.shape
    assert degraded.dtype == np.float32
    assert degraded.min() >= 0
    assert degraded.max() <= 1
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(degraded, DEGRADATIONS[name](image, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", NAMES)
def test_degrades_a_photograph(name: str, photograph: FloatImage) -> None:
    degraded = DEGRADATIONS[name](photograph, np.random.default_rng(0))
    assert 14 < _psnr(degraded, photograph) < 32


@pytest.mark.parametrize(
    "name",
    [
        "noise",
        "rain",
        "scratches",
        "dead-pixels",
        "motion-blur",
        "salt-and-pepper",
        "dust",
        "stains",
        "drops",
    ],
)
def test_another_seed_is_other_damage(name: str, photograph: FloatImage) -> None:
    one, other = (DEGRADATIONS[name](photograph, np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_shadows_are_noisy_and_the_light_is_not(photograph: FloatImage) -> None:
    noisy = noisy_shadows(photograph, np.random.default_rng(0), fraction=0.2)
    changed = np.abs(noisy - photograph).max(axis=-1) > 0.05
    assert 0.15 < changed.mean() < 0.5
    assert photograph[changed].mean() < 0.7 * photograph[~changed].mean()


@given(sigma=st.floats(0.005, 0.1))
def test_noise_has_its_standard_deviation(sigma: float) -> None:
    grey = np.full((128, 128, 3), 0.5, dtype=np.float32)
    noise = gaussian_noise(grey, np.random.default_rng(1), sigma=sigma) - grey
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < sigma / 50


@pytest.mark.parametrize(("degrade", "fraction"), [(rain, 0.05), (rain, 0.15), (scratches, 0.03)])
def test_streaks_cover_their_share(degrade: DamageByShare, fraction: float) -> None:
    black = np.zeros((256, 256, 3), dtype=np.float32)
    for seed in range(5):
        touched = (degrade(black, np.random.default_rng(seed), fraction=fraction) > 0).any(axis=-1)
        assert fraction <= touched.mean() < fraction + 0.02


@pytest.mark.parametrize(("degrade", "fraction"), [(dead_pixels, 0.02), (salt_and_pepper, 0.2)])
def test_outliers_cover_their_share(degrade: DamageByShare, fraction: float) -> None:
    grey = np.full((256, 256, 3), 0.5, dtype=np.float32)
    degraded = degrade(grey, np.random.default_rng(0), fraction=fraction)
    hit = degraded != grey
    assert hit.mean() == pytest.approx(fraction, rel=0.1)
    assert set(np.unique(degraded[hit])) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("degrade", "fraction", "largest"),
    [(dust, 0.005, 0.002), (dust, 0.02, 0.002), (stains, 0.1, 0.13), (drops, 0.08, 0.03)],
)
def test_blobs_cover_their_share(degrade: DamageByShare, fraction: float, largest: float) -> None:
    """Up to the last one, of which no more than ``largest`` is in excess; the rest is left alone."""
    image = np.random.default_rng(7).uniform(0.2, 0.8, (192, 192, 3)).astype(np.float32)
    for seed in range(5):
        touched = (degrade(image, np.random.default_rng(seed), fraction=fraction) != image).any(axis=-1)
        assert 0.98 * fraction <= touched.mean() < fraction + largest


@pytest.mark.parametrize("degrade", [dust, stains, drops])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 3), (8, 8, 1)])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_blobs_end_on_small_images(
    degrade: DamageByShare, shape: tuple[int, int, int], fraction: float
) -> None:
    image = np.full(shape, 0.5, dtype=np.float32)
    degraded = degrade(image, np.random.default_rng(0), fraction=fraction)
    assert degraded.shape == shape
    assert np.array_equal(degraded, image) == (fraction == 0)


def test_the_dust_of_an_image_is_dark_or_bright() -> None:
    grey = np.full((64, 64, 1), 0.5, dtype=np.float32)
    signs = []
    for seed in range(12):
        change = dust(grey, np.random.default_rng(seed), fraction=0.05) - grey
        assert abs(change).max() > 0.38
        signs.append(set(np.sign(change[change != 0])))
    assert all(len(found) == 1 for found in signs)
    assert {-1} in signs
    assert {1} in signs


def test_stains_are_a_brown_veil_that_the_scene_shines_through(photograph: FloatImage) -> None:
    brighter = 0.3 + 0.7 * photograph
    stained = stains(brighter, np.random.default_rng(0))
    light = stained / brighter
    white = stains(np.ones_like(photograph), np.random.default_rng(0))
    np.testing.assert_allclose(light, white, atol=1e-5)
    red, green, blue = white[(white < 1).all(axis=-1)].T
    assert (red >= green).all()
    assert (green >= blue).all()
    assert blue.min() > 0.05


def test_drops_show_what_lies_around_them() -> None:
    """Of a white upper and a black lower half, a drop in between is dark above and bright below."""
    image = np.zeros((64, 64, 1), dtype=np.float32)
    image[:32] = 1
    upper = [drops(image, np.random.default_rng(seed))[24:32].min() for seed in range(8)]
    lower = [drops(image, np.random.default_rng(seed))[32:40].max() for seed in range(8)]
    assert min(upper) < 0.3
    assert max(lower) > 0.7


@pytest.mark.parametrize("brightness", [0.05, 0.95])
def test_scratches_have_their_brightness(brightness: float) -> None:
    grey = np.full((64, 64, 3), 0.5, dtype=np.float32)
    change = scratches(grey, np.random.default_rng(0), brightness=brightness) - 0.5
    assert (change * (brightness - 0.5) >= 0).all()
    assert abs(change).max() > 0.8 * abs(brightness - 0.5)


def test_salt_and_pepper_hits_whole_pixels() -> None:
    grey = np.full((64, 64, 3), 0.5, dtype=np.float32)
    hit = salt_and_pepper(grey, np.random.default_rng(0)) != grey
    assert (hit.any(axis=-1) == hit.all(axis=-1)).all()


@given(sigma=st.floats(0.5, 4), level=st.floats(0, 1))
def test_blur_keeps_flat_images_and_the_mean(sigma: float, level: float) -> None:
    flat = np.full((20, 30, 1), level, dtype=np.float32)
    np.testing.assert_allclose(gaussian_blur(flat, sigma=sigma), flat, atol=1e-5)
    image = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    assert gaussian_blur(image, sigma=sigma).mean() == pytest.approx(image.mean(), abs=0.01)


def test_blur_has_its_width() -> None:
    point = np.zeros((41, 41, 1), dtype=np.float32)
    point[20, 20] = 1
    spread = gaussian_blur(point, sigma=2.0)[..., 0].astype(np.float64)
    rows = np.arange(41) - 20
    assert np.sqrt((spread.sum(axis=1) * rows**2).sum()) == pytest.approx(2, rel=0.01)
    np.testing.assert_allclose(spread, spread.T, atol=1e-7)


@given(length=st.floats(3, 25), seed=st.integers(0, 100))
def test_motion_spreads_a_point_along_a_line(length: float, seed: int) -> None:
    point = np.zeros((65, 65, 1), dtype=np.float32)
    point[32, 32] = 1
    spread = motion_blur(point, np.random.default_rng(seed), length=length)[..., 0].astype(np.float64)
    rows, columns = np.nonzero(spread)
    weights = spread[rows, columns] / spread.sum()
    across, along = np.linalg.eigvalsh(np.cov(np.stack([rows, columns]), aweights=weights, ddof=0))
    assert np.sqrt(along) == pytest.approx(length / np.sqrt(12), rel=0.2)
    assert np.sqrt(across) < 0.8
    assert weights @ rows == pytest.approx(32, abs=0.1)
    assert weights @ columns == pytest.approx(32, abs=0.1)


def test_jpeg_worsens_with_its_quality(photograph: FloatImage) -> None:
    scores = [_psnr(jpeg(photograph, quality=quality), photograph) for quality in (5, 10, 30, 90)]
    assert scores == sorted(scores)


def test_low_resolution_worsens_with_its_factor(photograph: FloatImage) -> None:
    scores = [_psnr(low_resolution(photograph, factor=factor), photograph) for factor in (8, 4, 2)]
    assert scores == sorted(scores)


def test_low_resolution_refuses_an_image_smaller_than_its_factor() -> None:
    with pytest.raises(ValueError, match="take a smaller factor"):
        low_resolution(np.zeros((3, 64, 3), dtype=np.float32), factor=4)


def _psnr(image: FloatImage, reference: FloatImage) -> float:
    return float(-10 * np.log10(np.mean((image - reference) ** 2)))
