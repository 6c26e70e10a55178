"""What files of boxes hold beside their picture is named: AVIF, HEIF and JPEG 2000."""

from __future__ import annotations

import struct
from functools import partial

import numpy as np
import pytest
from broken_images import gradient
from round_trips import HEIF, again, assert_named

from pipeline.codecs.codec import Picture


def with_box(format: str, kind: bytes, body: bytes) -> bytes:
    """A file of boxes with one more at its end."""
    data = again(Picture(np.asarray(gradient()), None, format, "RGB")).data
    return data + struct.pack(">I4s", 8 + len(body), kind) + body


def with_auxiliary(format: str) -> bytes:
    """A file whose alpha is an image for another purpose."""
    pixels = np.asarray(gradient())
    data = again(Picture(pixels, pixels[..., 0], format, "RGBA")).data
    return data.replace(b":auxiliary:alpha\0", b":auxiliary:gains\0").replace(b":auxid:1\0", b":auxid:9\0")


UNKEPT = {
    "AVIF C2PA": (partial(with_box, "AVIF", b"uuid", bytes(16) + b"c2pa"), "other_metadata"),
    "AVIF gains": (partial(with_auxiliary, "AVIF"), "secondary_images"),
    "JPEG2000 XML": (partial(with_box, "JPEG2000", b"xml ", b"<gml/>"), "other_metadata"),
    "JPEG2000 place": (partial(with_box, "JPEG2000", b"uuid", bytes(16) + b"II"), "other_metadata"),
    "HEIF video": (partial(with_box, "HEIF", b"mpvd", b"moving"), "other_metadata"),
    "HEIF gains": (partial(with_auxiliary, "HEIF"), "secondary_images"),
}
UNKEPT = {name: case for name, case in UNKEPT.items() if HEIF or not name.startswith("HEIF")}


@pytest.mark.parametrize("name", UNKEPT)
def test_what_is_not_kept_is_named(name: str) -> None:
    make, loss = UNKEPT[name]
    assert_named(make(), loss)
