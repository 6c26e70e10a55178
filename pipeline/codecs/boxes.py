"""Boxes of the ISO base media file format, which AVIF, HEIF and JPEG 2000 share."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_OF_A_PICTURE = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"wide"}
_ALPHAS = (b":auxiliary:alpha", b":auxid:1")
PADDING = b"\0\0\0\0"


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of the body of each box; the end of the last may be beyond the data."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            length, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        elif length == 0:
            length = end - at
        if length < head:
            return
        yield kind, at + head, at + length
        at += length


def has_others(data: bytes) -> bool:
    """Whether an AVIF or HEIF file has boxes other than its picture's: videos, signed histories, others."""
    return any(kind not in _OF_A_PICTURE and kind != PADDING for kind, _, _ in walk(data))


def has_auxiliary_images(data: bytes) -> bool:
    """Whether an AVIF or HEIF file has images besides its own and its alpha: gain maps, depths, mattes."""
    found = find(data, b"meta", b"iprp", b"ipco")
    return found is not None and any(
        kind == b"auxC" and not data[start + 4 : end].split(b"\0")[0].endswith(_ALPHAS)
        for kind, start, end in walk(data, *found)
    )


def find(data: bytes, *path: bytes) -> tuple[int, int] | None:
    """(start, end) of the body of the first box along `path`, each box inside the one before; or None."""
    start, end = 0, len(data)
    for name in path:
        for kind, low, high in walk(data, start, end):
            if kind == name:
                # `meta` is a full box: four bytes of version and flags come before its children.
                start, end = low + (4 if kind == b"meta" else 0), min(high, end)
                break
        else:
            return None
    return start, end


def pack(kind: bytes, body: bytes) -> bytes:
    """The bytes of one box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def is_truncated(data: bytes) -> bool:
    """Whether the last box ends beyond the data, or the data end inside its header."""
    reached = 0
    for _, _, end in walk(data):
        reached = end
    return reached != len(data)
