"""WebP: gray stays gray, and a chunk of another's making is named."""

from __future__ import annotations

import struct

from broken_images import gradient, saved
from round_trips import again, assert_named, decoded


def with_riff(kind: bytes) -> bytes:
    """A WebP with one more chunk at its end."""
    data = saved("WEBP") + kind + struct.pack("<I", 4) + b"more"
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def test_a_chunk_that_is_not_kept_is_named() -> None:
    assert_named(with_riff(b"C2PA"), "other_metadata")


def test_gray_webp_stays_gray() -> None:
    for lossless in (False, True):
        picture = decoded(saved("WEBP", gradient().convert("L"), lossless=lossless))
        assert (picture.pixels.shape, picture.lossless) == ((64, 96, 1), lossless)
        assert decoded(again(picture).data).pixels.shape == (64, 96, 1)
