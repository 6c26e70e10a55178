"""The decoded image, its metadata, and the interface of format modules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import NoReturn, Protocol

import numpy as np

from i2r.jpeg_tables import JpegTables
from pipeline.errors import CodecError, ErrorCode


class Loss(StrEnum):
    """Losses of a round trip: the closed set of words in the manifest's column `losses`."""

    ALPHA = "alpha"
    """Transparency was flattened onto white."""
    BIT_DEPTH = "bit_depth"
    """More than eight bits per sample became eight."""
    BILEVEL = "bilevel"
    """One bit per pixel became eight bits of gray."""
    LOSSLESS = "lossless"
    """A file that was compressed without loss was written with loss, as little as its encoder can."""
    PALETTE = "palette"
    """Indexed colours became full colours."""
    SEPARATION = "separation"
    """Ink values were recomputed through the embedded profile."""
    CMYK = "cmyk"
    """Inks became sRGB, since the output format has no inks."""
    GRAY = "gray"
    """One channel became three equal ones."""
    EXTRA_CHANNELS = "extra_channels"
    SECONDARY_IMAGES = "secondary_images"
    """Images other than the main one: previews, masks, gain maps."""
    APPENDED = "appended"
    """What lies behind the image's end, such as the video of a motion photo."""
    PHOTOSHOP = "photoshop"
    """Photoshop's own resources, such as paths."""
    THUMBNAIL = "thumbnail"
    """The preview inside EXIF or JFIF, which still showed the degraded image."""
    EXIF = "exif"
    XMP = "xmp"
    IPTC = "iptc"
    ICC = "icc"
    DPI = "dpi"
    COMMENT = "comment"
    CHUNKS = "chunks"
    """Text and colour chunks of a PNG, and other chunks that only PNG has."""
    OTHER_METADATA = "other_metadata"
    """Other segments, chunks or boxes, such as signed histories (C2PA) or a manufacturer's own."""


MAX_DPI = 65_536
"""Resolutions from here on are discarded: a JPEG has 16 bits for them."""


@dataclass(frozen=True)
class Metadata:
    """Metadata of a file; a field is `None` if the file does not have it."""

    exif: bytes | None = None
    """A TIFF structure, without the `Exif` prefix."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """IIM records."""
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] | None = None
    """PNG chunks (type, body) that other formats do not have: text, gamma, chromaticities, time."""

    def __post_init__(self) -> None:
        if self.dpi is not None and not all(0 < value < MAX_DPI for value in self.dpi):
            object.__setattr__(self, "dpi", None)  # invalid, and too large for some formats

    def keep(self, kept: Collection[Loss]) -> tuple[Metadata, tuple[Loss, ...]]:
        """The metadata whose field names are in `kept`, and the names of the fields left out."""
        gone = [
            f.name for f in fields(self) if Loss(f.name) not in kept and getattr(self, f.name) is not None
        ]
        return replace(self, **dict.fromkeys(gone)), tuple(Loss(name) for name in gone)


@dataclass(frozen=True)
class Picture:
    """A decoded image, picklable: the result of `decode` and an argument of `encode`."""

    pixels: np.ndarray
    """(H, W, C), uint8 or uint16 over their full range, C 1 (gray) or 3 (RGB), upright.
    Between a format module and `codec`, C may be 4 (inks) and the orientation is not applied yet."""
    alpha: np.ndarray | None
    """(H, W) of the same type, not premultiplied; `None` if the file has none."""
    format: str
    """The file format: a value of `codec.SUPPORTED_EXTENSIONS`."""
    mode: str
    """Pixel mode in the file: `L`, `RGB`, `RGBA`, `P`, `CMYK`, `I;16`, `RGB;16`, …"""
    metadata: Metadata = field(default_factory=Metadata)
    losses: tuple[str, ...] = ()
    quality: int | None = None
    """A JPEG's quality, 1 to 100, estimated from its quantisation tables."""
    tables: JpegTables | None = None
    """A JPEG's quantisation tables, if its pixels are still on the grid of its compression."""
    lossless: bool = True
    """Whether the file was compressed without loss, for formats that know both."""
    bare: bool = False
    """Whether a JPEG 2000 file is a bare code stream, which cannot hold metadata."""

    @property
    def hidden(self) -> np.ndarray | None:
        """(H, W), the pixels that are wholly transparent; `None` if there are none."""
        return None if self.alpha is None or self.alpha.all() else self.alpha == 0

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True)
class Encoded:
    """An encoded file: its bytes, its format's usual extension with the dot, and its losses."""

    data: bytes
    extension: str
    losses: tuple[str, ...] = ()


class Format(Protocol):
    """Interface of a format module."""

    @property
    def EXTENSIONS(self) -> tuple[str, ...]:
        """In lower case with the dot, the usual one first."""

    @property
    def KEEPS(self) -> frozenset[Loss]:
        """What the format can hold, by the names of the losses that it avoids."""

    def read(self, data: bytes, limit: SizeLimit) -> Picture:
        """Decode. Raises `CodecError` if the reason is known, and may raise anything for damaged data."""

    def write(self, picture: Picture) -> tuple[bytes, tuple[str, ...]]:
        """Encode `picture`, which holds only what `KEEPS` allows.

        Returns:
            the bytes, and losses that only the data reveal.
        """

    def is_truncated(self, data: bytes) -> bool:
        """Whether the file ends before its headers say."""


class SizeLimit:
    """Refuses an empty or too large image by its header, before any pixel is decoded.

    Args:
        max_pixels: most pixels, width times height.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self.passed = 0
        """Pixels of the largest size that passed."""

    def check(self, width: int, height: int) -> None:
        """Raise `CodecError` (`unreadable` or `too_large`) unless the size is allowed."""
        if width <= 0 or height <= 0:
            raise CodecError(ErrorCode.UNREADABLE, f"the header gives a size of {width}x{height} pixels")
        if width * height > self.max_pixels:
            raise CodecError(
                ErrorCode.TOO_LARGE,
                f"{width}x{height} is {width * height} pixels, above the limit of {self.max_pixels}",
            )
        self.passed = max(self.passed, width * height)


def unsupported(what: str) -> NoReturn:
    """Raise `CodecError` for a well-formed file; `what` names the feature that is not supported."""
    raise CodecError(ErrorCode.UNSUPPORTED, what)
