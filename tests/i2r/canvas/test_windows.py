"""Means and reaches around every pixel, against the plain sums."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from i2r.canvas.windows import MEDIAN_SIDE, averaged, local_median, widened

sides = st.integers(1, 12)


@given(height=sides, width=sides, half=st.integers(0, 4), seed=st.integers(0, 2**31 - 1))
def test_means_are_of_the_pixels_around_that_there_are(height: int, width: int, half: int, seed: int) -> None:
    x = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    means = averaged(x, 2 * half + 1)
    row, column = height // 2, width // 3
    around = x[:, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
    torch.testing.assert_close(means[:, row, column], around.mean(dim=(1, 2)))
    torch.testing.assert_close(averaged(x[None], 2 * half + 1)[0], means)


@given(height=sides, width=st.integers(1, 30), seed=st.integers(0, 2**31 - 1), several=st.booleans())
def test_a_median_is_taken_across_then_down(height: int, width: int, seed: int, several: bool) -> None:
    # Few different values: many are equal.
    x = torch.randint(0, 9, (2, height, width), generator=torch.Generator().manual_seed(seed)).float()
    around = torch.arange(MEDIAN_SIDE) - MEDIAN_SIDE // 2
    columns = (torch.arange(width)[:, None] + around).clamp(0, width - 1)
    rows = (torch.arange(height)[:, None] + around).clamp(0, height - 1)
    across = x[:, :, columns].median(dim=-1).values
    expected = across.mT[:, :, rows].median(dim=-1).values.mT
    medians = local_median(x) if several else torch.stack([local_median(one) for one in x])
    assert torch.equal(medians, expected)


@given(height=sides, width=sides, reach=st.integers(0, 4), seed=st.integers(0, 2**31 - 1))
def test_a_mask_reaches_as_far_as_it_is_told(height: int, width: int, reach: int, seed: int) -> None:
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.1
    expected = torch.zeros_like(mask)
    for row, column in mask.nonzero().tolist():
        expected[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = True
    assert torch.equal(widened(mask, reach), expected)
