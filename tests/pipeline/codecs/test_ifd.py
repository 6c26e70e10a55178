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


def with_thumbnail(thumbnail: bytes, behind: bytes = b"") -> bytes:
    """An EXIF block with a thumbnail as cameras have it, and something behind that nothing refers to."""
    block = bytearray(exif_block())
    layout = ifd.Layout.of(bytes(block))
    struct.pack_into(layout.order + "I", block, layout.entries(bytes(block), layout.first)[1], len(block))
    size = len(ifd.serialise({0x0201: layout.entry(4, 0), 0x0202: layout.entry(4, 0)}, layout.order, 0))
    second = {0x0201: layout.entry(4, len(block) + size), 0x0202: layout.entry(4, len(thumbnail))}
    return bytes(block) + ifd.serialise(second, layout.order, len(block)) + thumbnail + behind


@pytest.mark.parametrize("behind", [b"", b"maker's own"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", *HEIF])
def test_the_bytes_of_a_thumbnail_are_gone_and_no_other(format: str, behind: bytes) -> None:
    thumbnail = b"\xff\xd8" + b"the degraded picture" * 9 + b"\xff\xd9"
    image = Picture(
        np.asarray(gradient()), None, format, "RGB", Metadata(exif=with_thumbnail(thumbnail, behind))
    )
    encoded = again(decoded(again(image).data))
    assert b"degraded" not in encoded.data
    assert "thumbnail" in encoded.losses
    found = decoded(encoded.data)
    assert found.losses == ()
    assert found.metadata.exif is not None
    assert found.metadata.exif.rstrip(b"\0").endswith(behind or exif_block().rstrip(b"\0")[-4:])
    assert len(found.metadata.exif) == len(with_thumbnail(thumbnail, behind) if behind else exif_block())


@pytest.mark.parametrize("offset", [0, 4, 8, 1 << 20])
def test_a_thumbnail_that_lies_about_its_place_takes_nothing_with_it(offset: int) -> None:
    block = bytearray(with_thumbnail(b"x" * 40))
    layout = ifd.Layout.of(bytes(block))
    second = layout.following(bytes(block), layout.entries(bytes(block), layout.first)[1])
    for tag, _, _, at in layout.entries(bytes(block), second)[0]:
        struct.pack_into(layout.order + "I", block, at, offset if tag == 0x0201 else 1 << 30)
    found, _ = ifd.upright(bytes(block), swapped=False)
    assert layout.directory(found, layout.first) == layout.directory(exif_block(), layout.first)
