"""PNM: any maximum, in digits or bytes, and comments."""

from __future__ import annotations

import numpy as np
import pytest
from broken_images import saved
from round_trips import assert_named, decoded


@pytest.mark.parametrize("maximum", [15, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_of_any_maximum(kind: int, maximum: int) -> None:
    channels = 3 if kind in (3, 6) else 1
    values = np.random.default_rng(1).integers(0, maximum + 1, (5, 7, channels))
    header = b"P%d # made by hand\n7 5\n%d\n" % (kind, maximum)
    if kind < 4:
        body = b" ".join(b"%d" % value for value in values.ravel())
    else:
        body = values.astype(">u2" if maximum > 255 else "u1").tobytes()
    picture = decoded(header + body)
    full = 65535 if maximum > 255 else 255
    assert picture.pixels.dtype.itemsize == (2 if maximum > 255 else 1)
    assert np.abs(picture.pixels - values / maximum * full).max() <= 1


def test_a_comment_is_named() -> None:
    assert_named(saved("PPM").replace(b"P6\n", b"P6\n# Created by hand\n"), "comment")
