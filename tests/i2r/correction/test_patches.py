"""The tests of patches of noise, on noise whose distribution is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.correction.patches import normality, rectify_patches
from i2r.correction.strategies import STRATEGY

SIDE = STRATEGY.patch_side


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_p_values_of_normal_noise_are_no_smaller_than_they_should_be(channels: int) -> None:
    p_values = normality(_noise(20_000, channels, SIDE, SIDE))
    for rate in (0.2, 0.05, 0.01):
        assert (p_values <= rate).double().mean() == pytest.approx(rate, rel=0.25)


@pytest.mark.parametrize(
    "change",
    [lambda x: 0.7 * x, lambda x: 1.35 * x, lambda x: x + 0.4, lambda x: (x + x.roll(1, -1)) / 2**0.5],
    ids=["weak", "strong", "shifted", "smooth"],
)
def test_what_is_not_white_normal_noise_fails(change: object) -> None:
    assert callable(change)
    assert (normality(change(_noise(500, 3, SIDE, SIDE))) < 0.01).double().mean() > 0.9


@given(
    height=st.integers(SIDE, 50), width=st.integers(SIDE, 50), strong=st.booleans(), seed=st.integers(0, 99)
)
def test_only_patches_that_fail_are_moved_and_no_further_than_to_normal(
    height: int, width: int, strong: bool, seed: int
) -> None:
    eps = _noise(3, height, width, seed=seed)
    if strong:
        eps[:, :SIDE, :SIDE] *= 3
    rectified, moved = rectify_patches(eps, 0.01, SIDE)
    assert rectified.shape == eps.shape
    assert torch.equal(rectified[:, ~moved], eps[:, ~moved])
    assert moved[:SIDE, :SIDE].all() if strong else moved.double().mean() < 0.5
    if strong:
        before, after = (x[:, :SIDE, :SIDE].flatten() for x in (eps, rectified))
        assert torch.equal(before.argsort(), after.argsort())
        assert (normality(after.view(1, 3, SIDE, SIDE)) > normality(before.view(1, 3, SIDE, SIDE))).all()
        assert after.std() == pytest.approx(1, abs=0.03)
