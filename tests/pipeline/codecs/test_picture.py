"""Pictures can be pickled, and hold no resolution that is nonsense."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from broken_images import saved
from round_trips import decoded, exif_block

from pipeline.codecs.codec import Metadata, Picture


@pytest.mark.parametrize("dpi", [(0.0, 300.0), (1e9, 1e9), (float("nan"), 300.0), (-72.0, 72.0)])
def test_a_resolution_that_is_nonsense_is_none(dpi: tuple[float, float]) -> None:
    assert Metadata(dpi=dpi).dpi is None


def test_pictures_can_be_pickled() -> None:
    picture = decoded(saved("PNG", exif=b"Exif\0\0" + exif_block()))
    copy = pickle.loads(pickle.dumps(picture))  # noqa: S301
    np.testing.assert_array_equal(copy.pixels, picture.pixels)
    assert copy.metadata == picture.metadata


@pytest.mark.parametrize(("alpha", "hidden"), [((255, 255), None), ((255, 1), None), ((0, 7), [True, False])])
def test_what_is_wholly_transparent_is_hidden(alpha: tuple[int, int], hidden: list[bool] | None) -> None:
    pixels = np.full((1, 2, 3), 90, np.uint8)
    picture = Picture(pixels, np.array([alpha], np.uint8), "PNG", "RGBA")
    assert (picture.hidden if hidden is None else picture.hidden.tolist()) == (hidden and [hidden])  # type: ignore[union-attr]
    assert Picture(pixels, None, "PNG", "RGB").hidden is None
