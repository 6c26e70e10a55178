"""Findings: numbers that can be stored, and few boxes that hide nothing."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.findings import MOST_BOXES, Action, Box, Finding, What, joined

Cells = set[tuple[int, int]]


def boxes_of(cells: Cells, side: int = 10) -> list[Box]:
    return [(side * x, side * y, side * (x + 1), side * (y + 1)) for x, y in cells]


def covered(boxes: list[Box]) -> set[tuple[int, int]]:
    return {
        (x, y)
        for left, top, right, bottom in boxes
        for x, y in product(range(left, right, 10), range(top, bottom, 10))
    }


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_joined_boxes_are_few_and_cover_all_that_they_are_made_of(cells: Cells) -> None:
    found = joined(boxes_of(cells))
    assert len(found) <= min(MOST_BOXES, len(cells))
    assert covered(found) >= covered(boxes_of(cells))
    if len(found) < MOST_BOXES:
        assert covered(found) == covered(boxes_of(cells))
    assert found == joined(found) or len(found) == MOST_BOXES


def test_a_whole_block_is_one_box() -> None:
    assert joined(boxes_of(set(product(range(3), range(2))))) == [(0, 0, 30, 20)]
    assert joined([]) == []


@pytest.mark.parametrize("values", [{"confidence": 1.1}, {"share": -0.1}, {"confidence": math.nan}])
@pytest.mark.parametrize("gain", [None, 3.0])
def test_numbers_lie_in_their_range(values: dict[str, float], gain: float | None) -> None:
    numbers = {"confidence": 0.9, "share": 0.1} | values
    with pytest.raises(ValueError, match=r"is not in \[0, 1\]"):
        Finding(What.BLUR, action=Action.REMAINS, gain=gain, **numbers)


@pytest.mark.parametrize("gain", [math.nan, np.inf])
def test_a_gain_that_is_not_known_is_none(gain: float) -> None:
    with pytest.raises(ValueError, match="give None"):
        Finding(What.NOISE, 1.0, 1.0, Action.CORRECTED, gain)


def test_it_knows_where_it_lies() -> None:
    everywhere = Finding(What.NOISE, 0.99, 1.0, Action.SUSPECTED)
    here = Finding(What.MARKS, 0.99, 0.1, Action.SUSPECTED, parameters={"boxes": [[0, 8, 16, 24]]})
    assert (everywhere.boxes, here.boxes) == ([], [(0, 8, 16, 24)])
