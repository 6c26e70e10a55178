"""HEIF: its own properties turn an image, its EXIF does not."""

from __future__ import annotations

import numpy as np
import pytest
from broken_images import gradient
from round_trips import HEIF, again, decoded, exif_block, psnr

from pipeline.codecs.codec import Metadata, Picture


@pytest.mark.skipif(not HEIF, reason="needs pillow-heif")
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_alone_turns_no_heif(turn: int) -> None:
    pixels = np.asarray(gradient())
    plain = again(Picture(pixels, None, "HEIF", "RGB", Metadata(exif=exif_block(1)))).data
    picture = decoded(plain.replace(exif_block(1), exif_block(turn)))
    assert psnr(picture.pixels, pixels) > 30
    assert picture.metadata.exif == exif_block(1)
