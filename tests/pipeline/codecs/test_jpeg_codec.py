"""JPEG: its own quality or 95, and every segment that is not written again has its word."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from broken_images import MAX_PIXELS, gradient, saved
from PIL import Image
from round_trips import XMP, again, assert_named, decoded, psnr

from pipeline.codecs import jpeg
from pipeline.codecs.codec import Metadata
from pipeline.codecs.picture import SizeLimit


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 97, 100])
def test_a_jpeg_comes_back_at_its_own_quality_or_95(quality: int) -> None:
    picture = decoded(saved("JPEG", quality=quality))
    assert picture.quality == pytest.approx(quality, abs=1)
    with Image.open(io.BytesIO(again(picture).data)) as written:
        assert jpeg.estimate_quality(written.quantization) == pytest.approx(max(quality, 95), abs=1)
        assert [layer[1:3] for layer in written.layer] == [(1, 1)] * 3


def with_segment(marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment at its beginning."""
    data = saved("JPEG")
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


UNKEPT = {
    "C2PA": (partial(with_segment, 0xEB, b"JP\0\1c2pa"), "other_metadata"),
    "Ducky": (partial(with_segment, 0xEC, b"Ducky\0\0"), "other_metadata"),
    "thermal": (partial(with_segment, 0xE1, b"FLIR\0\1\0\1"), "other_metadata"),
    "FlashPix": (partial(with_segment, 0xE2, b"FPXR\0\0"), "other_metadata"),
    "old Photoshop": (partial(with_segment, 0xED, b"Adobe_CM\0\2"), "other_metadata"),
    "preview": (partial(with_segment, 0xE0, b"JFXX\0\x13\1\1abc"), "thumbnail"),
    "JFIF preview": (
        partial(with_segment, 0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1abc"),
        "thumbnail",
    ),
}


@pytest.mark.parametrize("name", UNKEPT)
def test_what_is_not_kept_is_named(name: str) -> None:
    make, loss = UNKEPT[name]
    assert_named(make(), loss)


def test_each_comment_but_the_last_is_named() -> None:
    data = with_segment(0xFE, b"first")
    assert decoded(data).losses == ()
    picture = decoded(data[:2] + with_segment(0xFE, b"second")[2:13] + data[2:])
    assert (picture.metadata.comment, picture.losses) == (b"first", ("comment",))


def test_a_jpeg_names_every_part_that_it_loses() -> None:
    data = with_segment(0xE2, b"MPF\0")
    extension = with_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0")[2:]
    assert jpeg.read(data[:10] + extension, SizeLimit(MAX_PIXELS)).losses == ("secondary_images", "xmp")


def test_second_pictures_in_a_jpeg_are_left_out_by_name() -> None:
    picture = decoded(saved("MPO", save_all=True, append_images=[gradient().rotate(180)]))
    assert (picture.format, picture.losses) == ("JPEG", ("secondary_images",))
    assert psnr(picture.pixels, np.asarray(gradient())) > 30


def test_metadata_too_long_for_a_jpeg_is_named() -> None:
    picture = replace(decoded(saved("JPEG")), metadata=Metadata(xmp=XMP * 2000, comment=b"kept"))
    encoded = again(picture)
    assert encoded.losses == ("xmp",)
    assert decoded(encoded.data).metadata == Metadata(comment=b"kept", dpi=decoded(encoded.data).metadata.dpi)
