"""TIFF directories, which TIFF files and EXIF blocks consist of, as raw values.

Values stay the bytes of the file in its byte order, so that nothing is reinterpreted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_NUMBERS = {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

SHORT, LONG, UNDEFINED = 3, 4, 7

ORIENTATION, XMP, IPTC, PHOTOSHOP, ICC = 0x0112, 0x02BC, 0x83BB, 0x8649, 0x8773
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
_NESTED = (EXIF_IFD, GPS_IFD, INTEROP_IFD)
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_THUMBNAIL = ((0x0201, 0x0202), (0x0111, 0x0117))
"""Tags with the offsets and the lengths of a thumbnail: of a JPEG, and of strips."""


@dataclass(frozen=True)
class Entry:
    """One value of a directory: its TIFF type, its count, and its bytes in the file's order."""

    kind: int
    count: int
    value: bytes


Directory = dict[int, "Entry | Directory"]
"""Tag to value; EXIF, GPS and interoperability directories are nested."""


@dataclass(frozen=True)
class Layout:
    """Byte order and pointer width of a TIFF structure."""

    order: str
    big: bool
    first: int
    """Offset of the first directory."""

    @classmethod
    def of(cls, data: bytes) -> Layout:
        """Read the header. Raises `ValueError` if it is not one of TIFF."""
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None or len(data) < 8:
            raise ValueError("not a TIFF structure")
        if (version := _unpack(order, "H", data, 2)) == 42:
            return cls(order, False, _unpack(order, "I", data, 4))
        if version == 43:
            return cls(order, True, _unpack(order, "Q", data, 8))
        raise ValueError(f"unknown TIFF version {version}")

    def entries(self, data: bytes, offset: int) -> tuple[list[tuple[int, int, int, int]], int]:
        """The directory at `offset` as (tag, type, count, offset of the value), and the offset of its link to
        the next directory. Raises `struct.error` if it ends beyond the data."""
        width, head, pointer = (20, 8, "Q") if self.big else (12, 2, "I")
        count = _unpack(self.order, "Q" if self.big else "H", data, offset)
        first, link = offset + head, offset + head + count * width
        if link > len(data):
            raise struct.error("the directory ends beyond the data")
        found = []
        for at in range(first, link, width):
            tag, kind, number = struct.unpack_from(self.order + "HH" + pointer, data, at)
            inline = at + (12 if self.big else 8)
            fits = number * _SIZES.get(kind, 1) <= (8 if self.big else 4)
            found.append((tag, kind, number, inline if fits else _unpack(self.order, pointer, data, inline)))
        return found, link

    def following(self, data: bytes, link: int) -> int:
        """Offset of the next directory, 0 at the end."""
        return _unpack(self.order, "Q" if self.big else "I", data, link)

    def directory(self, data: bytes, offset: int, depth: int = 0) -> Directory:
        """The directory at `offset`; values beyond the end and unknown types are left out."""
        found: Directory = {}
        for tag, kind, count, at in self.entries(data, offset)[0]:
            size = count * _SIZES.get(kind, 0)
            if size == 0 or at + size > len(data):
                continue
            entry = Entry(kind, count, data[at : at + size])
            if tag in _NESTED and depth < 2:
                try:
                    found[tag] = self.directory(data, self.numbers(entry)[0], depth + 1)
                except (struct.error, ValueError):
                    continue
            else:
                found[tag] = entry
        return found

    def numbers(self, entry: Entry) -> tuple[int, ...]:
        """The integers of an entry. Raises `ValueError` if it has another type."""
        if entry.kind not in _NUMBERS:
            raise ValueError(f"TIFF type {entry.kind} is not an integer")
        return struct.unpack(f"{self.order}{entry.count}{_NUMBERS[entry.kind]}", entry.value)

    def entry(self, kind: int, *values: int) -> Entry:
        """Make an entry of integers in this byte order."""
        return Entry(kind, len(values), struct.pack(f"{self.order}{len(values)}{_NUMBERS[kind]}", *values))


def serialise(directory: Directory, order: str, offset: int) -> bytes:
    """The bytes of a directory placed at `offset` (even), followed by its values and nested directories."""
    table = struct.pack(order + "H", len(directory))
    tail = bytearray()
    after = offset + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        if isinstance(value, dict):
            table += struct.pack(order + "HHII", tag, LONG, 1, after + len(tail))
            tail += serialise(value, order, after + len(tail))
            continue
        table += struct.pack(order + "HHI", tag, value.kind, value.count)
        if len(value.value) <= 4:
            table += value.value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", after + len(tail))
            tail += value.value + b"\0" * (len(value.value) % 2)
    return bytes(table + b"\0\0\0\0" + tail)


def header(order: str, first: int = 8) -> bytes:
    """The eight bytes at the start of a TIFF structure."""
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, first)


def orientation(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1 if it has no valid one."""
    try:
        layout = Layout.of(exif)
        for tag, kind, count, at in layout.entries(exif, layout.first)[0]:
            if tag == ORIENTATION and kind == SHORT and count == 1:
                value = _unpack(layout.order, "H", exif, at)
                return value if 1 <= value <= 8 else 1
    except (struct.error, ValueError):
        pass
    return 1


def dimensions(exif: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels from an EXIF block, or None."""
    try:
        layout = Layout.of(exif)
        nested = layout.directory(exif, layout.first).get(EXIF_IFD)
        found = [nested[tag] for tag in (_PIXEL_X, _PIXEL_Y)] if isinstance(nested, dict) else []
        across, down = (layout.numbers(entry)[0] for entry in found if isinstance(entry, Entry))
        return across, down
    except (struct.error, LookupError, ValueError):
        pass
    return None


def upright(exif: bytes, *, swapped: bool) -> tuple[bytes, bool]:
    """Adapt an EXIF block to an image whose orientation was applied to its pixels.

    The orientation becomes 1, the pixel dimensions are swapped if `swapped`, and the thumbnail, which still
    shows the degraded image, is erased with the link to it. All is patched in place, and the thumbnail cut
    off only at the end: maker notes hold offsets that would be wrong after a move.

    Returns:
        The block, and whether it had a thumbnail.
    """
    block = bytearray(exif)
    try:
        layout = Layout.of(exif)
        if layout.big:
            raise ValueError("EXIF is never a BigTIFF")
        entries, link = layout.entries(exif, layout.first)
        for tag, _, _, at in entries:
            if tag == ORIENTATION:
                struct.pack_into(layout.order + "H", block, at, 1)
            if tag == EXIF_IFD and swapped:
                _swap_dimensions(block, layout, _unpack(layout.order, "I", exif, at))
        second = layout.following(exif, link)
        struct.pack_into(layout.order + "I", block, link, 0)
    except (struct.error, ValueError):
        return exif, False  # damaged EXIF is kept as it is: no reader takes an orientation from it
    if second:
        _erase_thumbnail(block, layout, second)
    return bytes(block), second != 0


def without_orientation(exif: bytes) -> bytes:
    """An EXIF block without its orientation entry; only the entries after it are moved."""
    try:
        layout = Layout.of(exif)
        if layout.big:
            raise ValueError("EXIF is never a BigTIFF")
        entries, link = layout.entries(exif, layout.first)
        count = len(entries)
        index = [tag for tag, *_ in entries].index(ORIENTATION)
    except (struct.error, ValueError):
        return exif  # damaged, or without an orientation
    table = layout.first + 2
    moved = exif[table + 12 * (index + 1) : link + 4] + bytes(12)
    return b"".join(
        [
            exif[: layout.first],
            struct.pack(layout.order + "H", count - 1),
            exif[table : table + 12 * index],
            moved,
            exif[link + 4 :],
        ]
    )


def _erase_thumbnail(block: bytearray, layout: Layout, second: int) -> None:
    """Fill the directory at `second` and its thumbnail with zeros, or cut them off at the end.

    What the first directory refers to stays, should a damaged block have it in the same place.
    """
    data = bytes(block)
    gone, kept = (_marked(data, _spans(data, layout, start)) for start in (second, layout.first))
    tags = layout.directory(data, second)
    for offsets, lengths in _THUMBNAIL:
        places, sizes = tags.get(offsets), tags.get(lengths)
        if isinstance(places, Entry) and isinstance(sizes, Entry):
            pairs = zip(layout.numbers(places), layout.numbers(sizes), strict=False)
            gone |= _marked(data, ((place, place + size) for place, size in pairs))
    kept[:8] = True  # the header
    gone &= ~kept
    erased = np.where(gone, np.uint8(0), np.frombuffer(data, np.uint8))
    block[:] = erased[: np.flatnonzero(~gone)[-1] + 1].tobytes()


def _spans(data: bytes, layout: Layout, offset: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of a directory, its values and its nested directories; none if it is damaged."""
    try:
        entries, link = layout.entries(data, offset)
    except struct.error:
        return
    yield offset, link + 4
    for tag, kind, count, at in entries:
        yield at, at + count * _SIZES.get(kind, 1)
        if tag in _NESTED and depth < 2 and at + 4 <= len(data):
            yield from _spans(data, layout, _unpack(layout.order, "I", data, at), depth + 1)


def _marked(data: bytes, spans: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which bytes lie in one of the spans."""
    marks = np.zeros(len(data), bool)
    for start, end in spans:
        marks[start:end] = True
    return marks


def _swap_dimensions(block: bytearray, layout: Layout, offset: int) -> None:
    entries, _ = layout.entries(bytes(block), offset)
    size = {tag: (kind, at) for tag, kind, count, at in entries if count == 1 and kind in (SHORT, LONG)}
    if _PIXEL_X in size and _PIXEL_Y in size:
        (kind_x, x), (kind_y, y) = size[_PIXEL_X], size[_PIXEL_Y]
        width = _unpack(layout.order, _NUMBERS[kind_x], block, x)
        height = _unpack(layout.order, _NUMBERS[kind_y], block, y)
        struct.pack_into(layout.order + _NUMBERS[kind_x], block, x, height)
        struct.pack_into(layout.order + _NUMBERS[kind_y], block, y, width)


def _unpack(order: str, code: str, data: bytes | bytearray, offset: int) -> int:
    return int(struct.unpack_from(order + code, data, offset)[0])
