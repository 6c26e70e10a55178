"""Finds the format of an image file from its first bytes, never from its name."""

from __future__ import annotations

import string

from pipeline.errors import CodecError, ErrorCode

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"}
_AVIF_BRANDS = {b"avif", b"avis"}

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II\x2a\x00", "TIFF"),
    (b"MM\x00\x2a", "TIFF"),
    (b"II\x2b\x00", "TIFF"),
    (b"MM\x00\x2b", "TIFF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)

_FOREIGN = (
    (b"GIF8", "GIF image"),
    (b"%PDF", "PDF document"),
    (b"8BPS", "Photoshop document"),
    (b"v/1\x01", "OpenEXR image"),
    (b"#?RADIANCE", "Radiance HDR image"),
    (b"\xff\x0a", "JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL image"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"SIMPLE  =", "FITS image"),
    (b"\x89HDF", "HDF5 file"),
    (b"PK\x03\x04", "zip archive"),
    (b"\x1f\x8b", "gzip file"),
    (b"<?xml", "XML or SVG document"),
    (b"<svg", "SVG drawing"),
    (b"P7\n", "PAM image"),
    (b"\x8aMNG", "MNG animation"),
    (b"\xd7\xcd\xc6\x9a", "WMF drawing"),
)
"""Formats that are common among images but not restored; the error names them."""

_TEXT = frozenset(string.printable.encode())


def identify(data: bytes) -> str:
    """The format of an image file.

    Raises:
        CodecError: `unreadable` if it is no image, `unsupported` if its format is not restored, `truncated`
            if it is shorter than a header.
    """
    if not data:
        raise CodecError(ErrorCode.UNREADABLE, "the file is empty")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _media_format(data)
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    if len(data) > 2 and data[0:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "PPM"
    for magic, what in _FOREIGN:
        if data.startswith(magic):
            raise CodecError(ErrorCode.UNSUPPORTED, f"this is a {what}, not an image of a supported format")
    for magic, name in (*_MAGIC, (b"RIFF", "WEBP"), (b"BM", "BMP")):
        if len(data) < max(len(magic), 12) and (magic.startswith(data) or data.startswith(magic)):
            raise CodecError(ErrorCode.TRUNCATED, f"{len(data)} bytes: less than the header of a {name} file")
    head = data[:512]
    if all(byte in _TEXT for byte in head):
        raise CodecError(ErrorCode.UNREADABLE, "this is a text file, not an image")
    if not any(head):
        raise CodecError(ErrorCode.UNREADABLE, "the file begins with zeros: a lost or sparse copy?")
    raise CodecError(ErrorCode.UNREADABLE, "the first bytes are those of no known image format")


def _media_format(data: bytes) -> str:
    """AVIF or HEIF, by the brands of the file type box. Raises CodecError for other brands."""
    length = int.from_bytes(data[:4], "big")
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, min(length, len(data), 256), 4)}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    if brands & _HEIF_BRANDS:
        return "HEIF"
    brand = data[8:12].decode("latin-1")
    raise CodecError(
        ErrorCode.UNSUPPORTED, f"this is a media file of brand {brand!r}, not an image of a supported format"
    )
