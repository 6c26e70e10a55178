"""JPEG: its own quality or 95, what is not written again has its word, and what lacks a part is refused."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from broken_images import MAX_PIXELS, gradient, saved
from inks import cmyk_profile
from PIL import Image, ImageChops
from round_trips import HEIF, XMP, again, assert_named, decoded, psnr

import jobs
from pipeline.codecs import jpeg
from pipeline.codecs.codec import Metadata
from pipeline.codecs.picture import SizeLimit
from pipeline.errors import CodecError, ErrorCode


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


def photograph() -> Image.Image:
    with Image.open(Path(jobs.__file__).parent / "samples" / "clean" / "dogs.png") as image:
        return image.convert("RGB")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_lacks_a_part_of_its_image_is_refused(mode: str, options: dict[str, object]) -> None:
    data = saved("JPEG", photograph().convert(mode), quality=85, **options)
    decoded(data)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(CodecError) as caught:
            decoded(data[: int(share * len(data))] + b"\xff\xd9")
        assert caught.value.code is ErrorCode.TRUNCATED


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_with_a_hole_in_it_is_refused(progressive: bool) -> None:
    data = saved("JPEG", photograph(), quality=85, progressive=progressive)
    for share in (0.4, 0.6, 0.8):
        hole = int(share * len(data))
        with pytest.raises(CodecError) as caught:
            decoded(data[:hole] + bytes(400) + data[hole + 400 :])
        assert caught.value.code in (ErrorCode.TRUNCATED, ErrorCode.UNREADABLE)


@pytest.mark.parametrize("left", [b"\x12\x34", bytes(3000)], ids=["a few", "padding"])
def test_what_a_camera_writes_before_the_end_marker_is_no_damage(left: bytes) -> None:
    data = saved("JPEG")
    assert (decoded(data[:-2] + left + data[-2:]).pixels == decoded(data).pixels).all()


MOTION = (
    b'<rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    b'xmlns:C="http://ns.google.com/photos/1.0/container/" GCamera:BurstID="7"%s>%s</rdf:Description>'
)
MOTION_CLAIMS = (
    b" GCamera:MotionPhoto=\"1\"\n  GCamera:MotionPhotoVersion='1'",
    b"<C:Directory><rdf:Seq><rdf:li><C:Item/></rdf:li></rdf:Seq></C:Directory>"
    b"<GCamera:MicroVideoOffset>4026</GCamera:MicroVideoOffset>",
)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", *HEIF])
def test_a_motion_photo_says_that_it_has_lost_its_video(format: str) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 3
    picture = decoded(saved("JPEG", xmp=MOTION % MOTION_CLAIMS) + video)
    encoded = again(picture, format)
    assert "appended" in encoded.losses
    assert b"ftypmp42" not in encoded.data
    found = decoded(encoded.data)
    assert found.metadata.xmp == MOTION % (b"", b"")
    assert found.losses == ()


def test_bytes_of_nothing_behind_an_image_are_no_loss() -> None:
    assert decoded(saved("JPEG") + bytes(500)).losses == ()


def inks(data: bytes) -> bytes:
    """A JPEG in inks without Adobe's marker."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 16 :]


@pytest.mark.parametrize("inverted", [False, True])
def test_inks_without_adobes_marker_are_read_as_a_press_could_print_them(inverted: bool) -> None:
    plain = photograph().convert("CMYK")
    options = {"icc_profile": cmyk_profile(), "quality": 95}
    expected = decoded(saved("JPEG", plain, **options)).pixels
    stored = plain if inverted else ImageChops.invert(plain)  # Pillow inverts what it writes
    assert psnr(decoded(inks(saved("JPEG", stored, **options))).pixels, expected) > 35


def test_inks_that_do_not_show_how_they_are_stored_are_refused() -> None:
    image = Image.new("CMYK", (32, 32), (120, 130, 125, 128))
    with pytest.raises(CodecError, match="Adobe") as caught:
        decoded(inks(saved("JPEG", image, icc_profile=cmyk_profile())))
    assert caught.value.code is ErrorCode.UNSUPPORTED
