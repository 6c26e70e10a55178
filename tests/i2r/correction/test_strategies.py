"""Strategies of rectification, by their one interface, on photographs that no training saw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from image_models import Overlay
from PIL import Image

from i2r import Degraded, Outcome, Prior, Restoration, Restorer, RestoreSettings, load_prior
from i2r.correction import strategies
from i2r.correction.strategies import STRATEGIES, Correction, Subject, by_causes
from i2r.diffusion.sampling import drive
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.forms import Jpeg
from i2r.jpeg_tables import JpegTables
from i2r.metrics import psnr
from i2r.screening.trace import Screening
from i2r.training.degradation import (
    FloatImage,
    dead_pixels,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
)

CLEAN = Path(__file__).parents[3] / "benchmarks" / "photographs" / "astronaut.png"


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("photo-64", torch.device("cpu"))


@pytest.fixture(scope="module")
def clean() -> FloatImage:
    with Image.open(CLEAN) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)[48:144, 48:144] / 255


def _noisy(clean: FloatImage) -> FloatImage:
    return gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255)


def _restore(prior: Prior, image: FloatImage, **settings: object) -> Restoration:
    chosen = RestoreSettings.model_validate({"tile": 96, "overlap": 16, "max_harm": 0.25} | settings)
    [restoration] = Restorer(prior, chosen).restore([Degraded(image)])
    return restoration


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
