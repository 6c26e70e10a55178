"""PBM, PGM and PPM, plain or raw, 8 or 16 bits."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL.PpmImagePlugin import PpmImageFile

from pipeline.codecs import raster
from pipeline.codecs.picture import Loss, Picture, SizeLimit
from pipeline.errors import CodecError, ErrorCode

EXTENSIONS = (".ppm", ".pgm", ".pbm", ".pnm")
KEEPS = frozenset({Loss.BIT_DEPTH})

_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])"
_SIZE = re.compile(rb"P([1-6])" + _BLANK + rb"+(\d{1,10})" + _BLANK + rb"+(\d{1,10})")
_MAXIMUM = re.compile(_BLANK + rb"+(\d{1,10})\s")


def read(data: bytes, limit: SizeLimit) -> Picture:
    kind, width, height, maximum, start = _header(data)
    limit.check(width, height)
    losses: tuple[str, ...] = ()
    if maximum <= 255:
        opened = PpmImageFile(io.BytesIO(data))
        mode = opened.mode
        pixels, _, losses = raster.bands(opened, limit)
    else:
        channels = 3 if kind in (3, 6) else 1
        mode = "RGB;16" if channels == 3 else "I;16"
        pixels = _samples(data, start, width * height * channels, raw=kind > 3, maximum=maximum)
        pixels = pixels.reshape(height, width, channels)
    if b"#" in data[:start]:
        losses += (Loss.COMMENT,)
    return Picture(pixels, None, "PPM", mode, losses=losses)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    pixels = picture.pixels
    header = b"P%d\n%d %d\n%d\n" % (
        6 if pixels.shape[2] == 3 else 5,
        picture.width,
        picture.height,
        np.iinfo(pixels.dtype).max,
    )
    return header + pixels.astype(pixels.dtype.newbyteorder(">")).tobytes(), ()


def is_truncated(data: bytes) -> bool:
    try:
        kind, width, height, maximum, start = _header(data)
    except CodecError:
        return len(data) < 64  # a truncated header; a longer one is no header
    if kind < 4:
        return len(data[start:].split(None, width * height * (3 if kind == 3 else 1))) < (
            1 if kind == 1 else width * height * (3 if kind == 3 else 1)
        )
    row = -(-width // 8) if kind == 4 else width * (3 if kind == 6 else 1) * (2 if maximum > 255 else 1)
    return start + row * height > len(data)


def _header(data: bytes) -> tuple[int, int, int, int, int]:
    """(kind 1 to 6, width, height, largest value, offset of the samples)."""
    size = _SIZE.match(data)
    if size is None:
        raise CodecError(ErrorCode.UNREADABLE, "the header of this PNM file gives no size")
    kind, width, height = (int(group) for group in size.groups())
    if kind in (1, 4):
        return kind, width, height, 1, size.end() + 1
    maximum = _MAXIMUM.match(data, size.end())
    if maximum is None or not 0 < int(maximum[1]) < 65536:
        raise CodecError(
            ErrorCode.UNREADABLE, "the header of this PNM file gives no largest value up to 65535"
        )
    return kind, width, height, int(maximum[1]), maximum.end()


def _samples(data: bytes, start: int, count: int, *, raw: bool, maximum: int) -> np.ndarray:
    """Read `count` 16-bit values, scaled from 0 … `maximum` to the full range."""
    if raw:
        values = np.frombuffer(data, ">u2", count, start).astype(np.uint32)
    else:
        text = re.sub(rb"#[^\r\n]*", b"", data[start:])
        values = np.array(text.split(None, count)[:count], dtype=np.uint32)
    if len(values) < count:
        raise CodecError(ErrorCode.TRUNCATED, f"{len(values)} of {count} samples are there")
    if maximum == 65535:
        return values.astype(np.uint16)
    return np.minimum((values * 65535 + maximum // 2) // maximum, 65535).astype(np.uint16)
