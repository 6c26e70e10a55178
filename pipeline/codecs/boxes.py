"""Boxes of the ISO base media file format, which AVIF, HEIF and JPEG 2000 share."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the body of each box; the end may lie beyond the data, and is then the last."""
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


def find(data: bytes, *path: bytes) -> tuple[int, int] | None:
    """The body of the first box along `path`, a box inside a box and so on."""
    start, end = 0, len(data)
    for name in path:
        for kind, low, high in walk(data, start, end):
            if kind == name:
                # `meta` is a full box: four bytes of version and flags stand before its children.
                start, end = low + (4 if kind == b"meta" else 0), min(high, end)
                break
        else:
            return None
    return start, end


def pack(kind: bytes, body: bytes) -> bytes:
    """One box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def is_truncated(data: bytes) -> bool:
    """Whether the last box ends beyond the data, or breaks off inside its header."""
    reached = 0
    for _, _, end in walk(data):
        reached = end
    return reached != len(data)
