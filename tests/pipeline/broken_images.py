"""Files that cannot be restored, each made on demand, with the error code that names why.

`BROKEN` is for every test that needs bad input: name to (maker of the bytes, extension, expected code).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from pipeline.errors import ErrorCode

MAX_PIXELS = 100_000_000
"""The limit that the files expected to be `too_large` exceed and all others stay below."""


def gradient(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth RGB image with some texture, so that every format has something to compress."""
    rows, columns = np.mgrid[:height, :width]
    texture = np.random.default_rng(7).integers(0, 24, (height, width, 3))
    colours = np.stack([rows * 2, columns * 2, rows + columns], axis=2) + texture
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))


def saved(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    """`image`, or the gradient, as a file of `format`."""
    stream = io.BytesIO()
    (image or gradient()).save(stream, format, **options)
    return stream.getvalue()


def cut(format: str, share: float = 0.5) -> bytes:
    """The first `share` of a file."""
    data = saved(format)
    return data[: int(len(data) * share)]


def damaged(format: str, at: float, length: int = 64, **options: object) -> bytes:
    """A file with `length` bytes inverted at the place `at`, a share of its length."""
    data = bytearray(saved(format, **options))
    start = int(len(data) * at)
    data[start : start + length] = bytes(255 - byte for byte in data[start : start + length])
    return bytes(data)


def endless_jpeg(scans: int = 20_000) -> bytes:
    """A progressive JPEG that paints its 2,000 x 2,000 pixels again and again: each scan takes 2 ms."""
    data = saved("JPEG", Image.new("L", (2000, 2000), 90), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose header claims any size."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(4096)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int, precision: int = 8) -> bytes:
    """A JPEG whose frame header claims any size and precision."""
    data = bytearray(saved("JPEG"))
    frame = data.index(b"\xff\xc0")
    struct.pack_into(">BHH", data, frame + 4, precision, height, width)
    return bytes(data)


def bmp_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved("BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is of any size."""
    body = b"VP8X" + struct.pack("<IB3x", 10, 0) + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little") + saved("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved("TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    for entry in range(directory + 2, directory + 2 + 24, 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        struct.pack_into("<HI", data, entry + 2, 4, 1)
        struct.pack_into("<I", data, entry + 8, {256: width, 257: height}[tag])
    return bytes(data)


def tiff_in_a_loop() -> bytes:
    """A TIFF whose second page is its first."""
    data = bytearray(saved("TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, directory)[0]
    struct.pack_into("<I", data, directory + 2 + 12 * count, directory)
    return bytes(data)


def frames(format: str) -> bytes:
    """An animation, or several pages."""
    return saved(format, save_all=True, append_images=[gradient().rotate(180)])


def noise() -> bytes:
    return np.random.default_rng(3).bytes(5000)


def missing_checksum() -> bytes:
    """A PNG in which one byte of the pixels has changed, so that its checksum does not fit."""
    data = bytearray(saved("PNG"))
    data[data.index(b"IDAT") + 200] ^= 0xFF
    return bytes(data)


def without_tables() -> bytes:
    """A JPEG without its Huffman tables' contents."""
    data = bytearray(saved("JPEG"))
    start = data.index(b"\xff\xc4")
    data[start + 5 : start + 21] = b"\xff" * 16
    return bytes(data)


def broken_strip() -> bytes:
    """A deflated TIFF whose strip is not deflated data."""
    data = bytearray(saved("TIFF", compression="tiff_adobe_deflate"))
    start = data.index(b"\x78", 8)
    data[start : start + 40] = b"\xaa" * 40
    return bytes(data)


UNREADABLE, TRUNCATED = ErrorCode.UNREADABLE, ErrorCode.TRUNCATED
TOO_LARGE, UNSUPPORTED = ErrorCode.TOO_LARGE, ErrorCode.UNSUPPORTED

BROKEN: dict[str, tuple[Callable[[], bytes], str, ErrorCode]] = {
    "empty": (bytes, ".jpg", UNREADABLE),
    "text": (partial(bytes, b"this is no photograph\n" * 20), ".jpg", UNREADABLE),
    "web page": (
        partial(bytes, b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ".jpg",
        UNREADABLE,
    ),
    "zeros": (partial(bytes, 4096), ".png", UNREADABLE),
    "noise": (noise, ".tif", UNREADABLE),
    "png cut in half": (partial(cut, "PNG"), ".png", TRUNCATED),
    "png cut in its header": (partial(cut, "PNG", 0.001), ".png", TRUNCATED),
    "jpeg cut in half": (partial(cut, "JPEG"), ".jpg", TRUNCATED),
    "jpeg cut in its header": (partial(cut, "JPEG", 0.05), ".jpeg", TRUNCATED),
    "webp cut in half": (partial(cut, "WEBP"), ".webp", TRUNCATED),
    "tiff cut in half": (partial(cut, "TIFF"), ".tif", TRUNCATED),
    "avif cut in half": (partial(cut, "AVIF"), ".avif", TRUNCATED),
    "bmp cut in half": (partial(cut, "BMP"), ".bmp", TRUNCATED),
    "jpeg 2000 cut in half": (partial(cut, "JPEG2000"), ".jp2", TRUNCATED),
    "ppm cut in half": (partial(cut, "PPM"), ".ppm", TRUNCATED),
    "png with a wrong checksum": (missing_checksum, ".png", UNREADABLE),
    "png of no width": (partial(png_claiming, 0, 64), ".png", UNREADABLE),
    "jpeg with broken tables": (without_tables, ".jpg", UNREADABLE),
    "tiff with a broken strip": (broken_strip, ".tiff", UNREADABLE),
    "tiff whose pages loop": (tiff_in_a_loop, ".tif", UNREADABLE),
    "webp damaged inside": (partial(damaged, "WEBP", 0.02, 200, lossless=True), ".webp", UNREADABLE),
    "avif damaged inside": (partial(damaged, "AVIF", 0.05, 40), ".avif", UNREADABLE),
    "ppm without numbers": (partial(bytes, b"P6\nwide high\n255\n" + bytes(3000)), ".ppm", UNREADABLE),
    "png of a thousand megapixels": (partial(png_claiming, 40_000, 25_000), ".png", TOO_LARGE),
    "jpeg of a thousand megapixels": (partial(jpeg_claiming, 40_000, 25_000), ".jpg", TOO_LARGE),
    "bmp of a thousand megapixels": (partial(bmp_claiming, 40_000, -25_000), ".bmp", TOO_LARGE),
    "webp of two hundred megapixels": (partial(webp_claiming, 16_000, 16_000), ".webp", TOO_LARGE),
    "tiff of a thousand megapixels": (partial(tiff_claiming, 40_000, 25_000), ".tif", TOO_LARGE),
    "ppm of a thousand megapixels": (partial(bytes, b"P6 40000 25000 255\n" + bytes(300)), ".ppm", TOO_LARGE),
    "gif": (partial(saved, "GIF"), ".png", UNSUPPORTED),
    "pdf": (partial(saved, "PDF"), ".tif", UNSUPPORTED),
    "svg": (partial(bytes, b'<svg xmlns="http://www.w3.org/2000/svg"/>'), ".png", UNSUPPORTED),
    "animated png": (partial(frames, "PNG"), ".png", UNSUPPORTED),
    "animated webp": (partial(frames, "WEBP"), ".webp", UNSUPPORTED),
    "avif sequence": (partial(frames, "AVIF"), ".avif", UNSUPPORTED),
    "tiff of two pages": (partial(frames, "TIFF"), ".tif", UNSUPPORTED),
    "tiff of floating point": (partial(saved, "TIFF", gradient().convert("F")), ".tif", UNSUPPORTED),
    "tiff of 32 bits": (partial(saved, "TIFF", gradient().convert("I")), ".tif", UNSUPPORTED),
    "tiff in cielab": (partial(saved, "TIFF", Image.new("LAB", (16, 16))), ".tif", UNSUPPORTED),
    "jpeg in inks without a profile": (
        partial(saved, "JPEG", gradient().convert("CMYK")),
        ".jpg",
        UNSUPPORTED,
    ),
    "jpeg of 12 bits": (partial(jpeg_claiming, 96, 64, precision=12), ".jpg", UNSUPPORTED),
}
