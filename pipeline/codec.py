"""Bytes of an image file to pixels and back, keeping what the file said about itself."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import CodecError, ErrorCode

SUPPORTED_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".png": "PNG",
        ".webp": "WEBP",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".bmp": "BMP",
    }
)
"""File extension, in lower case and with its dot, to format: an object with one of these is an input."""

_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels; `None` where it says nothing."""

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """A decoded image, plain and picklable: what `decode` gives and `encode` needs."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    format: str
    mode: str
    metadata: Metadata = field(default_factory=Metadata)
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """An encoded file: its bytes, its format's extension with the dot, and what it could not keep."""

    data: bytes
    extension: str
    losses: tuple[str, ...] = ()


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode one image; raises `CodecError`."""
    try:
        with Image.open(io.BytesIO(data), formats=list(_EXTENSIONS)) as opened:
            if opened.width * opened.height > max_pixels:
                raise CodecError(
                    ErrorCode.TOO_LARGE, f"{opened.width}x{opened.height} exceeds {max_pixels} pixels"
                )
            if getattr(opened, "n_frames", 1) > 1:
                raise CodecError(
                    ErrorCode.UNSUPPORTED, f"{opened.n_frames} frames; only single images are restored"
                )
            format_, mode, icc = str(opened.format), opened.mode, opened.info.get("icc_profile")
            exif = opened.getexif()
            image = ImageOps.exif_transpose(opened)
            exif.pop(0x0112, None)
    except CodecError:
        raise
    except UnidentifiedImageError as error:
        raise CodecError(ErrorCode.UNREADABLE, "not an image of a supported format") from error
    except (OSError, SyntaxError, ValueError) as error:
        code = ErrorCode.TRUNCATED if "truncated" in str(error).lower() else ErrorCode.UNREADABLE
        raise CodecError(code, str(error)) from error
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    gray = image.mode in {"1", "L", "LA"}
    channels = np.asarray(
        image.convert(("LA" if has_alpha else "L") if gray else ("RGBA" if has_alpha else "RGB"))
    )
    channels = channels.reshape(*channels.shape[:2], -1)
    alpha = channels[..., -1] if has_alpha else None
    return Picture(
        pixels=channels[..., : 1 if gray else 3],
        alpha=alpha,
        format=format_,
        mode=mode,
        metadata=Metadata(exif=exif.tobytes() if len(exif) else None, icc=icc),
    )


def encode(picture: Picture, image: np.ndarray, *, format: str | None = None) -> Encoded:
    """Encode `image`, (H, W, C) float32 in [0, 1], as the file that `picture` came from, or as `format`."""
    format = (format or picture.format).upper()
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    losses = picture.losses
    if picture.alpha is not None:
        if format == "JPEG":
            losses += ("alpha",)
        else:
            levels = np.dstack([levels, picture.alpha])
    options: dict[str, Any] = {}
    if format == "JPEG":
        options = {"quality": 95, "subsampling": 0}
    if format == "WEBP":
        options = {"quality": 95}
    if picture.metadata.exif:
        options["exif"] = picture.metadata.exif
    if picture.metadata.icc:
        options["icc_profile"] = picture.metadata.icc
    stream = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else np.ascontiguousarray(levels)).save(
        stream, format, **options
    )
    return Encoded(stream.getvalue(), _EXTENSIONS[format], losses)
