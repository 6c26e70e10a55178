"""Overlays drawn over photographs, and their labels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from i2r.training.overlay_drawing import VISIBLE, draw_overlay

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(24, 112), st.integers(24, 112))
def test_what_is_said_to_be_covered_is(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    before = image.copy()
    drawn, covered = draw_overlay(image, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    assert drawn.dtype == covered.dtype == np.float32
    assert drawn.shape == image.shape
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    change = np.abs(drawn - image).max(axis=-1)
    np.testing.assert_array_equal(covered == 1, change > VISIBLE)
    assert set(np.unique(covered[np.isfinite(covered)])) <= {0, 1}


@given(SEEDS)
def test_the_same_seed_draws_the_same(seed: int) -> None:
    image = np.full((48, 64, 3), 0.4, np.float32)
    first, again = (draw_overlay(image, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_most_draws_show_and_few_hide_the_scene() -> None:
    image = np.full((112, 112, 3), 0.45, np.float32)
    shares = [(draw_overlay(image, np.random.default_rng(seed))[1] == 1).mean() for seed in range(200)]
    assert np.mean(np.array(shares) > 0) > 0.9
    assert 0.005 < np.median(shares) < 0.1
    assert np.quantile(shares, 0.95) < 0.5
