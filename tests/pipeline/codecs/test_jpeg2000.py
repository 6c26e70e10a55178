"""JPEG 2000: depths between 8 and 16 bits, bare code streams, and a resolution."""

from __future__ import annotations

import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from broken_images import gradient
from round_trips import XMP, again, assert_named, decoded, exif_block, smooth

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS, Metadata, Picture


def with_resolution() -> bytes:
    """A JPEG 2000 with a resolution in its header box."""
    data = again(Picture(np.asarray(gradient()), None, "JPEG2000", "RGB")).data
    at = data.index(b"jp2h") - 4
    length = struct.unpack_from(">I", data, at)[0]
    more = struct.pack(">I4sI4sHHHHbb", 26, b"res ", 18, b"resc", 11811, 1, 11811, 1, 0, 0)
    head = struct.pack(">I", length + len(more)) + data[at + 4 : at + length] + more
    return data[:at] + head + data[at + length :]


def test_a_resolution_is_named() -> None:
    assert_named(with_resolution(), "dpi")


@pytest.mark.parametrize("bits", [10, 12])
def test_jpeg_2000_of_other_depths_fills_16_bits(bits: int) -> None:
    samples = smooth(20, 30, 3, 16, 1) >> (16 - bits)
    data = imagecodecs.jpeg2k_encode(samples, codecformat="jp2", reversible=True, level=0, bitspersample=bits)
    picture = decoded(data)
    expected = np.rint(samples / (2**bits - 1) * 65535).astype(np.uint16)
    np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_bare_code_stream_stays_one(mode: str, bits: int) -> None:
    assert {SUPPORTED_EXTENSIONS[extension] for extension in (".j2k", ".j2c", ".jpc")} == {"JPEG2000"}
    pixels = smooth(20, 30, 1 if mode[0] == "L" else 3, bits, 1)
    alpha = smooth(20, 30, 1, bits, 2)[..., 0] if mode.endswith("A") else None
    stored = imagecodecs.jpeg2k_encode(
        np.squeeze(pixels if alpha is None else np.dstack([pixels, alpha])),
        level=0,
        reversible=True,
        codecformat="j2k",
    )
    picture = decoded(bytes(stored))
    assert picture.bare
    np.testing.assert_array_equal(picture.pixels, pixels)
    encoded = again(picture)
    assert encoded.data.startswith(b"\xff\x4f\xff\x51")
    assert encoded.losses == ()
    found = decoded(encoded.data)
    np.testing.assert_array_equal(found.pixels, pixels)
    if alpha is not None and found.alpha is not None:
        np.testing.assert_array_equal(found.alpha, alpha)
    assert again(picture, "JPEG2000").data == encoded.data
    assert not decoded(again(decoded(again(picture, "PNG").data), "JPEG2000").data).bare
    told = replace(picture, metadata=Metadata(exif=exif_block(), xmp=XMP))
    assert again(told).losses == ("exif", "xmp")
