"""The restorer with the built-in prior, on crops of photographs that no training saw."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from photographs import crop, photograph

from i2r import Degraded, Outcome, Prior, Restoration, Restorer, RestoreSettings, load_prior
from i2r.diffusion.tiling import TileGrid
from i2r.errors import PriorError, SettingsError
from i2r.metrics import psnr
from i2r.prior.folder import built_in_priors
from i2r.screening.calibration import Spread
from i2r.screening.trace import Trace
from i2r.training.degradation import (
    FloatImage,
    dead_pixels,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    noisy_shadows,
    rain,
)

CROPS = ("astronaut", "mountains")
SIZES = [(1, 1), (3, 200), (17, 33), (31, 100), (32, 32), (33, 47), (40, 130)]


def _damaged(height: int, width: int, channels: int = 3) -> FloatImage:
    """A ramp with noise on it, which no test of the noise can miss."""
    ramp = np.linspace(0.2, 0.8, width, dtype=np.float32)[None, :, None]
    image = np.broadcast_to(ramp, (height, width, channels))
    return gaussian_noise(image, np.random.default_rng([height, width]), sigma=0.1)


@pytest.fixture(scope="module")
def restorer(prior: Prior) -> Restorer:
    """With tiles of the crops' size: one evaluation each."""
    return Restorer(prior, RestoreSettings(tile=96, overlap=16, tiles_per_batch=1))


@pytest.fixture(scope="module")
def small_tiles(prior: Prior) -> Restorer:
    return Restorer(prior, RestoreSettings(tile=40, overlap=8, tiles_per_batch=3))


def test_less_memory_is_half_the_batch_and_then_half_the_tile(prior: Prior) -> None:
    restorer, names = Restorer(prior, RestoreSettings(tile=96, overlap=40, tiles_per_batch=4)), []
    while (step := restorer.smaller()) is not None:
        name, restorer = step
        names.append(name)
    assert names == ["tiles_per_batch=2", "tiles_per_batch=1", "tile=48"]
    assert restorer.settings == RestoreSettings(tile=48, overlap=24, tiles_per_batch=1)
    assert psnr(_restore(restorer, noisy := _damaged(40, 60)).image, noisy) < 40


def test_the_device_tells_what_is_computed_in() -> None:
    prior = load_prior("photo-64", torch.device("cpu"), precision="float32")
    assert Restorer(prior).device == "cpu/float32"
    assert Restorer(prior, RestoreSettings(precision="float32")).device == "cpu/float32"
    with pytest.raises(SettingsError, match="computes in float32: load it with precision='bfloat16'"):
        Restorer(prior, RestoreSettings(precision="bfloat16"))


def test_both_precisions_come_out_alike() -> None:
    clean = crop(CROPS[0])
    noisy = gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255)
    reached = []
    for precision in ("float32", "bfloat16"):
        prior = load_prior("photo-64", torch.device("cpu"), precision=precision)
        assert {weight.dtype for weight in prior.network.parameters()} == {prior.precision}
        reached.append(psnr(_restore(Restorer(prior), noisy).image, clean))
    assert reached[0] == pytest.approx(reached[1], abs=0.03)


def _restore(restorer: Restorer, image: FloatImage) -> Restoration:
    [restoration] = restorer.restore([Degraded(image)])
    return restoration


def test_what_is_protected_comes_back_as_it_was(restorer: Restorer) -> None:
    noisy = gaussian_noise(crop(CROPS[0]), np.random.default_rng(0), sigma=25 / 255)
    left = np.zeros((96, 96), np.bool_)
    left[:, :40] = True
    traces = [Trace(), Trace(), Trace()]
    masks = [left, None, np.ones((96, 96), np.bool_)]
    part, whole, none = restorer.restore(
        [Degraded(noisy, None, mask, trace) for mask, trace in zip(masks, traces, strict=True)]
    )
    np.testing.assert_array_equal(part.image[left], noisy[left])
    np.testing.assert_array_equal(part.image[~left], whole.image[~left])
    assert part.rectified_fraction == pytest.approx((~left).mean())
    assert 35 < part.consistency_psnr < math.inf
    after = traces[0].looks[-1].eps  # judged with what is protected in its place
    assert after[:, :, :40].std() > 1.5 * after[:, :, 40:].std()
    assert none.outcome is Outcome.UNCHANGED
    assert [len(trace.looks) for trace in traces] == [2, 2, 1]
    assert traces[0].moved is not None
    np.testing.assert_array_equal(traces[0].moved, ~left)
    with pytest.raises(ValueError, match="give one of the same size"):
        restorer.restore([Degraded(noisy, protected=left[1:])])


@pytest.mark.parametrize("noisy", [False, True])
def test_what_nobody_sees_is_neither_tested_nor_changed(restorer: Restorer, noisy: bool) -> None:
    """Noise of every channel behind a cutout says nothing of what shows."""
    clean, rng = crop(CROPS[0]), np.random.default_rng(0)
    shown = gaussian_noise(clean, rng, sigma=25 / 255) if noisy else clean
    hidden = np.zeros((96, 96), np.bool_)
    hidden[:, 56:] = True
    image = np.where(hidden[..., None], rng.random((96, 96, 3), np.float32), shown)
    [restoration] = restorer.restore([Degraded(image, hidden=hidden)])
    assert restoration.outcome is (Outcome.RESTORED if noisy else Outcome.UNCHANGED)
    np.testing.assert_array_equal(restoration.image[hidden], image[hidden])
    if noisy:
        assert psnr(restoration.image[~hidden], clean[~hidden]) > psnr(shown[~hidden], clean[~hidden]) + 6
        with pytest.raises(ValueError, match="give one of the same size"):
            restorer.restore([Degraded(image, hidden=hidden[1:])])


def test_a_trace_holds_what_was_seen_and_changes_nothing(restorer: Restorer) -> None:
    dead = dead_pixels(crop(CROPS[0]), np.random.default_rng(0))
    trace = Trace()
    [traced] = restorer.restore([Degraded(dead, trace=trace)])
    np.testing.assert_array_equal(traced.image, _restore(restorer, dead).image)
    before, after = trace.looks
    assert before.eps.shape == before.noise.shape == after.noise.shape == (3, 96, 96)
    assert "tails" in before.screening.atypical
    [dead] = [finding for finding in traced.findings if finding.what == "dead pixels"]
    assert dead.confidence == 1 - before.screening.p_values["tails"]
    assert dead.boxes == [(0, 0, 96, 96)]
    assert before.screening.typicality == traced.typicality_before
    assert after.screening.typicality == traced.typicality_after
    assert before.screening.where["tails"] == [(slice(0, 96), slice(0, 96))]
    assert trace.moved is not None
    assert trace.moved.mean() == pytest.approx(traced.rectified_fraction)
    assert trace.result is not None
    np.testing.assert_array_equal(trace.result, traced.image)


def test_tiles_leave_no_seam(prior: Prior) -> None:
    """Against the same image in one piece, the error grows where tiles meet no more than elsewhere."""
    clean = photograph(CROPS[0])
    noisy = gaussian_noise(clean, np.random.default_rng(0))
    whole, tiled = (
        np.square(_restore(Restorer(prior, RestoreSettings(tile=side)), noisy).image - clean).mean(axis=2)
        for side in (192, 64)
    )
    met = np.zeros(clean.shape[:2], bool)
    for start in TileGrid.fitting(192, 192, 64, 16).rows[1:]:
        met[start : start + 16] = met[:, start : start + 16] = True
    assert tiled[met].mean() / whole[met].mean() < 1.05 * tiled[~met].mean() / whole[~met].mean()


@pytest.mark.parametrize("brightness", [0.1, 0.5, 0.9])
def test_flat_areas_keep_their_brightness(small_tiles: Restorer, brightness: float) -> None:
    noise = np.random.default_rng(0).standard_normal((96, 96, 3), np.float32)
    noisy = np.float32(brightness) + np.float32(5 / 255) * noise
    restoration = _restore(small_tiles, noisy)
    assert restoration.outcome is Outcome.RESTORED
    before, after = (x.reshape(4, 24, 4, 24, 3).mean(axis=(1, 3)) for x in (noisy, restoration.image))
    assert np.abs(after - before).max() < 1 / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_and_content_has_an_outcome(small_tiles: Restorer, channels: int) -> None:
    images = [_damaged(*size, channels) for size in SIZES]
    for level in (0.0, 0.4, 1.0):
        images += [np.full((*size, channels), level, np.float32) for size in ((1, 1), (17, 33), (50, 40))]
    for image, restoration in zip(
        images, small_tiles.restore([Degraded(image) for image in images]), strict=True
    ):
        assert restoration.outcome in (Outcome.RESTORED, Outcome.UNCHANGED)
        assert restoration.image.shape == image.shape
        assert restoration.image.dtype == np.float32
        assert np.isfinite(restoration.image).all()
        if min(image.shape[:2]) < 32:  # too small to test
            assert restoration.outcome is Outcome.UNCHANGED
            assert restoration.nfe == 0
            assert math.isnan(restoration.typicality_before)
        if restoration.outcome is Outcome.UNCHANGED:
            np.testing.assert_array_equal(restoration.image, image)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_fail_alone(small_tiles: Restorer, value: float) -> None:
    broken = _damaged(33, 47)
    broken[3, 4, 1] = value
    good = _damaged(40, 40)
    first, failed, last = small_tiles.restore([Degraded(image) for image in (good, broken, good)])
    assert failed.outcome is Outcome.FAILED
    assert failed.image is broken
    assert "not finite" in failed.message
    alone = _restore(small_tiles, good)
    for restoration in (first, last):
        assert restoration.outcome is alone.outcome
        np.testing.assert_array_equal(restoration.image, alone.image)


def test_neighbours_and_order_change_nothing(small_tiles: Restorer) -> None:
    images = [_damaged(*size) for size in ((40, 70), (5, 5), (75, 41))]
    images += [_damaged(33, 33, 1), np.zeros((40, 40, 3), np.float32)]
    alone = [_restore(small_tiles, image) for image in images]
    assert Outcome.RESTORED in {restoration.outcome for restoration in alone}
    for order in ([0, 1, 2, 3, 4], [3, 4, 1, 0, 2]):
        together = small_tiles.restore([Degraded(images[i]) for i in order])
        for index, restoration in zip(order, together, strict=True):
            np.testing.assert_array_equal(restoration.image, alone[index].image)
            assert restoration.outcome is alone[index].outcome
            assert restoration.nfe == alone[index].nfe
            np.testing.assert_equal(restoration.typicality_after, alone[index].typicality_after)


@pytest.fixture(
    scope="module",
    params=[{}, {"forms": "mask,noise"}, {"forms": "downsampling", "factor": 2}, {"strategy": "patches"}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "auto",
)
def random_restorer(request: pytest.FixtureRequest, tiny: Prior, prior: Prior) -> Restorer:
    """Of random weights, which cost little: what it makes of an image is nonsense, and each corrects some."""
    clean = dict(prior.calibration.clean)
    clean |= {"grain": Spread(-2.6, 0.05, 0.02), "lag": Spread(0.5, 0.05, 0.02)}
    clean |= {"period": Spread(0.018, 0.008, 0.006), "tails": Spread(0.1, 0.03, 0.02)}
    clean |= {"streaks": Spread(-9.6, 0.1, 0.05), "patchy": Spread(-2.6, 0.02, 0.01)}
    nonsense = Prior(
        tiny.network,
        tiny.schedule,
        tiny.prediction_type,
        name="random",
        sha256="",
        device=tiny.device,
        calibration=replace(prior.calibration, clean=clean),
    )
    settings = RestoreSettings(tile=40, overlap=8, tiles_per_batch=3, min_consistency=0, **request.param)
    return Restorer(nonsense, settings)


@pytest.fixture(scope="module")
def mixed() -> list[FloatImage]:
    """Small images of different sizes, damaged in different ways: their queries end in different rounds."""
    clean, rng = crop(CROPS[0]), np.random.default_rng(0)
    return [
        _damaged(40, 70),
        _damaged(33, 33, 1),
        _damaged(5, 5),
        jpeg(clean[:48, :64], quality=10),
        gaussian_blur(clean[:64, :40], sigma=1.5),
        low_resolution(clean[:64, :64], factor=2),
        dead_pixels(clean[:41, :75], rng),
        rain(clean[:70, :60], rng, fraction=0.05),
        noisy_shadows(clean[:64, :72], rng, sigma=25 / 255),
        np.zeros((40, 40, 3), np.float32),
        np.full((34, 34, 3), np.nan, np.float32),
    ]


@pytest.fixture(scope="module")
def each_alone(random_restorer: Restorer, mixed: list[FloatImage]) -> list[Restoration]:
    alone = [_restore(random_restorer, image) for image in mixed]
    assert [found.outcome is Outcome.RESTORED for found in alone].count(True) >= 4
    assert len({found.nfe for found in alone}) >= (3 if random_restorer.settings.specified else 4)
    return alone


@settings(max_examples=12)
@given(order=st.lists(st.integers(0, 10), min_size=1, max_size=8))
def test_an_image_gets_the_same_bits_in_any_company(
    random_restorer: Restorer,
    mixed: list[FloatImage],
    each_alone: list[Restoration],
    order: list[int],
) -> None:
    """Permutations, subsets and repeats, as retries make them."""
    together = random_restorer.restore([Degraded(mixed[i]) for i in order])
    for index, restoration in zip(order, together, strict=True):
        alone = each_alone[index]
        assert restoration.image.tobytes() == alone.image.tobytes()
        np.testing.assert_equal(_told(restoration), _told(alone))


def _told(restoration: Restoration) -> dict[str, Any]:
    """All but the picture."""
    return {name: value for name, value in vars(restoration).items() if name != "image"}


def test_nothing_in_nothing_out(small_tiles: Restorer) -> None:
    assert small_tiles.restore([]) == []


def test_an_uncalibrated_prior_is_refused(prior: Prior) -> None:
    bare = Prior(
        prior.network, prior.schedule, prior.prediction_type, name="bare", sha256="", device=prior.device
    )
    with pytest.raises(PriorError, match="bare is not calibrated"):
        Restorer(bare)


def test_the_built_in_prior_is_small_enough_for_the_wheel() -> None:
    files = [path for path in built_in_priors()["photo-64"].rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20e6


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_prior_that_diverges_fails_the_image(tiny_folder: Path, value: float) -> None:
    prior = load_prior(str(tiny_folder), torch.device("cpu"))
    prior.network.conv_out.bias.fill_(value)
    restoration = _restore(
        Restorer(prior, RestoreSettings(tile=40, overlap=8, tiles_per_batch=1)), _damaged(40, 40)
    )
    assert restoration.outcome is Outcome.FAILED
    assert np.isfinite(restoration.image).all()


def test_all_of_a_result_is_held_against_its_input(prior: Prior) -> None:
    """Where clipping gives pixels back as they were, the rest has moved none the less."""
    white = crop(CROPS[0])
    white[:48, :48] = 1
    noisy = gaussian_noise(white, np.random.default_rng(0), sigma=25 / 255)
    settings = RestoreSettings(tile=96, overlap=16, forms=("noise",))
    restoration = _restore(Restorer(prior, settings), noisy)
    assert restoration.outcome is Outcome.RESTORED
    assert 25 < restoration.consistency_psnr < 60
    strict = settings.model_copy(update={"min_consistency": 90.0})
    rejected = _restore(Restorer(prior, strict), noisy)
    assert rejected.outcome is Outcome.REJECTED
    assert "at coarse scale" in rejected.message
    np.testing.assert_array_equal(rejected.image, noisy)


def test_how_much_doubt_is_too_much_is_a_setting(prior: Prior) -> None:
    clean = photograph(CROPS[0])[:128, :128]
    wet = rain(clean, np.random.default_rng(1), fraction=0.05)
    restoration = _restore(Restorer(prior), wet)
    assert restoration.outcome is Outcome.RESTORED
    assert 0 < restoration.doubt < 1
    rejected = _restore(Restorer(prior, RestoreSettings(max_doubt=restoration.doubt / 2)), wet)
    assert rejected.outcome is Outcome.REJECTED
    assert rejected.doubt == restoration.doubt
    assert "max_doubt=" in rejected.message
    np.testing.assert_array_equal(rejected.image, wet)


def test_what_is_no_image_is_refused_before_anything_is_restored(restorer: Restorer) -> None:
    for shape in ((0, 5, 3), (5, 5, 2), (5, 5), (5, 5, 4)):
        with pytest.raises(ValueError, match="give \\(height, width, channels\\)"):
            restorer.restore([Degraded(np.zeros(shape, np.float32))])
    with pytest.raises(ValueError, match="give floats"):
        restorer.restore([Degraded(np.zeros((5, 5, 3), np.uint8))])
    with pytest.raises(ValueError, match=r"reaches from 0 to 255: give floats in \[0, 1\]"):
        restorer.restore([Degraded(np.linspace(0, 255, 75, dtype=np.float32).reshape(5, 5, 3))])
    with pytest.raises(ValueError, match="give bool"):
        restorer.restore([Degraded(np.zeros((5, 5, 3), np.float32), None, np.zeros((5, 5), np.uint8))])  # type: ignore[arg-type]
