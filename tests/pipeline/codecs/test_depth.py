"""Depths are changed without a loss that rounding does not explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from pipeline.codecs.depth import from_float, to_float


@given(arrays.arrays(np.uint16, (3, 4, 3)))
def test_sixteen_bits_come_back(image: np.ndarray) -> None:
    floats = to_float(image)
    assert floats.dtype == np.float32
    assert floats.min() >= 0
    assert floats.max() <= 1
    np.testing.assert_array_equal(from_float(floats, np.dtype(np.uint16)), image)


def test_eight_bits_come_back() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(from_float(to_float(image), np.dtype(np.uint8)), image)


def test_values_out_of_range_are_held_to_it_and_the_rest_is_rounded() -> None:
    image = np.array([-0.5, 0.4 / 255, 0.6 / 255, 1.5], np.float32).reshape(2, 2, 1)
    given = image.copy()
    assert from_float(image, np.dtype(np.uint8)).flatten().tolist() == [0, 0, 1, 255]
    np.testing.assert_array_equal(image, given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_floats(dtype: type) -> None:
    image = np.array([0.25, 1.5], dtype).reshape(1, 2, 1)
    assert from_float(image, np.dtype(np.float32)).tolist() == image.tolist()
    assert to_float(image).dtype == np.float32
