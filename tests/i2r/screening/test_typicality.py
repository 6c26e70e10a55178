"""Each statistic finds its own kind of damage; the tests keep their promises."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.screening.calibration import TAIL, TAIL_START, Calibration, Spread
from i2r.screening.detail import DETAIL, detailed
from i2r.screening.p_values import combined, discoveries, typicality
from i2r.screening.regions import REGION, regions
from i2r.screening.statistics import STATISTICS, Level, Scope, names
from i2r.screening.typicality import (
    TYPICALITY,
    Measurement,
    Seen,
    calm_scale,
    difference_scale,
    evenness,
    grid_period,
    lag_correlation,
    lag_opposition,
    log_fineness,
    measure,
    outlier_ratio,
    patch_correlations,
    robust_scale,
)

probabilities = st.floats(0, 1)
LOCAL = names(scope=Scope.REGION)
tests_of_all = st.fixed_dictionaries(dict.fromkeys(STATISTICS, probabilities))


def _white(seed: int = 0, side: int = 128) -> Tensor:
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed))


def _magnitude(eps: Tensor) -> Tensor:
    return eps.square().mean(dim=0).sqrt()


def _lag(eps: Tensor) -> float:
    """Of noise in an image that shows detail everywhere."""
    correlations = patch_correlations(eps)
    return lag_correlation(correlations, torch.ones_like(correlations[0], dtype=torch.bool)).item()


def _measured(image: Tensor, eps: Tensor, noise: Tensor) -> Measurement:
    return measure(Seen(image, noise), Level.HIGH) | measure(Seen(image, eps), Level.LOW)


def _measure(eps: Tensor) -> dict[str, float]:
    """All statistics of noise in an image full of detail, without anything over it, of one region."""
    image = 0.1 * _white(9, eps.shape[-1])
    measured = _measured(image, eps, eps).with_overlays([-9.0])
    [local] = measured.local
    return {**measured.whole, **local}


@pytest.mark.parametrize("seed", range(3))
def test_white_noise_is_neutral(seed: int) -> None:
    eps = _white(seed)
    assert robust_scale(eps).item() == pytest.approx(1, abs=0.02)
    assert _lag(eps) == pytest.approx(0, abs=0.1)
    assert lag_opposition(patch_correlations(eps)).item() == pytest.approx(0, abs=0.15)
    assert grid_period(eps).item() == pytest.approx(1, abs=0.05)
    assert log_fineness(eps).item() == pytest.approx(0, abs=0.05)
    ratio = outlier_ratio(_magnitude(eps))
    assert ratio.shape == (128, 128)
    assert ratio.median().item() == pytest.approx(1, abs=0.2)
    assert ratio.max() < 4


@given(st.floats(0.01, 0.5), st.integers(1, 2), st.integers(0, 10**6))
def test_differences_tell_the_noise_and_no_slope(scale: float, reach: int, seed: int) -> None:
    slope = torch.linspace(-1, 1, 128) + torch.linspace(0, 0.5, 128)[:, None]
    assert difference_scale(slope + scale * _white(seed), reach).item() == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("reach", [1, 2])
def test_an_image_too_small_for_a_difference_has_none(reach: int) -> None:
    assert difference_scale(_white(side=reach), reach) == 0


def test_noise_is_even_and_texture_is_not() -> None:
    noise, everywhere = 0.1 * _white(3, 160), torch.ones(160, 160, dtype=torch.bool)
    textured = noise.clone()
    textured[:, :, 40:] *= 0.1
    assert evenness(noise, 8, everywhere) > 0.7
    assert evenness(textured, 8, everywhere) < 0.2
    assert evenness(textured, 8, everywhere & (torch.arange(160) < 40)) > 0.7
    assert evenness(noise, 8, ~everywhere) == 1
    assert calm_scale(noise, 8, 0.05).item() == pytest.approx(0.1, rel=0.2)
    assert calm_scale(textured, 8, 0.05).item() == pytest.approx(0.01, rel=0.3)
    assert calm_scale(noise[:, :8, :8], 8, 0.05) == difference_scale(noise[:, :8, :8])


def test_smoother_noise_hides_from_the_finest_differences() -> None:
    smoother = F.avg_pool2d(_white(), 2, stride=1)
    assert difference_scale(smoother).item() == pytest.approx(0.25, rel=0.1)
    assert difference_scale(smoother, reach=2).item() == pytest.approx(0.5, rel=0.1)
    assert log_fineness(smoother).item() == pytest.approx(math.log(0.5), abs=0.1)


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_stronger_noise_moves_the_grain_alone(factor: float) -> None:
    white, strong = _measure(_white()), _measure(factor * _white())
    assert strong["grain"] - white["grain"] == pytest.approx(math.log(factor), abs=1e-4)
    assert strong["lag"] == pytest.approx(white["lag"], abs=1e-4)
    assert strong["period"] == pytest.approx(white["period"], abs=1e-4)
    assert strong["tails"] == pytest.approx(white["tails"], abs=0.1)


def test_specks_move_the_tails() -> None:
    hit = torch.rand(128, 128, generator=torch.Generator().manual_seed(1)) < 0.015
    white, specked = _measure(_white()), _measure(torch.where(hit, 10.0, _white()))
    assert specked["tails"] > white["tails"] + 1
    assert specked["grain"] == pytest.approx(white["grain"], abs=0.1)
    assert specked["lag"] == pytest.approx(white["lag"], abs=0.15)
    assert specked["period"] == pytest.approx(white["period"], abs=0.2)


def test_a_few_glints_do_not_move_the_tails() -> None:
    hit = torch.rand(128, 128, generator=torch.Generator().manual_seed(1)) < 0.002
    assert _measure(torch.where(hit, 10.0, _white()))["tails"] == pytest.approx(
        _measure(_white())["tails"], abs=0.1
    )


def test_smoothing_moves_the_lag() -> None:
    smooth = F.avg_pool2d(_white(side=130), 3, stride=1)
    white, lagged = _measure(_white()), _measure(smooth / smooth.std())
    # A box of three pixels: neighbours share two of them.
    assert lagged["lag"] == pytest.approx(2 / 3, abs=0.1)
    assert lagged["grain"] < white["grain"] - 1  # as strong, and no grain
    assert lagged["period"] == pytest.approx(white["period"], abs=0.15)


@pytest.mark.parametrize("line", [torch.ones(1, 5), torch.ones(5, 1), torch.eye(5), torch.eye(5).flip(1)])
def test_lag_sees_one_direction(line: Tensor) -> None:
    """Motion blurs along one direction only."""
    smooth = F.conv2d(_white(side=140)[:, None], line[None, None] / 5)[:, 0]
    assert _lag(smooth) == pytest.approx(0.8, abs=0.1)


def test_lag_is_told_by_patches_that_show_detail_and_by_enough_of_them() -> None:
    """The left half is white and the right half smooth: which counts is said by the image."""
    smooth = F.avg_pool2d(_white(side=130), 3, stride=1)
    eps = torch.cat([_white()[..., :64], 3 * smooth[..., 64:]], dim=-1)
    correlations = patch_correlations(eps)
    for image in (torch.zeros_like(eps), torch.linspace(-1, 1, 128).expand(3, 128, 128)):
        assert not detailed(image[:, 1:, 1:-1], TYPICALITY.patch).any()
    few, all_but_few = torch.zeros(2, correlations.shape[1], dtype=torch.bool)
    few[: DETAIL.fewest - 1], all_but_few[DETAIL.fewest :] = True, True
    assert lag_correlation(correlations, few) == -1
    assert lag_correlation(correlations, all_but_few) > 0


def test_opposition_sees_noise_and_no_texture() -> None:
    """Differences of white noise oppose their neighbours, and a texture beside them does not."""
    white = _white(side=129)
    opposed = white[:, 1:, 1:] - white[:, :-1, 1:] - white[:, 1:, :-1] + white[:, :-1, :-1]
    assert lag_opposition(patch_correlations(opposed)).item() == pytest.approx(0.5, abs=0.15)
    half = torch.cat([opposed[..., :64], 6 * F.avg_pool2d(_white(side=130), 3, stride=1)[..., 64:]], dim=-1)
    assert lag_opposition(patch_correlations(half)) < 0


@pytest.mark.parametrize("phase", [0, 3, 7])
def test_blocks_move_the_period_whatever_their_phase(phase: int) -> None:
    blocks = _white(1, side=20).repeat_interleave(8, 1).repeat_interleave(8, 2)
    blocky = _white() + 2 * blocks[:, phase : phase + 128, phase : phase + 128]
    assert grid_period(blocky) > 1.4
    stripes = _white() + 2 * blocks[:, phase : phase + 128, :1]
    assert grid_period(stripes) < 1.1  # steps across one axis only are content, not blocks


@given(p_values=tests_of_all, rate=st.floats(1e-4, 0.5))
def test_discoveries_are_those_of_benjamini_and_hochberg(p_values: dict[str, float], rate: float) -> None:
    share = rate / len(p_values)
    enough = [k for k in range(1, len(p_values) + 1) if sum(p <= share * k for p in p_values.values()) >= k]
    expected = {name for name, p in p_values.items() if enough and p <= share * max(enough)}
    assert discoveries(p_values, rate) == expected


@given(p_values=tests_of_all, rate=st.floats(1e-4, 0.5))
def test_typicality_is_a_share_and_agrees_with_the_discoveries(
    p_values: dict[str, float], rate: float
) -> None:
    assert 0 <= typicality(p_values) <= 1
    if typicality(p_values) < rate:
        assert discoveries(p_values, rate)


@given(
    middle=st.floats(-5, 5),
    spread=st.floats(0.01, 3),
    tail=st.floats(0.01, 3),
    deviation=st.floats(-6, TAIL_START),
    excess=st.floats(0, 20),
)
def test_p_values_are_normal_up_to_an_exponential_tail(
    middle: float, spread: float, tail: float, deviation: float, excess: float
) -> None:
    known = Spread(middle, spread, tail)
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    expected = 1 - normal.cdf(torch.tensor(deviation, dtype=torch.float64)).item()
    assert known.p_value(middle + deviation * spread) == pytest.approx(expected, abs=1e-9)
    beyond = middle + TAIL_START * spread + excess * tail
    assert known.p_value(beyond) == pytest.approx(TAIL * math.exp(-excess), rel=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_region_is_measured_as_if_it_were_alone(channels: int) -> None:
    """Whatever others are measured with it: 385 by 383 pixels have regions of four sizes."""
    image, eps, noise = (_white(seed, 385)[:channels, :, :383] for seed in range(3))
    measured = _measured(0.1 * image, eps, 0.1 * noise)
    parts = regions(385, 383)
    assert len({(part[0].stop - part[0].start, part[1].stop - part[1].start) for part in parts}) == 4
    for local, (rows, columns) in zip(measured.local, parts, strict=True):
        part = (slice(None), rows, columns)
        alone = _measured(0.1 * image[part], eps[part], 0.1 * noise[part])
        assert local == pytest.approx(alone.local[0], abs=1e-5)


def _typical(calibration: Calibration, count: int = 1, chance: float | None = None) -> Measurement:
    """Of the middle of clean photographs, or of what ``chance`` of them exceed."""
    middle = {
        name: clean.middle if chance is None else clean.exceeded_by(chance)
        for name, clean in calibration.clean.items()
    }
    local = {name: middle.pop(name) for name in LOCAL}
    return Measurement(middle, [local] * count)


@pytest.mark.parametrize("gray", [False, True])
def test_weights_look_harder_for_some_and_hold_the_rate(calibration: Calibration, gray: bool) -> None:
    measured = replace(_typical(calibration, chance=0.001), gray=gray)
    weighted = measured.p_values(calibration)
    assert weighted["streaks"] < 0.001 < weighted["grain"]
    assert (weighted["patchy"] > 0.1) != gray
    confirmed = dict.fromkeys(("streaks", "lag"), combined([0.001, 0.001]))
    found = (confirmed.get(name, 0.001) / p for name, p in weighted.items())
    assert statistics.fmean(found) == pytest.approx(1)


def test_each_statistic_is_tested_on_its_own_spread(calibration: Calibration) -> None:
    typical = _typical(calibration)
    for name in STATISTICS:
        raised = {name: calibration.clean[name].middle + 10 * calibration.clean[name].spread}
        if name in LOCAL:
            odd = Measurement(typical.whole, [typical.local[0] | raised])
        else:
            odd = Measurement(typical.whole | raised, typical.local)
        assert discoveries(odd.p_values(calibration), 0.01) == {name}


@pytest.mark.parametrize("name", ["grain", "antilag", "lag", "period"])
def test_a_small_image_proves_less(calibration: Calibration, name: str) -> None:
    """Its values scatter more; those of an image as large as what was calibrated, or larger, do not."""
    odd = _typical(calibration, chance=0.01)
    p_values = [
        replace(odd, pixels=side**2).p_values(calibration)[name] for side in (2000, REGION.side, 96, 64)
    ]
    assert p_values[0] == p_values[1] < p_values[2] < p_values[3]


def test_damage_is_told_where_it_is(calibration: Calibration) -> None:
    typical = _typical(calibration, 9)
    spread = calibration.clean["tails"]
    local = list(typical.local)
    local[5] = local[5] | {"tails": spread.middle + 10 * spread.spread}
    measured = Measurement(typical.whole, local)
    assert discoveries(measured.p_values(calibration), 0.01) == {"tails"}
    assert measured.atypical_regions(calibration, "tails", 0.01) == {5}
    assert measured.atypical_regions(calibration, "streaks", 0.01) == frozenset()


def test_noise_makes_no_line_a_streak(calibration: Calibration) -> None:
    """What is found beside something else may be weaker; what is filled may not."""
    typical, clean = _typical(calibration), calibration.clean
    faint = (
        clean["streaks"].middle + TAIL_START * clean["streaks"].spread + math.log(5) * clean["streaks"].tail
    )
    noisy = typical.whole | {"grain": clean["grain"].middle + 20 * clean["grain"].spread}
    measured = Measurement(noisy, [typical.local[0] | {"streaks": faint}])
    assert discoveries(measured.p_values(calibration), 0.05) == {"grain", "streaks"}
    assert measured.atypical_regions(calibration, "streaks", 0.05) == frozenset()


def test_nothing_is_atypical_in_drawn_regions(calibration: Calibration) -> None:
    typical, spread = _typical(calibration, 2), calibration.clean["tails"]
    odd = typical.local[1] | {"tails": spread.middle + 10 * spread.spread}
    measured = replace(typical, local=[typical.local[0], odd])
    assert measured.atypical_regions(calibration, "tails", 0.05) == {1}
    drawn = replace(measured, drawn=frozenset({1}))
    assert drawn.atypical_regions(calibration, "tails", 0.05) == frozenset()
    assert drawn.p_values(calibration)["tails"] > 0.05 > measured.p_values(calibration)["tails"]
