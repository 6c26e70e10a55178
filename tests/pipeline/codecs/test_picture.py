"""Pictures can be pickled, and hold no resolution that is nonsense."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from broken_images import saved
from round_trips import decoded, exif_block

from pipeline.codecs.codec import Metadata


@pytest.mark.parametrize("dpi", [(0.0, 300.0), (1e9, 1e9), (float("nan"), 300.0), (-72.0, 72.0)])
def test_a_resolution_that_is_nonsense_is_none(dpi: tuple[float, float]) -> None:
    assert Metadata(dpi=dpi).dpi is None


def test_pictures_can_be_pickled() -> None:
    picture = decoded(saved("PNG", exif=b"Exif\0\0" + exif_block()))
    copy = pickle.loads(pickle.dumps(picture))  # noqa: S301
    np.testing.assert_array_equal(copy.pixels, picture.pixels)
    assert copy.metadata == picture.metadata
