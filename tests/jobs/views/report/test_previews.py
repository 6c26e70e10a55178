"""Previews: small in bytes, made once, and a store that refuses is not asked ten thousand times."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from jobs.views.report.pictures import Picture
from jobs.views.report.previews import LARGE, REFUSALS, SHARE, SMALL, Side, smaller
from pipeline.errors import ErrorCode, ItemError


@pytest.mark.parametrize(("shown", "side", "share"), [(True, SMALL, SHARE), (False, LARGE, SHARE / 2)])
def test_a_preview_takes_its_share_of_the_bytes(shown: bool, side: int, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (600, 1300, 1), dtype=np.uint16)
    roomy, tight = (smaller(pixels, size, shown=shown) for size in (50_000_000, 100_000))
    assert roomy is not None
    assert tight is not None
    assert max(Image.open(io.BytesIO(roomy)).size) == side
    assert len(tight) <= share * 100_000 < len(roomy)


def test_a_file_that_is_tiny_itself_needs_none_unless_no_browser_shows_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    assert smaller(pixels, 100, shown=True) is None
    assert smaller(pixels, 100, shown=False)


def test_a_store_that_denies_is_asked_a_few_times() -> None:
    asked = []

    def denied(picture: Picture) -> bytes:
        asked.append(picture)
        raise ItemError(ErrorCode.FORBIDDEN, "s3://b may not be read")

    side = Side(denied, lambda _: False)
    for _ in range(10):
        with pytest.raises(ItemError, match="may not be read"):
            side.bytes_of(Picture({}, ()))
    assert len(asked) == REFUSALS
    assert side.refusal == "s3://b may not be read"
