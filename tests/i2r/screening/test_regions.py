"""Regions cover an image, each about as large as the others."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from i2r.screening.regions import adjoining, by_region, regions, touched


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_regions_cover_every_pixel_once(height: int, width: int) -> None:
    parts = regions(height, width)
    assert sum((r.stop - r.start) * (c.stop - c.start) for r, c in parts) == height * width
    assert len(set(map(str, parts))) == len(parts)
    for side, cut in ((height, 0), (width, 1)):
        lengths = [part[cut].stop - part[cut].start for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) <= max(side if side < 192 else 0, 288)


@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_regions_are_measured_in_their_order(height: int, width: int) -> None:
    parts, image = regions(height, width), torch.arange(height * width).view(height, width)
    sums = by_region([lambda stack: stack.sum(dim=(1, 2))], image)
    assert sums[:, 0].tolist() == [image[part].sum().item() for part in parts]


def test_regions_that_a_mask_touches_and_those_beside_them() -> None:
    mask = torch.zeros(600, 800, dtype=torch.bool)  # three by four regions
    mask[0, 0] = mask[599, 799] = True
    assert touched(mask) == {0, 11}
    assert adjoining(600, 800, [0]) == {0, 1, 4, 5}
    assert adjoining(600, 800, [5]) == {0, 1, 2, 4, 5, 6, 8, 9, 10}
    assert not adjoining(600, 800, [])
