"""Strategies of rectification, by their one interface, on photographs that no training saw."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from image_models import Overlay
from photographs import crop, photograph
from PIL import Image

from i2r import Degraded, Outcome, Prior, Restoration, Restorer, RestoreSettings
from i2r.correction import strategies
from i2r.correction.strategies import STRATEGIES, Correction, Subject, by_causes
from i2r.diffusion.sampling import drive
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.forms import Jpeg
from i2r.jpeg_tables import JpegTables
from i2r.metrics import psnr
from i2r.screening.trace import Screening
from i2r.training.degradation import (
    Degradation,
    FloatImage,
    dead_pixels,
    encode_jpeg,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    motion_blur,
    noisy_shadows,
    rain,
)

CROPS = ("astronaut", "mountains")


@pytest.fixture(scope="module")
def restorer(prior: Prior) -> Restorer:
    """With tiles of the crops' size: one evaluation each."""
    return Restorer(prior, RestoreSettings(tile=96, overlap=16, tiles_per_batch=1))


@pytest.fixture(scope="module")
def clean() -> FloatImage:
    return crop(CROPS[0])


def _noisy(clean: FloatImage) -> FloatImage:
    return gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255)


def _restore(prior: Prior, image: FloatImage, **settings: object) -> Restoration:
    chosen = RestoreSettings.model_validate({"tile": 96, "overlap": 16, "max_harm": 0.25} | settings)
    return _restored(Restorer(prior, chosen), image)


def _restored(restorer: Restorer, image: FloatImage) -> Restoration:
    [restoration] = restorer.restore([Degraded(image)])
    return restoration


def _found(restoration: Restoration) -> list[tuple[str, str]]:
    return [(finding.what.value, finding.action.value) for finding in restoration.findings]


def test_every_strategy_can_be_chosen_by_its_name() -> None:
    annotation = RestoreSettings.model_fields["strategy"].annotation
    assert set(get_args(annotation)) == set(STRATEGIES)


@pytest.mark.parametrize(("strategy", "gain"), [("causes", 7), ("patches", 2)])
def test_every_strategy_takes_noise_away(prior: Prior, clean: FloatImage, strategy: str, gain: float) -> None:
    noisy = _noisy(clean)
    restoration = _restore(prior, noisy, strategy=strategy)
    assert restoration.outcome is Outcome.RESTORED
    assert restoration.rectified_fraction == 1
    assert psnr(restoration.image, clean) > psnr(noisy, clean) + gain


def test_noise_that_was_seen_is_not_asked_for_again(prior: Prior, clean: FloatImage) -> None:
    """Two evaluations before, two after, and the five steps."""
    assert _restore(prior, _noisy(clean)).nfe == 9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_touches_a_clean_photograph(prior: Prior, clean: FloatImage, strategy: str) -> None:
    assert _restore(prior, clean, strategy=strategy).outcome is Outcome.UNCHANGED


def test_what_was_inverted_tells_how_well(prior: Prior, clean: FloatImage) -> None:
    assert _restore(prior, _noisy(clean), strategy="patches").inversion_psnr > 55
    assert np.isnan(_restore(prior, _noisy(clean)).inversion_psnr)


def test_an_inversion_that_does_not_converge_is_no_picture(
    prior: Prior, clean: FloatImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "STRATEGY", replace(strategies.STRATEGY, patch_iterations=1))
    restoration = _restore(prior, noisy := _noisy(clean), strategy="patches")
    assert restoration.outcome is Outcome.FAILED
    assert "missed the tolerance" in restoration.message
    np.testing.assert_array_equal(restoration.image, noisy)


def test_a_factor_that_is_told_is_taken(prior: Prior, clean: FloatImage) -> None:
    """Noise hides which one it was."""
    small = gaussian_noise(low_resolution(clean, factor=4), np.random.default_rng(0), sigma=2 / 255)
    specified = _restore(prior, small, forms="downsampling,noise", factor=4)
    assert specified.outcome is Outcome.RESTORED
    assert specified.parameters["downsampling"] == {"factor": 4}
    assert psnr(specified.image, clean) > psnr(small, clean) + 0.3


@pytest.mark.parametrize(
    ("degrade", "settings"),
    [
        (_noisy, {}),
        (_noisy, {"strategy": "patches"}),
        (_noisy, {"forms": "noise"}),
        (lambda clean: jpeg(clean, quality=10), {}),
        (lambda clean: jpeg(clean, quality=10), {"forms": "jpeg"}),
        (lambda clean: gaussian_blur(clean, sigma=1.5), {}),
        (lambda clean: gaussian_blur(clean, sigma=1.5), {"forms": "none"}),
        (lambda clean: low_resolution(clean, factor=2), {"forms": "downsampling"}),
        (lambda clean: dead_pixels(clean, np.random.default_rng(0)), {}),
        (lambda clean: dead_pixels(clean, np.random.default_rng(0)), {"forms": "mask"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) or "auto" if isinstance(value, dict) else "",
)
def test_strength_is_a_dial(
    prior: Prior, clean: FloatImage, degrade: Callable[[FloatImage], FloatImage], settings: dict[str, object]
) -> None:
    y = np.rint(degrade(clean) * 255).astype(np.float32) / 255
    moved = [0.0]
    for strength in (0.25, 0.6, 1.0):
        restoration = _restore(prior, y, strength=strength, **settings)
        assert restoration.outcome is Outcome.RESTORED
        moved.append(float(np.abs(restoration.image - y).mean()))
    assert all(less < 0.9 * more for less, more in itertools.pairwise(moved))


def _by_causes(prior: Prior, image: FloatImage, seen: Screening, known: Sequence[Jpeg] = ()) -> Correction:
    """Correct an image of 96x96 for what it is said to show."""
    y = torch.from_numpy(image).permute(2, 0, 1) * 2 - 1
    grid = TileGrid.whole(96, 96)
    subject = Subject(y, grid, prior.calibration, seen, 0.05, known)
    evaluator = FixedShapeEvaluator(prior, lambda height, width: 1)
    [found] = drive([by_causes(subject, RestoreSettings())], [grid], evaluator, Overlay())
    return found


def test_compression_is_undone_as_far_as_it_went(prior: Prior, clean: FloatImage) -> None:
    """Down to nothing: a file of quality 98 has only rounded."""
    changes = []
    for quality in (60, 80, 92, 98):
        y, tables = jpeg(clean, quality=quality), Jpeg(JpegTables.standard(quality))
        found = _by_causes(prior, y, Screening(atypical=frozenset({"period"})), [tables])
        moved = (found.x / 2 + 0.5).permute(1, 2, 0).numpy() - y
        changes.append(float(np.abs(moved).mean()) if found.mask.any() else 0.0)
    assert changes[3] == 0
    assert all(less < 0.85 * more for more, less in itertools.pairwise(changes))


def test_what_shows_no_longer_once_damage_is_filled_is_not_corrected(prior: Prior, clean: FloatImage) -> None:
    """Dead pixels, said to be noise and blur besides."""
    y = np.rint(dead_pixels(clean, np.random.default_rng(0)) * 255).astype(np.float32) / 255
    where = {"tails": [(slice(0, 96), slice(0, 96))]}
    found = _by_causes(prior, y, Screening(atypical=frozenset({"tails", "grain", "lag"}), where=where))
    assert found.damaged is not None
    assert found.damaged.keys() == {"tails"}
    assert 0 < found.mask.float().mean() < 0.1
    assert torch.equal(found.mask, found.damaged["tails"])
    torch.testing.assert_close(
        found.x[:, ~found.mask],
        (torch.from_numpy(y).permute(2, 0, 1) * 2 - 1)[:, ~found.mask],
        atol=0,
        rtol=0,
    )


def test_noise_of_the_colours_alone_costs_no_luma(prior: Prior, clean: FloatImage) -> None:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    noise = np.random.default_rng(0).normal(0, 30 / 255, clean.shape).astype(np.float32)
    noise -= (noise @ weights)[..., None]
    y = 0.15 + 0.7 * clean + noise  # clipping would put noise into the luma
    restoration = _restore(prior, y)
    assert restoration.outcome is Outcome.RESTORED
    assert psnr(restoration.image, 0.15 + 0.7 * clean) > psnr(y, 0.15 + 0.7 * clean) + 5
    assert psnr(restoration.image @ weights, y @ weights) > 55


@pytest.mark.parametrize("forms", ["auto", "noise"])
def test_the_dial_ends_at_the_input(prior: Prior, clean: FloatImage, forms: str) -> None:
    """Black and white, which strong noise has clipped, included."""
    y = gaussian_noise(clean, np.random.default_rng(0), sigma=50 / 255)
    assert psnr(_restore(prior, y, strength=0.02, forms=forms).image, y) > 40


@pytest.mark.parametrize("name", CROPS)
def test_noise_is_removed(restorer: Restorer, name: str) -> None:
    clean = crop(name)
    noisy = gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255)
    before = noisy.copy()
    restoration = _restored(restorer, noisy)
    np.testing.assert_array_equal(noisy, before)
    assert restoration.outcome is Outcome.RESTORED
    assert ("noise", "corrected") in _found(restoration)
    assert psnr(restoration.image, clean) > psnr(noisy, clean) + 7
    assert restoration.image.shape == noisy.shape
    assert restoration.image.dtype == np.float32
    assert 0 <= restoration.image.min() <= restoration.image.max() <= 1
    assert restoration.consistency_psnr > 30
    assert restoration.typicality_before < 0.01
    assert 0 <= restoration.typicality_after <= 1
    assert restoration.rectified_fraction == 1
    assert restoration.nfe > 4


@pytest.mark.parametrize("name", CROPS)
def test_jpeg_blocks_do_not_get_worse(restorer: Restorer, name: str) -> None:
    clean = crop(name)
    blocky = jpeg(clean, quality=10)
    restoration = _restored(restorer, blocky)
    assert restoration.outcome is Outcome.RESTORED
    assert psnr(restoration.image, clean) > psnr(blocky, clean)


@pytest.mark.parametrize("forms", ["auto", "jpeg"])
def test_a_file_or_its_pixels_tell_how_it_was_compressed(prior: Prior, forms: str) -> None:
    clean = crop(CROPS[0])
    file = encode_jpeg(clean, quality=10)
    with Image.open(io.BytesIO(file)) as picture:
        tables = JpegTables.of_file(picture)
        blocky = np.asarray(picture, np.float32) / 255
    restorer = Restorer(prior, RestoreSettings(tile=96, overlap=16, forms=forms))  # type: ignore[arg-type]
    [with_tables] = restorer.restore([Degraded(blocky, tables)])
    without = _restored(restorer, blocky)
    blind = _restored(Restorer(prior, RestoreSettings(tile=96, overlap=16, forms=("none",))), blocky)
    assert with_tables.parameters == {"jpeg": tables.parameters()}
    assert without.parameters == with_tables.parameters
    np.testing.assert_array_equal(with_tables.image, without.image)
    assert blind.parameters == {}
    assert psnr(with_tables.image, clean) > psnr(blocky, clean) + 0.9
    assert psnr(with_tables.image, clean) > psnr(blind.image, clean) + 0.1


def test_a_blur_that_is_told_is_undone(prior: Prior) -> None:
    clean = crop(CROPS[0])
    blurred = gaussian_blur(clean, sigma=1.5)
    restorer = Restorer(prior, RestoreSettings(tile=96, overlap=16, forms=("gaussian_blur",)))
    restoration = _restored(restorer, blurred)
    assert restoration.outcome is Outcome.RESTORED
    assert restoration.parameters["gaussian_blur"]["width"] == pytest.approx(1.5, rel=0.2)
    assert psnr(restoration.image, clean) > psnr(blurred, clean) + 3


@pytest.mark.parametrize(
    ("degrade", "form", "gain"),
    [
        (gaussian_blur, "gaussian_blur", 3),
        (motion_blur, "motion_blur", 5),
        (low_resolution, "downsampling", 0.5),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_took_the_detail_is_undone_though_nobody_tells_it(
    prior: Prior, degrade: Degradation, form: str, gain: float
) -> None:
    clean = photograph(CROPS[0])
    y = np.rint(degrade(clean, np.random.default_rng(0)) * 255).astype(np.float32) / 255
    restoration = _restored(Restorer(prior, RestoreSettings(max_harm=0.25)), y)
    assert restoration.outcome is Outcome.RESTORED
    assert list(restoration.parameters) == [form]
    assert psnr(restoration.image, clean) > psnr(y, clean) + gain
    half = _restored(Restorer(prior, RestoreSettings(strength=0.5, max_harm=0.25)), y)
    assert np.abs(half.image - (restoration.image + y) / 2).mean() < 1e-3  # but for what was clipped


def test_an_image_without_the_form_that_was_told_stays_as_it_is(prior: Prior) -> None:
    restorer = Restorer(prior, RestoreSettings(tile=96, overlap=16, forms=("jpeg",)))
    restoration = _restored(restorer, crop(CROPS[0]))
    assert restoration.outcome is Outcome.UNCHANGED
    assert "no multiples" in restoration.message


def test_dead_pixels_are_filled(restorer: Restorer) -> None:
    clean = crop(CROPS[0])
    dead = dead_pixels(clean, np.random.default_rng(0))
    restoration = _restored(restorer, dead)
    assert ("dead pixels", "corrected") in _found(restoration)
    assert psnr(restoration.image, clean) > psnr(dead, clean) + 4


def test_rain_is_filled(prior: Prior) -> None:
    clean = photograph("cat")
    rainy = rain(clean, np.random.default_rng(0))
    restoration = _restored(Restorer(prior), rainy)
    streaks = next(finding for finding in restoration.findings if finding.what == "streaks")
    assert streaks.action == "corrected"
    assert 0 < streaks.share <= restoration.rectified_fraction
    assert streaks.boxes
    assert 0 < restoration.rectified_fraction < 0.2
    assert psnr(restoration.image, clean) > psnr(rainy, clean) + 2


def test_noise_in_a_part_of_a_picture_is_removed_there(prior: Prior) -> None:
    clean = photograph("castle")
    noisy = noisy_shadows(clean, np.random.default_rng(0))
    restoration = _restored(Restorer(prior), noisy)
    assert ("noise in a part", "corrected") in _found(restoration)
    assert 0.1 < restoration.rectified_fraction < 0.4
    assert 30 < restoration.consistency_psnr < math.inf  # noise hides little of the coarse picture
    assert psnr(restoration.image, clean) > psnr(noisy, clean) + 4


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_in_grey_images_is_removed(restorer: Restorer, channels: int) -> None:
    """Equal channels hold equal noise, which a network of colour alone takes for texture."""
    clean = crop(CROPS[0]).mean(axis=2, keepdims=True)
    noisy = gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255)
    restoration = _restored(restorer, np.repeat(noisy, channels, axis=2))
    assert restoration.outcome is Outcome.RESTORED
    assert restoration.image.shape == (96, 96, channels)
    assert np.ptp(restoration.image, axis=2).max() == 0
    assert psnr(restoration.image[..., :1], clean) > psnr(noisy, clean) + 6


def test_noise_in_a_toned_photograph_is_removed_and_the_tones_stay(prior: Prior) -> None:
    clean = photograph("dust-bowl")[:96, :96]
    grain = np.random.default_rng(0).normal(0, 12 / 255, (96, 96, 1)).astype(np.float32)
    noisy = np.clip(clean + grain, 0, 1)
    result = _restored(Restorer(prior), noisy)
    assert result.outcome is Outcome.RESTORED
    assert psnr(result.image, clean) > psnr(noisy, clean) + 2.5
    tones = (clean[..., channel] - clean[..., 1] for channel in (0, 2))
    for channel, tone in zip((0, 2), tones, strict=True):
        assert np.abs((result.image[..., channel] - result.image[..., 1]).mean() - tone.mean()) < 1 / 255


def test_blocks_in_grey_images_do_not_get_worse(restorer: Restorer) -> None:
    clean = crop(CROPS[0]).mean(axis=2, keepdims=True)
    blocky = jpeg(clean, quality=10)
    restoration = _restored(restorer, blocky)
    assert restoration.outcome is Outcome.RESTORED
    assert restoration.parameters["jpeg"]["luma"] == list(JpegTables.standard(10).luma)
    assert psnr(restoration.image, clean) > psnr(blocky, clean) + 0.5


def test_grey_stays_grey(restorer: Restorer) -> None:
    clean = crop(CROPS[0]).mean(axis=2, keepdims=True)
    dead = dead_pixels(clean, np.random.default_rng(0))
    restoration = _restored(restorer, dead)
    assert restoration.outcome is Outcome.RESTORED
    assert restoration.image.shape == (96, 96, 1)
    assert psnr(restoration.image, clean) > psnr(dead, clean) + 3


def test_a_form_that_a_clean_image_lacks_is_not_undone(prior: Prior) -> None:
    restorer = Restorer(prior, RestoreSettings(forms=("downsampling",)))
    restoration = _restored(restorer, photograph(CROPS[0]))
    assert restoration.outcome is Outcome.UNCHANGED
    assert "does not show" in restoration.message
    assert restoration.nfe > 10  # of the descent, which it took to see that
    assert restoration.typicality_before == restoration.typicality_after > 0.01
