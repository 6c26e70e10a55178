"""BMP: written with a header of version 5, which holds transparency and a colour profile."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile

from pipeline.codecs import raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit

EXTENSIONS = (".bmp", ".dib")
KEEPS = frozenset({Loss.ALPHA, Loss.ICC, Loss.DPI})

_V5 = 124
_BITFIELDS = 3
_SRGB, _EMBEDDED = 0x73524742, 0x4D424544
_RELATIVE_COLORIMETRIC = 4
_METRES_PER_INCH = 0.0254


def read(data: bytes, limit: SizeLimit) -> Picture:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    limit.check(width, abs(height))
    opened = BmpImageFile(io.BytesIO(data))
    mode = opened.mode
    pixels, alpha, losses = raster.bands(opened, limit)
    return Picture(
        pixels, alpha, "BMP", mode, Metadata(icc=_profile(data, size), dpi=opened.info.get("dpi")), losses
    )


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    height, width, colours = picture.pixels.shape
    losses: tuple[str, ...] = ()
    if colours == 1 and picture.alpha is None:
        samples, palette = (
            picture.pixels[..., 0],
            (np.arange(256, dtype="<u4") * 0x010101).tobytes(),
        )
    else:
        pixels = picture.pixels
        if colours == 1:
            pixels, losses = pixels.repeat(3, axis=2), (Loss.GRAY,)
        samples, palette = raster.join(pixels[..., ::-1], picture.alpha), b""
    depth = 8 if samples.ndim == 2 else 8 * samples.shape[2]
    rows = np.zeros((height, -(-width * depth // 32) * 4), np.uint8)  # rows are padded to four bytes
    rows[:, : width * depth // 8] = samples.reshape(height, -1)
    body = palette + rows[::-1].tobytes()
    icc = picture.metadata.icc or b""
    across, down = (round(value / _METRES_PER_INCH) for value in picture.metadata.dpi or (0, 0))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if depth == 32 else (0, 0, 0, 0)
    header = struct.pack(
        "<IiiHHIIiiII4II36x3I4I",
        _V5, width, height, 1, depth, _BITFIELDS if depth == 32 else 0, rows.size, across, down,
        256 if depth == 8 else 0, 0, *masks, _EMBEDDED if icc else _SRGB, 0, 0, 0,
        _RELATIVE_COLORIMETRIC, _V5 + len(body) if icc else 0, len(icc), 0,
    )  # fmt: skip
    offset = 14 + _V5 + len(palette)
    whole = 14 + _V5 + len(body) + len(icc)
    return struct.pack("<2sIII", b"BM", whole, 0, offset) + header + body + icc, losses


def is_truncated(data: bytes) -> bool:
    if len(data) < 34:
        return True
    whole, _, offset, size = struct.unpack_from("<IIII", data, 2)
    if whole > len(data):
        return True
    if size < 40:
        return bool(offset > len(data))
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    rows = abs(height) * (-(-width * depth // 32) * 4) if compression in (0, _BITFIELDS) else 0
    return bool(offset + rows > len(data))


def _profile(data: bytes, size: int) -> bytes | None:
    """The colour profile embedded by a header of version 5, or None."""
    if size < _V5 or struct.unpack_from("<I", data, 14 + 56)[0] != _EMBEDDED:
        return None
    start, length = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + start : 14 + start + length] or None
