"""Conformal risk control: the promise holds whatever the pictures look like."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from i2r.errors import SettingsError
from i2r.screening.risk import RISK, correcting_rate, least_risk

risks = st.floats(0.001, 0.999)
alarms = st.lists(st.floats(0, 1), min_size=2, max_size=60)


@given(alarms, risks)
def test_of_pictures_like_these_no_more_are_altered_than_was_promised(
    of_pictures: list[float], max_harm: float
) -> None:
    """Each in turn is the one to come: of exchangeable pictures that is its expected share."""
    assume(max_harm >= least_risk(len(of_pictures) - 1))
    altered = 0
    for index, alarm in enumerate(of_pictures):
        others = sorted(of_pictures[:index] + of_pictures[index + 1 :])
        altered += alarm <= correcting_rate(others, max_harm)
    assert altered <= max_harm * len(of_pictures) + 1e-6


@given(alarms, risks, risks)
def test_more_harm_allows_more_corrections(of_pictures: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assume(low >= least_risk(len(of_pictures)))
    known = sorted(of_pictures)
    assert correcting_rate(known, low) <= correcting_rate(known, high) <= RISK.suspicion


@given(alarms)
def test_what_too_few_pictures_cannot_promise_is_refused_with_what_they_can(of_pictures: list[float]) -> None:
    known = sorted(of_pictures)
    least = least_risk(len(known))
    correcting_rate(known, least)
    with pytest.raises(SettingsError, match=f"give {least:.2g} or more"):
        correcting_rate(known, 0.9 * least)
