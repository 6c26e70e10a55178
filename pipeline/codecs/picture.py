"""The decoded image, what it says about itself, and what each format module offers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import NoReturn, Protocol

import numpy as np

from i2r.jpeg_tables import JpegTables
from pipeline.errors import CodecError, ErrorCode


class Loss(StrEnum):
    """What a round trip could not keep: the closed set of words in the manifest's column `losses`."""

    ALPHA = "alpha"
    """Transparency was flattened onto white."""
    BIT_DEPTH = "bit_depth"
    """More than eight bits per sample became eight."""
    BILEVEL = "bilevel"
    """One bit per pixel became eight bits of gray."""
    PALETTE = "palette"
    """Indexed colours became full colours."""
    SEPARATION = "separation"
    """Ink values were computed anew from the embedded profile."""
    CMYK = "cmyk"
    """Inks became sRGB, since the format asked for has no inks."""
    GRAY = "gray"
    """One channel became three equal ones."""
    EXTRA_CHANNELS = "extra_channels"
    SECONDARY_IMAGES = "secondary_images"
    """Previews, masks, gain maps beside the main image."""
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
    """Text and colour chunks of a PNG, and others of its own."""
    OTHER_METADATA = "other_metadata"
    """Segments, chunks or boxes that we have no word for, such as signed histories (C2PA) or makers' own."""


MAX_DPI = 65_536
"""Resolutions from here on are nonsense: a JPEG has 16 bits for them."""


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels; a field is `None` where it says nothing."""

    exif: bytes | None = None
    """A TIFF structure: no `Exif` prefix."""
    xmp: bytes | None = None
    iptc: bytes | None = None
    """IIM records."""
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] | None = None
    """PNG chunks (type, body) that other formats have no word for: text, gamma, chromaticities, time."""

    def __post_init__(self) -> None:
        if self.dpi is not None and not all(0 < value < MAX_DPI for value in self.dpi):
            object.__setattr__(self, "dpi", None)  # nonsense, which some containers could not even hold

    def keep(self, kept: Collection[Loss]) -> tuple[Metadata, tuple[Loss, ...]]:
        """The part whose field names are in `kept`, and the names of what that leaves out."""
        gone = [
            f.name for f in fields(self) if Loss(f.name) not in kept and getattr(self, f.name) is not None
        ]
        return replace(self, **dict.fromkeys(gone)), tuple(Loss(name) for name in gone)


@dataclass(frozen=True)
class Picture:
    """A decoded image, plain and picklable: what `decode` gives and `encode` needs."""

    pixels: np.ndarray
    """(H, W, C), uint8 or uint16 over their full range, C 1 (gray) or 3 (RGB), upright.
    Between a format module and `codec`, C is 4 for inks and the orientation is still the file's."""
    alpha: np.ndarray | None
    """(H, W) of the same type, not premultiplied; `None` where the file has none."""
    format: str
    """The container: a value of `codec.SUPPORTED_EXTENSIONS`."""
    mode: str
    """How the container held it: `L`, `RGB`, `RGBA`, `P`, `CMYK`, `I;16`, `RGB;16`, …"""
    metadata: Metadata = field(default_factory=Metadata)
    losses: tuple[str, ...] = ()
    quality: int | None = None
    """A JPEG's own quality, 1 to 100, estimated from its quantisation tables."""
    tables: JpegTables | None = None
    """A JPEG's quantisation tables, where its pixels still lie as they were compressed."""
    lossless: bool = True
    """Whether the file was stored without loss, where its format knows both ways."""
    bare: bool = False
    """Whether a JPEG 2000 is its code stream alone, which has no place for metadata."""

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True)
class Encoded:
    """An encoded file: its bytes, its format's usual extension with the dot, and what it could not keep."""

    data: bytes
    extension: str
    losses: tuple[str, ...] = ()


class Format(Protocol):
    """What a format module offers."""

    @property
    def EXTENSIONS(self) -> tuple[str, ...]:
        """In lower case with the dot, the usual one first."""

    @property
    def KEEPS(self) -> frozenset[Loss]:
        """The losses that do not befall this format."""

    def read(self, data: bytes, limit: SizeLimit) -> Picture:
        """Decode; anything may be raised for damaged data, `CodecError` where the reason is known."""

    def write(self, picture: Picture) -> tuple[bytes, tuple[str, ...]]:
        """Encode `picture`, which holds only what `KEEPS` allows; losses that only the data reveal."""

    def is_truncated(self, data: bytes) -> bool:
        """Whether the container promises more bytes than there are."""


class SizeLimit:
    """Refuses what its header says is empty or too large, before any pixel is decoded.

    Args:
        max_pixels: width times height that is refused above.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self.passed = 0
        """Pixels of the largest size that was let through."""

    def check(self, width: int, height: int) -> None:
        """Raises `CodecError`, `unreadable` or `too_large`, or lets the size pass."""
        if width <= 0 or height <= 0:
            raise CodecError(ErrorCode.UNREADABLE, f"the header gives a size of {width}x{height} pixels")
        if width * height > self.max_pixels:
            raise CodecError(
                ErrorCode.TOO_LARGE,
                f"{width}x{height} is {width * height} pixels, above the limit of {self.max_pixels}",
            )
        self.passed = max(self.passed, width * height)


def unsupported(what: str) -> NoReturn:
    """Refuse a well-formed file; `what` says which of its features has no way through."""
    raise CodecError(ErrorCode.UNSUPPORTED, what)
