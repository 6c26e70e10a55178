"""What is computed in parts is what is computed at once."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.canvas import bands as module
from i2r.canvas.bands import bands, finite, in_bands, in_planes


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIXELS", 100)


@given(height=st.integers(1, 300), width=st.integers(1, 300), step=st.integers(1, 16))
def test_bands_cover_the_rows_once(height: int, width: int, step: int) -> None:
    cut = list(bands(height, width, step))
    assert [row for rows in cut for row in range(rows.start, rows.stop)] == list(range(height))
    assert all(rows.start % step == 0 for rows in cut)
    assert all((rows.stop - rows.start) * width <= max(100, step * width) for rows in cut)


def test_bands_are_put_together() -> None:
    x, y = torch.rand(2, 3, 50, 7)
    together: list[int] = []

    def local(x: Tensor, y: Tensor) -> Tensor:
        together.append(x.shape[1])
        return x + 2 * y

    assert torch.equal(in_bands(local, x, y), x + 2 * y)
    assert together == [14, 14, 14, 8]


def test_canvases_and_results_may_be_smaller() -> None:
    x, small = torch.rand(3, 96, 8), torch.rand(3, 24, 2)

    def local(x: Tensor, small: Tensor) -> Tensor:
        return F.avg_pool2d(x, 8) + F.avg_pool2d(small, 2)

    torch.testing.assert_close(in_bands(local, x, small, step=8), local(x, small))


def test_a_canvas_is_written_over_in_place() -> None:
    x = torch.rand(3, 40, 9)
    twice, part = 2 * x, x[:, :, :5]
    assert in_bands(lambda x: 2 * x, part, out=part) is part
    assert torch.equal(x[:, :, :5], twice[:, :, :5])
    assert torch.equal(2 * x[:, :, 5:], twice[:, :, 5:])


@pytest.mark.parametrize("side", [4, 30])
def test_channels_are_put_together(side: int) -> None:
    x, y = torch.rand(2, 3, side, side)
    assert torch.equal(in_planes(lambda x, y: x.cumsum(1) + y.mT, x, y), x.cumsum(1) + y.mT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_seen(value: float) -> None:
    x, y = torch.rand(2, 3, 20, 30)
    assert finite(x, y[:, :-1, 1:])
    y[1, 4, 5] = value
    assert not finite(x, y[:, :-1, 1:])
