"""WebP: lossless files stay lossless, others are written at high quality."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL.WebPImagePlugin import WebPImageFile

from pipeline.codecs import boxes, raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported

EXTENSIONS = (".webp",)
KEEPS = frozenset({Loss.ALPHA, Loss.EXIF, Loss.XMP, Loss.ICC})

QUALITY = 95

_UNDERSTOOD = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}


def read(data: bytes, limit: SizeLimit) -> Picture:
    lossless, others = False, False
    for kind, body in _chunks(data):
        # Sizes are checked here because opening the file allocates a canvas of the size in the header.
        if kind == b"VP8X":
            limit.check(1 + _three_bytes(body, 4), 1 + _three_bytes(body, 7))
            if body[0] & 0x02:
                unsupported("animated WebP: only single images are restored")
        elif kind == b"VP8L":
            lossless = True
            size = struct.unpack_from("<I", body, 1)[0]
            limit.check(1 + (size & 0x3FFF), 1 + (size >> 14 & 0x3FFF))
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            limit.check(width & 0x3FFF, height & 0x3FFF)
        others |= kind not in _UNDERSTOOD and kind != boxes.PADDING
    opened = WebPImageFile(io.BytesIO(data))
    mode = opened.mode
    pixels, alpha, losses = raster.bands(opened, limit)
    if others:
        losses += (Loss.OTHER_METADATA,)
    info = opened.info
    icc = info.get("icc_profile")
    if icc is None and _is_gray(pixels, tolerance=0 if lossless else 1):
        pixels = pixels[..., 1:2]
    return Picture(
        pixels,
        alpha,
        "WEBP",
        mode,
        Metadata(
            exif=(info.get("exif") or b"").removeprefix(b"Exif\0\0") or None, xmp=info.get("xmp"), icc=icc
        ),
        losses,
        lossless=lossless,
    )


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    gray = picture.pixels.shape[2] == 1
    pixels = picture.pixels.repeat(3, axis=2) if gray else picture.pixels
    return raster.save(
        pixels,
        picture.alpha,
        "WEBP",
        lossless=picture.lossless,
        quality=80 if picture.lossless else QUALITY,  # for lossless files it sets the effort
        exact=True,  # keep colours under full transparency: they are the archive's
        method=4,
        exif=picture.metadata.exif and b"Exif\0\0" + picture.metadata.exif,
        xmp=picture.metadata.xmp,
        icc_profile=picture.metadata.icc,
    ), (Loss.GRAY,) if gray and picture.format != "WEBP" else ()


def is_truncated(data: bytes) -> bool:
    return len(data) < 12 or 8 + int(struct.unpack_from("<I", data, 4)[0]) > len(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, first ten bytes of the body) of each chunk."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 18]
        at += 8 + length + length % 2


def _is_gray(pixels: np.ndarray, tolerance: int) -> bool:
    """Whether all channels are equal, as WebP stores gray; lossy files round each channel separately."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return bool((highest - lowest <= tolerance).all())


def _three_bytes(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 3], "little")
