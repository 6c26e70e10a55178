"""PNG, chunk by chunk: pixels go through a decoder, other chunks are kept as bytes of the file."""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from pipeline.codecs import raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported

EXTENSIONS = (".png",)
KEEPS = frozenset(Loss) - {Loss.CMYK, Loss.COMMENT}

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}
_BEFORE_PALETTE = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"}
_KEPT = _BEFORE_PALETTE | {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"sCAL", b"pCAL", b"sTER"}
_LAYOUT = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"sBIT", b"hIST", b"iDOT",
}  # fmt: skip
"""Chunks about the layout of this file's pixels, such as its palette, which do not apply to the output."""
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_METRES_PER_INCH = 0.0254
_MAX_INFLATED = 64 << 20  # most bytes of one decompressed profile or text: more is a bomb


def read(data: bytes, limit: SizeLimit) -> Picture:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    limit.check(width, height)
    for kind, body in _chunks(data):
        if kind == b"acTL" and (frames := struct.unpack_from(">I", body)[0]) > 1:
            unsupported(f"animated PNG of {frames} frames: only single images are restored")
    losses: tuple[str, ...] = ()
    if depth == 16:
        mode = _MODES[colour]
        pixels, alpha = _read_16_bits(data, colour)
    else:
        opened = PngImageFile(io.BytesIO(data))
        mode = opened.mode
        pixels, alpha, losses = raster.bands(opened, limit)
    metadata, whole = _read_metadata(data, indexed=colour == 3 or depth < 8)
    if not whole:
        losses += (Loss.OTHER_METADATA,)
    return Picture(pixels, alpha, "PNG", mode, metadata, losses)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    if picture.pixels.dtype == np.uint16 and (picture.alpha is not None or picture.pixels.shape[2] == 3):
        import imagecodecs

        data = imagecodecs.png_encode(raster.join(picture.pixels, picture.alpha))
    else:
        data = raster.save(picture.pixels, picture.alpha, "PNG")
    start = len(_SIGNATURE) + 25  # after IHDR, which is first and of fixed size
    return b"".join([data[:start], *_metadata_chunks(picture.metadata), data[start:]]), ()


def is_truncated(data: bytes) -> bool:
    return all(kind != b"IEND" for kind, _ in _chunks(data))


def _read_16_bits(data: bytes, colour: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode 16 bits through imagecodecs: Pillow would silently reduce them to eight."""
    import imagecodecs

    samples = np.asarray(imagecodecs.png_decode(data))
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    # imagecodecs has already turned a transparent colour (tRNS) into an alpha channel.
    return raster.split(samples, has_alpha=channels in (2, 4))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of each complete chunk; the body of pixel data is given as empty."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, b"" if kind in (b"IDAT", b"fdAT") else data[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _inflate(body: bytes) -> bytes:
    """Decompress. Raises `ValueError` for a bomb and `zlib.error` for damage."""
    stream = zlib.decompressobj()
    plain = stream.decompress(body, _MAX_INFLATED)
    if stream.unconsumed_tail:
        raise ValueError("compressed text of a PNG is larger than 64 MiB")
    return plain


def _read_metadata(data: bytes, *, indexed: bool) -> tuple[Metadata, bool]:
    """The metadata of the chunks, and whether it is complete.

    With `indexed`, a background colour (bKGD) is a palette index or a gray of few bits, and is dropped.
    """
    whole = True
    found: dict[str, bytes] = {}
    dpi: tuple[float, float] | None = None
    kept: list[tuple[bytes, bytes]] = []
    for kind, body in _chunks(data):
        try:
            if kind == b"eXIf":
                found["exif"] = body.removeprefix(b"Exif\0\0")
            elif kind == b"iCCP":
                found["icc"] = _inflate(body[body.index(b"\0") + 2 :])
            elif kind == b"pHYs":
                across, down, unit = struct.unpack(">IIB", body)
                if unit == 1:
                    dpi = (across * _METRES_PER_INCH, down * _METRES_PER_INCH)
                else:
                    kept.append((kind, body))  # without a unit it gives the aspect ratio of a pixel
            elif kind == b"iTXt" and body.startswith(_XMP_KEYWORD + b"\0"):
                found["xmp"] = _international_text(body)
            elif kind in (b"tEXt", b"zTXt") and body.startswith(_RAW_PROFILE):
                name = body[len(_RAW_PROFILE) : body.index(b"\0")].decode("latin-1")
                if name in ("exif", "app1", "iptc", "xmp"):
                    profile = _raw_profile(kind, body)
                    field, profile = _sort_profile(name, profile)
                    found.setdefault(field, profile)
                else:
                    whole = False
            elif kind in _KEPT or _is_safe_to_copy(kind) or (kind == b"bKGD" and not indexed):
                kept.append((kind, body))
            elif kind not in _LAYOUT:
                whole = False
        except (ValueError, IndexError, struct.error, zlib.error):
            whole = False  # the pixels are good even if a text chunk is damaged
    metadata = Metadata(
        exif=found.get("exif"),
        xmp=found.get("xmp"),
        iptc=found.get("iptc"),
        icc=found.get("icc"),
        dpi=dpi,
        chunks=tuple(kept) or None,
    )
    return metadata, whole


def _is_safe_to_copy(kind: bytes) -> bool:
    """Whether an unknown chunk may be kept with other pixels, by the case of the letters of its type."""
    return kind[:1].islower() and kind[3:].islower()


def _international_text(body: bytes) -> bytes:
    """The text of an iTXt chunk: keyword, compression flag and method, language, translated keyword, text."""
    rest = body[body.index(b"\0") + 1 :]
    compressed, rest = rest[0], rest[2:]
    text = rest.split(b"\0", 2)[2]
    return _inflate(text) if compressed else text


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Read a profile as ImageMagick and ExifTool store it: name, length, then hexadecimal lines."""
    text = body[body.index(b"\0") + 1 :]
    if kind == b"zTXt":
        text = _inflate(text[1:])
    _, length, digits = text.strip().split(b"\n", 2)
    return binascii.unhexlify(b"".join(digits.split()))[: int(length)]


def _sort_profile(name: str, profile: bytes) -> tuple[str, bytes]:
    """The field of `Metadata` that a raw profile belongs to, and its bytes without their prefix."""
    if name == "iptc":
        at = profile.find(b"8BIM\x04\x04")
        if at < 0:
            return "iptc", profile
        start = at + 6 + (profile[at + 6] + 2 & ~1)  # after the resource's name, padded to even
        length = struct.unpack_from(">I", profile, start)[0]
        return "iptc", profile[start + 4 : start + 4 + length]
    if name == "xmp" or profile.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
        return "xmp", profile.removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    return "exif", profile.removeprefix(b"Exif\0\0")


def _metadata_chunks(metadata: Metadata) -> Iterator[bytes]:
    for kind, body in metadata.chunks or ():
        if kind in _BEFORE_PALETTE:
            yield _chunk(kind, body)
    if metadata.icc is not None:
        yield _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi is not None:
        across, down = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        yield _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif is not None:
        yield _chunk(b"eXIf", metadata.exif)
    if metadata.xmp is not None:
        yield _chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + metadata.xmp)
    if metadata.iptc is not None:
        resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(metadata.iptc)) + metadata.iptc
        resource += b"\0" * (len(resource) % 2)
        text = b"\niptc\n%8d\n" % len(resource) + binascii.hexlify(resource) + b"\n"
        yield _chunk(b"zTXt", _RAW_PROFILE + b"iptc\0\0" + zlib.compress(text))
    for kind, body in metadata.chunks or ():
        if kind not in _BEFORE_PALETTE:
            yield _chunk(kind, body)
