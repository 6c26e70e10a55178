"""Calibrating a prior on a few crops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from i2r.errors import PriorError, SettingsError
from i2r.prior.network import Prior
from i2r.prior.space import PixelSpace
from i2r.screening.calibration import BANDS, Calibration, Spread
from i2r.screening.statistics import STATISTICS
from i2r.training.calibrate import calibrate, fitting_side, in_focus, spread_of


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """(26, 3, 32, 32) in [-1, 1]: smooth fields, two for every noise level."""
    rough = torch.rand(26, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, size=32, mode="bilinear") * 2 - 1


@pytest.fixture(scope="module")
def measured(tiny: Prior, crops: Tensor) -> Calibration:
    return calibrate(tiny, crops)


def test_everything_is_measured(measured: Calibration) -> None:
    assert set(measured.clean) == set(STATISTICS)
    assert all(spread.spread > 0 and math.isfinite(spread.middle) for spread in measured.clean.values())
    assert list(measured.entry_scale) == sorted(measured.entry_scale)
    assert all(math.isfinite(scale) for scale in measured.entry_scale.values())
    assert len(measured.spectrum) == BANDS
    assert np.isfinite(measured.block_entry).all()


def test_gray_images_have_a_calibration_of_their_own(measured: Calibration) -> None:
    assert measured.gray is not None
    assert measured.gray.gray is None
    assert measured.gray.clean != measured.clean


@pytest.mark.parametrize("freedom", [4, 100])
def test_few_clean_photographs_are_alarmed_at_though_tails_are_long(freedom: int) -> None:
    values = np.random.default_rng(0).standard_t(freedom, size=4000).tolist()
    spread = spread_of(values[:1000])
    for share in (0.05, 0.02, 0.01):
        alarms = np.mean([spread.p_value(value) < share for value in values[1000:]])
        assert alarms == pytest.approx(share, abs=0.01)


def test_what_is_the_same_in_all_photographs_has_a_spread() -> None:
    assert spread_of([1.0] * 20) == Spread(1.0, 1e-3, 1e-3)


def test_calibration_repeats(tiny: Prior, crops: Tensor, measured: Calibration) -> None:
    assert calibrate(tiny, crops) == measured
    assert calibrate(tiny, crops, seed=1).entry_scale != measured.entry_scale


def test_calibration_survives_its_file(measured: Calibration, tmp_path: Path) -> None:
    measured.save(tmp_path)
    assert Calibration.load(tmp_path) == measured


def test_the_sharper_half_is_in_focus() -> None:
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    crops = torch.cat([contrast * noise for contrast in (0.1, 0.9, 0.3, 0.7)])
    assert torch.equal(in_focus(crops[:3]), crops[1:3])
    assert torch.equal(in_focus(crops[1:]), crops[[1, 3]])


def test_too_few_crops_are_refused(tiny: Prior, crops: Tensor) -> None:
    with pytest.raises(SettingsError, match="12 crops are too few to calibrate on: give 13 or more"):
        calibrate(tiny, crops[:12])


def test_crops_that_do_not_fit_the_network_are_refused(tiny: Prior) -> None:
    with pytest.raises(SettingsError, match="crops of 33 px do not fit the prior tiny: give a multiple of 2"):
        calibrate(tiny, torch.zeros(13, 3, 33, 33))


def test_crops_are_as_large_as_the_latents_need(tiny: Prior) -> None:
    class EightToALatent(PixelSpace):
        factor = 8

    latent = Prior(
        tiny.network,
        tiny.schedule,
        tiny.prediction_type,
        name="latent",
        sha256="",
        device=tiny.device,
        space=EightToALatent(),
    )
    assert fitting_side(tiny) == 192
    assert fitting_side(latent) == 256
    with pytest.raises(SettingsError, match=r"of 192 px do not fit the prior latent: .* of 16, 256 or more"):
        calibrate(latent, torch.zeros(13, 3, 192, 192))


def test_photographs_of_nothing_are_refused(tiny: Prior) -> None:
    with pytest.raises(PriorError, match="cannot be calibrated on these photographs"):
        calibrate(tiny, torch.zeros(13, 3, 32, 32))


def test_a_prior_that_diverges_is_not_calibrated(tiny: Prior, crops: Tensor) -> None:
    class Diverges(Prior):
        def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
            return torch.full_like(x, float("nan"))

    broken = Diverges(tiny.network, tiny.schedule, "epsilon", name="broken", sha256="", device=tiny.device)
    with pytest.raises(PriorError, match="the prior broken cannot be calibrated"):
        calibrate(broken, crops)
