"""JPEG 2000: up to 16 bits; reversible files stay reversible, and bare code streams (`.j2k`) stay bare.

A library writes the code stream. This module writes the boxes around it, which hold EXIF, XMP, IPTC and the
colour profile, since no library does.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from pipeline.codecs import boxes, raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported

EXTENSIONS = (".jp2", ".j2k", ".j2c", ".jpc")
KEEPS = frozenset({Loss.ALPHA, Loss.BIT_DEPTH, Loss.EXIF, Loss.XMP, Loss.IPTC, Loss.ICC})

LOSSY_PSNR = 50
"""PSNR in dB at which files that were not reversible are written."""

_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_START, _SIZE, _CODING, _TILE_PART, _END = b"\xff\x4f", 0xFF51, 0xFF52, 0xFF90, b"\xff\xd9"
_SRGB, _GRAY, _SYCC, _INKS = 16, 17, 18, 12
_UUIDS = {
    "exif": b"JpgTiffExif->JP2",
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
}
_UNDERSTOOD = {b"jP  ", b"ftyp", b"rreq", b"jp2h", b"jp2c", b"free"}


@dataclass(frozen=True)
class _Header:
    """Values of the code stream's main header."""

    width: int
    height: int
    channels: int
    bits: int
    signed: bool
    subsampled: bool
    reversible: bool


def read(data: bytes, limit: SizeLimit) -> Picture:
    stream = _code_stream(data)
    header = _header(stream)
    limit.check(header.width, header.height)
    if header.channels > 4:
        unsupported(f"JPEG 2000 of {header.channels} channels: convert it to gray or RGB first")
    if header.signed or header.bits > 16:
        kind = "signed" if header.signed else "unsigned"
        unsupported(f"JPEG 2000 of {header.bits}-bit {kind} samples: convert it to 8 or 16 bits first")
    colour_space, icc = _colour(data)
    losses: tuple[str, ...] = ()
    if header.bits <= 8:
        opened = Jpeg2KImageFile(io.BytesIO(data))
        mode = opened.mode
        pixels, alpha, losses = raster.bands(opened, limit)
    else:
        if header.subsampled or colour_space in (_SYCC, _INKS) or boxes.find(data, b"jp2h", b"pclr"):
            unsupported(
                f"JPEG 2000 of {header.bits} bits in other channels than gray or RGB: convert it first"
            )
        mode, pixels, alpha = _read_16_bits(stream, header)
    if boxes.find(data, b"jp2h", b"res "):
        losses += (Loss.DPI,)
    if _has_others(data):
        losses += (Loss.OTHER_METADATA,)
    found = _uuid_boxes(data)
    metadata = Metadata(exif=found.get("exif"), xmp=found.get("xmp"), iptc=found.get("iptc"), icc=icc)
    bare = data.startswith(_START)
    return Picture(pixels, alpha, "JPEG2000", mode, metadata, losses, lossless=header.reversible, bare=bare)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    import imagecodecs

    samples = raster.join(picture.pixels, picture.alpha)
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    colours = picture.pixels.shape[2]
    stream = imagecodecs.jpeg2k_encode(
        samples,
        level=0 if picture.lossless else LOSSY_PSNR,
        reversible=picture.lossless,
        codecformat="j2k",
        mct=colours == 3,
        # Each level halves the image; the last must still be a pixel wide.
        resolutions=min(6, min(width, height).bit_length()),
        numthreads=1,
    )
    metadata = picture.metadata
    if picture.bare:
        return bytes(stream), metadata.keep(())[1]
    bits = 8 * samples.itemsize - 1
    head = boxes.pack(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits, 7, 0, 0))
    if metadata.icc is not None:
        head += boxes.pack(b"colr", b"\x02\0\0" + metadata.icc)
    else:
        head += boxes.pack(b"colr", struct.pack(">BBBI", 1, 0, 0, _SRGB if colours == 3 else _GRAY))
    if picture.alpha is not None:
        channel_definitions = [(index, 0, index + 1) for index in range(colours)] + [(colours, 1, 0)]
        body = struct.pack(">H", channels) + b"".join(
            struct.pack(">HHH", *one) for one in channel_definitions
        )
        head += boxes.pack(b"cdef", body)
    extra = b"".join(
        boxes.pack(b"uuid", uuid + value)
        for name, uuid in _UUIDS.items()
        if (value := getattr(metadata, name)) is not None
    )
    brand = boxes.pack(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return _SIGNATURE + brand + boxes.pack(b"jp2h", head) + extra + boxes.pack(b"jp2c", bytes(stream)), ()


def is_truncated(data: bytes) -> bool:
    if data.startswith(_START):
        return not data.endswith(_END)
    return boxes.is_truncated(data)


def _code_stream(data: bytes) -> bytes:
    if data.startswith(_START):
        return data
    body = boxes.find(data, b"jp2c")
    if body is None:
        raise ValueError("no code stream in this JPEG 2000 file")
    return data[slice(*body)]


def _header(stream: bytes) -> _Header:
    """Read the markers of the main header, up to the first tile."""
    found: dict[int, int] = {}
    at = 2
    while at + 4 <= len(stream) and (marker := struct.unpack_from(">H", stream, at)[0]) != _TILE_PART:
        found.setdefault(marker, at + 4)
        at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
    size, coding = found[_SIZE], found[_CODING]
    right, bottom, left, top = struct.unpack_from(">IIII", stream, size + 2)
    channels = struct.unpack_from(">H", stream, size + 34)[0]
    parts = [struct.unpack_from(">BBB", stream, size + 36 + 3 * index) for index in range(channels)]
    return _Header(
        width=right - left,
        height=bottom - top,
        channels=channels,
        bits=max((depth & 0x7F) + 1 for depth, _, _ in parts),
        signed=any(depth & 0x80 for depth, _, _ in parts),
        subsampled=any(step != 1 for part in parts for step in part[1:]),
        reversible=stream[coding + 9] == 1,
    )


def _read_16_bits(stream: bytes, header: _Header) -> tuple[str, np.ndarray, np.ndarray | None]:
    import imagecodecs

    samples = np.asarray(imagecodecs.jpeg2k_decode(stream, numthreads=1)).astype(np.uint16, copy=False)
    samples = samples.reshape(header.height, header.width, header.channels)
    largest = (1 << header.bits) - 1
    if largest < 65535:
        samples = ((samples.astype(np.uint32) * 65535 + largest // 2) // largest).astype(np.uint16)
    pixels, alpha = raster.split(samples, has_alpha=header.channels in (2, 4))
    return {1: "I;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[header.channels], pixels, alpha


def _colour(data: bytes) -> tuple[int | None, bytes | None]:
    """(enumerated colour space, embedded profile), either of them None."""
    body = boxes.find(data, b"jp2h", b"colr")
    if body is None:
        return None, None
    start, end = body
    if data[start] == 1:
        return int(struct.unpack_from(">I", data, start + 3)[0]), None
    return None, data[start + 3 : end] if data[start] == 2 else None


def _has_others(data: bytes) -> bool:
    """Whether there are boxes that are not written to the output: XML, rights, places, signed histories."""
    if data.startswith(_START):
        return False
    return any(
        data[start : start + 16] not in _UUIDS.values() if kind == b"uuid" else kind not in _UNDERSTOOD
        for kind, start, _ in boxes.walk(data)
        if kind != boxes.PADDING
    )


def _uuid_boxes(data: bytes) -> dict[str, bytes]:
    if data.startswith(_START):
        return {}
    names = {uuid: name for name, uuid in _UUIDS.items()}
    return {
        names[data[start : start + 16]]: data[start + 16 : end]
        for kind, start, end in boxes.walk(data)
        if kind == b"uuid" and data[start : start + 16] in names
    }
