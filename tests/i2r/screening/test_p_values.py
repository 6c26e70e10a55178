"""What p-values say together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2r.screening.p_values import combined, discoveries, simes, with_witness
from i2r.screening.statistics import STATISTICS

probabilities = st.floats(0, 1)


def test_nothing_is_discovered_among_the_typical() -> None:
    assert discoveries(dict.fromkeys(STATISTICS, 1.0), 0.99) == frozenset()
    assert discoveries(dict.fromkeys(STATISTICS, 0.0), 1e-9) == frozenset(STATISTICS)


@given(st.lists(probabilities, min_size=1, max_size=30))
def test_simes_lies_between_the_smallest_and_its_correction(p_values: list[float]) -> None:
    assert min(p_values) <= simes(p_values) + 1e-12
    assert simes(p_values) <= min(min(p_values) * len(p_values), max(p_values)) + 1e-12


@given(st.lists(probabilities, min_size=1, max_size=30), st.floats(1e-4, 0.5))
def test_an_atypical_image_has_an_atypical_region(p_values: list[float], rate: float) -> None:
    found = discoveries(dict(enumerate(p_values)), rate)
    assert bool(found) == (simes(p_values) <= rate) or min(abs(simes(p_values) - rate), 1) < 1e-12


@given(probabilities, probabilities)
def test_a_witness_confirms_at_most_as_surely_as_what_it_confirms(own: float, witness: float) -> None:
    p_values = {"streaks": own, "overlay": witness}
    found = with_witness("streaks", p_values)
    assert min(own, combined([own, own])) - 1e-12 <= found <= own
    assert with_witness("overlay", p_values) == witness
    assert with_witness("streaks", {"streaks": own}) == own


@given(st.lists(probabilities, min_size=1, max_size=4))
def test_the_combined_p_value_of_independent_ones_is_uniform(p_values: list[float]) -> None:
    """Of one it is itself; of several, the chance that a chi-squared of two degrees each is larger."""
    degrees = torch.tensor(float(len(p_values)), dtype=torch.float64)
    expected = torch.special.gammaincc(degrees, -torch.tensor(p_values, dtype=torch.float64).log().sum())
    assert combined(p_values) == pytest.approx(expected.item(), rel=1e-6, abs=1e-12)
