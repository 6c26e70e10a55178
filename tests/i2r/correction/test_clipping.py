"""Clipped noise moves the mean, and the mean determines what it was moved from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2r.correction.clipping import clipped_mean, unclip

values = st.floats(-1, 1)
levels = st.floats(0.02, 1.0)


@pytest.mark.parametrize("sigma", [0.1, 0.4])
@pytest.mark.parametrize("value", [-1.0, -0.7, 0.0, 0.95])
def test_the_mean_is_that_of_clipped_noise(value: float, sigma: float) -> None:
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    measured = (value + sigma * noise).clamp(-1, 1).mean().item()
    assert clipped_mean(torch.tensor(value), sigma).item() == pytest.approx(measured, abs=2e-3)


@given(values, levels)
def test_unclipping_undoes_it(value: float, sigma: float) -> None:
    mean = clipped_mean(torch.full((1, 1, 1), value), sigma)
    assert unclip(mean, sigma).item() == pytest.approx(value, abs=0.01)


@given(values, levels)
def test_the_middle_of_the_range_is_left_alone(value: float, sigma: float) -> None:
    moved = (unclip(torch.full((1, 1, 1), value), sigma) - value).item()
    assert moved * value >= -1e-5  # away from the middle, if anywhere
    if abs(value) + 4 * sigma < 1:
        assert abs(moved) < 1e-3


def test_what_lies_beyond_what_noise_leaves_is_an_end_of_the_range() -> None:
    assert unclip(torch.tensor([[[-1.2, -1.0, 1.0, 3.0]]]), 0.3).tolist() == [[[-1, -1, 1, 1]]]
