"""Screening: two evaluations show whether the noise of an image is that of clean photographs."""

from __future__ import annotations

import pytest
import torch
from image_models import GaussianImages, Overlay
from torch import Tensor

from i2r.diffusion.sampling import counted
from i2r.diffusion.tiling import TileGrid
from i2r.screening.calibration import TAIL, Calibration, Spread
from i2r.screening.screen import screen
from i2r.screening.statistics import STATISTICS, Level, Scope, names, weights
from i2r.screening.trace import Trace
from i2r.screening.typicality import Measurement, Seen

LOCAL = names(scope=Scope.REGION)
GRID = TileGrid.whole(64, 64)


def test_two_evaluations_tell_everything(
    smooth_images: GaussianImages, waves: Tensor, calibration: Calibration
) -> None:
    trace = Trace()
    seen, nfe = smooth_images.answer(counted(screen(waves, GRID, calibration, 0.05, trace)))
    assert nfe == 2
    assert set(seen.p_values) == set(STATISTICS)
    assert seen.atypical <= set(STATISTICS)
    assert set(seen.where) == seen.atypical & set(LOCAL)
    assert not seen.suspected  # whatever fails at the rate of suspicion is corrected at it
    [look] = trace.looks
    assert look.screening is seen
    assert look.eps.shape == look.noise.shape == waves.shape


@pytest.mark.parametrize(
    ("chance", "grain", "filled"), [(0.01, 0, True), (0.01, 20, False), (1e-3, 20, True)]
)
def test_an_overlay_is_surer_beside_something_else(
    smooth_images: GaussianImages,
    waves: Tensor,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    chance: float,
    grain: float,
    filled: bool,
) -> None:
    values = {name: clean.middle for name, clean in calibration.clean.items()}
    values["grain"] += grain * calibration.clean["grain"].spread
    values["overlay"] = calibration.clean["overlay"].exceeded_by(chance)

    def measured(_: Seen, level: Level) -> Measurement:
        whole = {name: values[name] for name in names(scope=Scope.IMAGE, level=level)}
        return Measurement(whole, [{name: values[name] for name in names(scope=Scope.REGION, level=level)}])

    monkeypatch.setattr("i2r.screening.looking.measure", measured)
    finder = Overlay(log_odds=values["overlay"])
    seen = smooth_images.answer(screen(waves, GRID, calibration, 0.05), finder)
    assert ("overlay" in seen.atypical) == ("overlay" in seen.where) == filled
    assert ("overlay" in seen.suspected) != filled


@pytest.mark.parametrize(("chance", "fails"), [(0.3, ""), (0.01, "suspected"), (1e-6, "atypical")])
@pytest.mark.parametrize("name", ["grain", "tails"])
def test_what_is_not_sure_enough_is_suspected_where_it_is(
    smooth_images: GaussianImages,
    waves: Tensor,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    chance: float,
    fails: str,
) -> None:
    values = {other: clean.middle for other, clean in calibration.clean.items()}
    share = weights(gray=False)[name] / len(STATISTICS)
    values[name] = _exceeded_by(calibration.clean[name], chance * share)

    def measured(_: Seen, level: Level) -> Measurement:
        whole = {name: values[name] for name in names(scope=Scope.IMAGE, level=level)}
        return Measurement(whole, [{name: values[name] for name in names(scope=Scope.REGION, level=level)}])

    monkeypatch.setattr("i2r.screening.looking.measure", measured)
    seen = smooth_images.answer(screen(waves, GRID, calibration, 0.001))
    regions = [(slice(0, 64), slice(0, 64))] if name in LOCAL else []
    assert seen.atypical == ({name} if fails == "atypical" else set())
    assert seen.where == ({name: regions} if fails == "atypical" and regions else {})
    assert seen.suspected == ({name: regions} if fails == "suspected" else {})


def _exceeded_by(clean: Spread, chance: float) -> float:
    """The value that a chance of clean photographs lie above, be it in their tail or not."""
    return clean.exceeded_by(chance) if chance < TAIL else clean.middle


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 64), (64, 31)])
def test_small_images_are_not_looked_at(calibration: Calibration, height: int, width: int) -> None:
    grid = TileGrid(height, width, (64, 64), 0)
    with pytest.raises(StopIteration) as stop:
        next(screen(torch.zeros(3, 64, 64), grid, calibration, 0.05))
    assert stop.value.value.p_values == {}
    assert not stop.value.value.atypical


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("good", [0, 1])
def test_a_prior_that_diverges_is_an_error(
    waves: Tensor, calibration: Calibration, value: float, good: int
) -> None:
    process = screen(waves, GRID, calibration, 0.05)
    next(process)
    process.send(torch.full((1,), -9.0))  # nothing lies over its only region
    for _ in range(good):
        process.send(torch.zeros_like(waves))
    with pytest.raises(FloatingPointError, match="diverged"):
        process.send(torch.full_like(waves, value))


def test_nothing_local_is_atypical_where_all_is_drawn(
    smooth_images: GaussianImages,
    waves: Tensor,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {name: clean.middle for name, clean in calibration.clean.items()}
    values["tails"] = calibration.clean["tails"].exceeded_by(1e-9)

    def measured(_: Seen, level: Level) -> Measurement:
        whole = {name: values[name] for name in names(scope=Scope.IMAGE, level=level)}
        return Measurement(whole, [{name: values[name] for name in names(scope=Scope.REGION, level=level)}])

    monkeypatch.setattr("i2r.screening.looking.measure", measured)
    for drawn, atypical in ((frozenset[int](), {"tails"}), (frozenset({0}), set())):
        seen = smooth_images.answer(screen(waves, GRID, calibration, 0.05, drawn=drawn))
        assert seen.atypical == atypical
        assert seen.where.keys() == atypical
