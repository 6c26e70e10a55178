"""The thumbnail of an EXIF block is cut off."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from broken_images import gradient
from round_trips import HEIF, again, decoded, exif_block

from pipeline.codecs import ifd
from pipeline.codecs.codec import Metadata, Picture


@pytest.mark.parametrize("format", ["JPEG", *HEIF])
def test_an_exif_thumbnail_does_not_outlive_the_image_it_shows(format: str) -> None:
    block = bytearray(exif_block())
    layout = ifd.Layout.of(bytes(block))
    _, link = layout.entries(bytes(block), layout.first)
    struct.pack_into(layout.order + "I", block, link, layout.first)
    image = Picture(np.asarray(gradient()), None, format, "RGB", Metadata(exif=bytes(block)))
    picture = decoded(again(image).data)
    assert picture.losses == ("thumbnail",)
    assert picture.metadata.exif is not None
    assert layout.following(picture.metadata.exif, link) == 0
