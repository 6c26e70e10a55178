"""JPEG: written at quality 95, or the source's own if that is higher, and without chroma subsampling.

The source's quantisation tables would bring back the artefacts that restoration removed.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from i2r.errors import FormError
from i2r.jpeg_tables import JpegTables
from pipeline.codecs import raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported
from pipeline.errors import CodecError, ErrorCode

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
KEEPS = frozenset({Loss.CMYK, Loss.EXIF, Loss.XMP, Loss.IPTC, Loss.ICC, Loss.DPI, Loss.COMMENT})

MIN_QUALITY = 95

_SEGMENT = 65533  # most bytes in one marker segment, without its length
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP_PREFIX = b"Photoshop 3.0\0"
_UNDERSTOOD = {
    0xE0: (b"JFIF", b"JFXX\0"),
    0xE1: (b"Exif\0\0", _XMP_PREFIX, _XMP_EXTENSION),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0"),
    0xED: (_PHOTOSHOP_PREFIX,),
    0xEE: (b"Adobe",),
}
"""Application segments, by marker and first bytes, that are written again or have a loss of their own."""
_IPTC_RESOURCE = 0x0404
_CARRIED_RESOURCES = {_IPTC_RESOURCE, 0x0425, 0x03ED, 0x0409, 0x040C}
"""IPTC, and resources derived from other parts of the file: its digest, the resolution, thumbnails."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker among compressed data, where others are stuffed or belong to them."""
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MOST_LEFT_OVER = 16
"""Bytes behind the last block of pixels that are no sign of damage: some cameras write a few too many."""
_MOST_INK = 918
"""Of the sums of four inks, each up to 255: no press takes 360 %."""
_SPECKS = 0.001
"""Share of the pixels in which compression may exceed it."""

_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()
"""The luminance table of ITU-T T.81, annex K, which encoders scale by quality."""


def read(data: bytes, limit: SizeLimit) -> Picture:
    losses = _behind(data)
    comments = 0
    for marker, start, end in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width = struct.unpack_from(">BHH", data, start)
            limit.check(width, height)
            if precision != 8:
                unsupported(f"JPEG of {precision} bits per sample: convert it to PNG or TIFF first")
            if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                unsupported("lossless or hierarchical JPEG: convert it to PNG or TIFF first")
        elif marker == 0xE1 and data.startswith(_XMP_EXTENSION, start):
            losses += (Loss.XMP,)
        elif marker == 0xE2 and data.startswith(b"MPF\0", start, end):
            losses += (Loss.SECONDARY_IMAGES,)
        elif marker == 0xE0 and _has_preview(data[start:end]):
            losses += (Loss.THUMBNAIL,)
        elif marker == 0xFE:
            comments += 1
        elif 0xE0 <= marker <= 0xEF and not data.startswith(_UNDERSTOOD.get(marker, ()), start, end):
            losses += (Loss.OTHER_METADATA,)
    if comments > 1:  # the last one is kept
        losses += (Loss.COMMENT,)
    opened = JpegImageFile(io.BytesIO(data))
    mode = opened.mode
    pixels, alpha, more = raster.bands(opened, limit)
    _refuse_damage(data, mode)
    info = opened.info
    if mode == "CMYK" and "adobe" not in info:
        pixels = _right_way_round(pixels)
    resources = info.get("photoshop", {})
    if resources.keys() - _CARRIED_RESOURCES:
        more += (Loss.PHOTOSHOP,)
    exif = info.get("exif", b"").removeprefix(b"Exif\0\0")
    return Picture(
        pixels=pixels,
        alpha=alpha,
        format="JPEG",
        mode=mode,
        metadata=Metadata(
            exif=exif or None,
            xmp=info.get("xmp"),
            iptc=resources.get(_IPTC_RESOURCE),
            icc=info.get("icc_profile") or None,
            dpi=info.get("dpi"),
            comment=info.get("comment"),
        ),
        losses=tuple(dict.fromkeys(losses + more)),
        quality=estimate_quality(opened.quantization),
        tables=_tables(opened),
        lossless=False,
    )


def _tables(opened: JpegImageFile) -> JpegTables | None:
    """The file's quantisation tables; None if its compression is of an unusual kind."""
    try:
        return JpegTables.of_file(opened)
    except (FormError, LookupError):
        return None


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    metadata = picture.metadata
    oversized = {
        name
        for name, value, limit in (
            (Loss.EXIF, metadata.exif, _SEGMENT - 6),
            (Loss.XMP, metadata.xmp, _SEGMENT - len(_XMP_PREFIX)),
            (Loss.IPTC, metadata.iptc, _SEGMENT - 64),
            (Loss.ICC, metadata.icc, 255 * (_SEGMENT - 14)),
        )
        if value is not None and len(value) > limit
    }
    metadata, losses = metadata.keep(KEEPS - oversized)
    return raster.save(
        picture.pixels,
        None,
        "JPEG",
        quality=max(MIN_QUALITY, picture.quality or 0),
        subsampling=0,
        exif=metadata.exif and b"Exif\0\0" + metadata.exif,
        xmp=metadata.xmp,
        icc_profile=metadata.icc,
        dpi=metadata.dpi,
        comment=metadata.comment,
        extra=metadata.iptc and _photoshop_segment(metadata.iptc),
    ), losses


def is_truncated(data: bytes) -> bool:
    scan = None
    for marker, _, end in _segments(data):
        if marker == 0xDA:
            scan = end
    return scan is None or data.find(b"\xff\xd9", scan) < 0


def estimate_quality(tables: dict[int, list[int]]) -> int | None:
    """The quality, 1 to 100, at which common encoders would make these quantisation tables.

    They scale the standard's table by s percent, s = 200 - 2 q from q = 50 upwards and 5000 / q below. The
    median over the entries is robust to their rounding and clipping.
    """
    if len(tables.get(0, ())) != 64:
        return None
    table = np.asarray(tables[0])
    if (table == 1).all():
        return 100
    scale = float(np.median(100 * table / _LUMINANCE))
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(np.clip(round(quality), 1, 100))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's body up to the first scan or the end of the data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill bytes; markers without a body
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        yield marker, at + 4, end
        if marker in (0xD9, 0xDA):
            return
        at = end


def _end(data: bytes) -> int:
    """Where the image ends, behind its end marker."""
    at = next((end for marker, _, end in _segments(data) if marker == 0xDA), len(data))
    while found := _MARKER.search(data, at):
        if found[0] == b"\xff\xd9" or found.end() + 2 > len(data):
            return found.end()
        at = found.end() + struct.unpack_from(">H", data, found.end())[0]
    return len(data)


def _behind(data: bytes) -> tuple[str, ...]:
    """The loss of what lies behind the image, unless it is further images, which have a loss of their own."""
    behind = data[_end(data) :].strip(b"\0")
    images = behind.startswith(b"\xff\xd8") and b"ftyp" not in behind
    return (Loss.APPENDED,) if behind and not images else ()


def _refuse_damage(data: bytes, mode: str) -> None:
    """Refuse an image that lacks data, or whose data are damaged: decoders only warn, and make it gray there.

    Pillow drops the warnings, so the data are read once more, at an eighth of the size.

    Raises:
        CodecError: `truncated` or `unreadable`.
    """
    import simplejpeg

    colours = {"L": "GRAY", "CMYK": "CMYK"}.get(mode, "RGB")
    try:
        simplejpeg.decode_jpeg(data, colours, fastdct=True, fastupsample=True, min_height=1, min_width=1)
    except ValueError as error:
        warning = str(error)
        if "premature end" in warning.lower():
            message = f"the JPEG file lacks a part of its image ({warning}): find a whole copy"
            raise CodecError(ErrorCode.TRUNCATED, message) from error
        if not warning.startswith(("Corrupt JPEG data", "Inconsistent progression")) or "ICC" in warning:
            return  # no damage of pixels, or a kind of file that it does not know
        if (found := _LEFT_OVER.search(warning)) is not None:
            left, end = int(found[1]), _end(data) - 2
            if left <= _MOST_LEFT_OVER or not any(data[end - left : end]):
                return
        message = f"the JPEG file is damaged ({warning}): find a whole copy"
        raise CodecError(ErrorCode.UNREADABLE, message) from error


def _right_way_round(inks: np.ndarray) -> np.ndarray:
    """The inks of a file without Adobe's marker, which may be stored inverted, as with it, or not.

    The right reading is the one that a press could print. Raises CodecError if that is both or neither.
    """
    total = inks.sum(axis=2, dtype=np.uint16)
    as_read, inverted = (np.mean(sums > _MOST_INK) <= _SPECKS for sums in (total, 4 * 255 - total))
    if as_read == inverted:
        unsupported(
            "CMYK JPEG without Adobe's marker, of which nothing shows whether its inks are inverted: "
            "save it again with a program that writes the marker, or convert it to RGB"
        )
    return inks if as_read else 255 - inks


def _has_preview(body: bytes) -> bool:
    """Whether a JFIF segment holds a thumbnail that is not empty, or is a JFXX extension."""
    return body.startswith(b"JFXX\0") or (body.startswith(b"JFIF") and 0 not in body[12:14])


def _photoshop_segment(iptc: bytes) -> bytes:
    """An APP13 segment whose only image resource is `iptc`."""
    resource = b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    body = _PHOTOSHOP_PREFIX + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
