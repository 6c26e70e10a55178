"""The alarms of clean pictures: the rates at which they would be altered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2r import Degraded, Outcome, Prior, Restorer, RestoreSettings, load_prior
from i2r.alarms import NEVER, _rate_of, with_alarms
from i2r.findings import What
from i2r.screening.risk import correcting_rate
from i2r.training.degradation import FloatImage, gaussian_noise


def test_what_would_be_altered_has_an_alarm_below_the_rate_that_alters_it(
    prior: Prior, photograph: FloatImage
) -> None:
    clean = photograph[:96, :96]
    noisy = gaussian_noise(clean, np.random.default_rng(0), sigma=25 / 255).clip(0, 1).astype(np.float32)
    found = with_alarms(prior, [clean, noisy])
    assert found.gray is not None
    for alarms in (found.alarms, found.gray.alarms):
        assert alarms[1] == NEVER
        assert alarms[0] < correcting_rate(prior.calibration.alarms, RestoreSettings().max_harm)
    [kept], [altered] = (
        Restorer(_with_alarms(prior, alarm), RestoreSettings(max_harm=0.5)).restore([Degraded(noisy)])
        for alarm in (found.alarms[0], np.nextafter(found.alarms[0], 1.0) * 1.001)
    )
    assert kept.outcome is Outcome.UNCHANGED
    assert altered.outcome is Outcome.RESTORED


def _with_alarms(prior: Prior, alarm: float) -> Prior:
    calibrated = load_prior("photo-64", torch.device("cpu"))
    calibrated.calibration = replace(prior.calibration, alarms=(float(alarm),))
    return calibrated


def test_the_alarm_is_of_what_was_corrected() -> None:
    """What was seen more surely and left alone alarms nobody, except that it makes others surer."""
    p_values = {"tails": 1e-9, "grain": 0.01, "lag": 0.5, "period": 0.9}
    assert _rate_of(p_values, {What.DEAD_PIXELS}) == pytest.approx(4e-9)
    assert _rate_of(p_values, {What.NOISE}) == pytest.approx(0.02)
    assert _rate_of(p_values, {What.NOISE, What.DEAD_PIXELS}) == pytest.approx(4e-9)
    assert _rate_of(p_values, {What.LOW_RESOLUTION}) == pytest.approx(4e-9)  # named by its form: then by all
