"""PNG: which chunks stay, which are named, and what a single transparent colour becomes."""

from __future__ import annotations

import struct
from functools import partial

import imagecodecs
import numpy as np
import pytest
from broken_images import gradient, png_chunk, saved
from round_trips import again, assert_named, decoded, smooth


def with_chunk(kind: bytes, body: bytes, mode: str = "RGB") -> bytes:
    """A PNG with one more chunk behind its header."""
    data = saved("PNG", gradient().convert(mode))
    return data[:33] + png_chunk(kind, body) + data[33:]


UNKEPT = {
    "C2PA": (partial(with_chunk, b"caBX", b"c2pa"), "other_metadata"),
    "own": (partial(with_chunk, b"prVT", b"mine"), "other_metadata"),
    "palette background": (partial(with_chunk, b"bKGD", b"\0", "P"), "other_metadata"),
    "raw profile": (partial(with_chunk, b"tEXt", b"Raw profile type own\0\n"), "other_metadata"),
    "damaged profile": (partial(with_chunk, b"iCCP", b"name\0\0damaged"), "other_metadata"),
}


@pytest.mark.parametrize("name", UNKEPT)
def test_what_is_not_kept_is_named(name: str) -> None:
    make, loss = UNKEPT[name]
    assert_named(make(), loss)


@pytest.mark.parametrize(
    ("kind", "body", "mode"),
    [
        (b"bKGD", b"\0\1\0\2\0\3", "RGB"),
        (b"bKGD", b"\0\1", "L"),
        (b"cLLI", bytes(8), "RGB"),
        (b"mDCV", bytes(24), "RGB"),
        (b"pHYs", struct.pack(">IIB", 2, 1, 0), "RGB"),
        (b"oFFs", struct.pack(">iiB", 5, 6, 0), "P"),
        (b"vpAg", struct.pack(">IIB", 100, 70, 0), "RGB"),
        (b"sTER", b"\1", "RGB"),
        (b"tIME", b"\x07\x77\5\1\0\0\0", "RGB"),
    ],
)
def test_chunks_that_still_hold_stay_in_a_png(kind: bytes, body: bytes, mode: str) -> None:
    picture = decoded(with_chunk(kind, body, mode))
    encoded = again(picture)
    assert encoded.losses == picture.losses == (("palette",) if mode == "P" else ())
    assert png_chunk(kind, body) in encoded.data
    assert "chunks" in again(picture, "WEBP").losses


@pytest.mark.parametrize("kind", [b"sBIT", b"iDOT", b"hIST"])
def test_chunks_about_the_layout_are_no_loss(kind: bytes) -> None:
    assert decoded(with_chunk(kind, b"\5\6\5")).losses == ()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_transparent_colour_becomes_alpha(depth: int, channels: int) -> None:
    pixels = smooth(8, 9, channels, depth, 1)
    data = imagecodecs.png_encode(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    key = png_chunk(b"tRNS", struct.pack(f">{channels}H", *pixels[2, 3].tolist()))
    picture = decoded(data[:33] + key + data[33:])
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, (pixels == pixels[2, 3]).all(axis=2))
    np.testing.assert_array_equal(picture.pixels, pixels)
