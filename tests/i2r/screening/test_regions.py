"""Regions cover an image, each about as large as the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from i2r.screening.regions import regions


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_regions_cover_every_pixel_once(height: int, width: int) -> None:
    parts = regions(height, width)
    assert sum((r.stop - r.start) * (c.stop - c.start) for r, c in parts) == height * width
    assert len(set(map(str, parts))) == len(parts)
    for side, cut in ((height, 0), (width, 1)):
        lengths = [part[cut].stop - part[cut].start for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) <= max(side if side < 192 else 0, 288)
