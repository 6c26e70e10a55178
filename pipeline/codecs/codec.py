"""Decodes image files to pixels, and encodes restored pixels with the source's format and metadata.

    picture = decode(data, max_pixels=100_000_000)
    encoded = encode(picture, restored)             # (H, W, C) float32 in [0, 1]

The format is found from the first bytes; it stays the same unless `format` names another. Headers are checked
before pixels are decoded. `losses` names everything that a round trip cannot keep.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType

import numpy as np
from PIL import Image

from pipeline.codecs import avif, bmp, colour, heif, ifd, jpeg, jpeg2000, png, pnm, tiff, webp, xmp
from pipeline.codecs.depth import from_float, to_float
from pipeline.codecs.memory import address_space
from pipeline.codecs.picture import Encoded, Format, Loss, Metadata, Picture, SizeLimit, unsupported
from pipeline.codecs.sniff import identify
from pipeline.errors import CodecError, ErrorCode

__all__ = [
    "SUPPORTED_EXTENSIONS",
    "Encoded",
    "Loss",
    "Metadata",
    "Picture",
    "decode",
    "encode",
    "extension_of",
]

_FORMATS: dict[str, Format] = {
    "JPEG": jpeg,
    "PNG": png,
    "WEBP": webp,
    "TIFF": tiff,
    "AVIF": avif,
    "BMP": bmp,
    "JPEG2000": jpeg2000,
    "PPM": pnm,
}
if find_spec("pillow_heif") is not None:
    _FORMATS["HEIF"] = heif

_FULL_OF_DATA = {"WEBP", "AVIF", "HEIF", "JPEG2000", "JPEGXL"}
"""Formats that end in compressed data, which decoders take for an image whatever they are."""
_LOST = 1024
"""Bytes of zeros that no such file ends in."""
_BYTES_PER_PIXEL = 24  # at worst: the decoder's own frames, Pillow's image and our copy

SUPPORTED_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {extension: name for name, module in _FORMATS.items() for extension in module.EXTENSIONS}
)


def extension_of(format: str) -> str:
    """The extension of a file format, with its dot."""
    return next(extension for extension, name in SUPPORTED_EXTENSIONS.items() if name == format)


"""File extension, in lower case and with its dot, to format: objects with these extensions are inputs."""


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode one image.

    Args:
        data: the whole file.
        max_pixels: limit of width times height; a larger image is refused before pixels are decoded.

    Raises:
        CodecError: `unreadable`, `truncated`, `too_large`, `unsupported` or `out_of_memory`.
    """
    name = identify(data)
    if name not in _FORMATS:
        unsupported(f"{name} needs its plugin: install pillow-heif beside this package")
    if name in _FULL_OF_DATA and data.endswith(bytes(_LOST)):
        raise CodecError(ErrorCode.TRUNCATED, f"the {name} file ends in zeros: a copy that was not finished?")
    format_ = _FORMATS[name]
    limit = SizeLimit(max_pixels)
    try:
        picture = format_.read(data, limit)
        if picture.pixels.shape[2] == 4:
            colours = colour.inks_to_srgb(picture.pixels, picture.metadata.icc)
            picture = replace(picture, pixels=colours, losses=(*picture.losses, Loss.SEPARATION))
        picture = _alone(_upright(picture))
        return replace(picture, losses=tuple(dict.fromkeys(map(str, picture.losses))))
    except (CodecError, ImportError):  # a library that cannot be loaded is no fault of the image
        raise
    except MemoryError as error:
        raise _out_of_memory(name) from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, unless the sandbox has lifted it
        raise CodecError(ErrorCode.TOO_LARGE, str(error)) from error
    except Exception as error:  # hostile bytes can raise any exception in a decoder; it fails this image only
        if format_.is_truncated(data):
            message = f"the {name} file breaks off after {len(data)} bytes"
            raise CodecError(ErrorCode.TRUNCATED, message) from error
        if _memory_is_short(limit.passed):
            raise _out_of_memory(name) from error
        reason = str(error) or type(error).__name__
        raise CodecError(ErrorCode.UNREADABLE, f"the {name} file is damaged: {reason}") from error


def encode(picture: Picture, image: np.ndarray, *, format: str | None = None) -> Encoded:
    """Encode a restored image in the format of its source, with the source's metadata; deterministic.

    Args:
        picture: the result of `decode`.
        image: (H, W, C) of the shape of `picture.pixels`, and of its type or float in [0, 1].
        format: a value of `SUPPORTED_EXTENSIONS`, to change the format.

    Raises:
        CodecError: `unsupported` for a format that cannot be written, `numerical` for values not finite.
        ValueError: for an image of another shape.
    """
    if image.shape != picture.pixels.shape:
        raise ValueError(f"the image is {image.shape}, the picture it came from {picture.pixels.shape}")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise CodecError(ErrorCode.NUMERICAL, "the restored image holds values that are not finite")
    name = picture.format if format is None else format.upper()
    if name not in _FORMATS:
        unsupported(f"format {name!r} cannot be written: choose one of {', '.join(_FORMATS)}")
    format_ = _FORMATS[name]
    kept = format_.KEEPS
    if name != picture.format:
        # Compression flags of one format do not apply to another.
        picture = replace(picture, lossless=True, bare=False)
    losses = list(picture.losses)
    alpha = picture.alpha
    if alpha is not None and Loss.ALPHA not in kept:
        image = _on_white(to_float(image), alpha)
        alpha = None
        losses.append(Loss.ALPHA)
    depth = picture.pixels.dtype
    if depth == np.uint16 and Loss.BIT_DEPTH not in kept:
        depth, alpha = np.dtype(np.uint8), alpha if alpha is None else _eight_bits(alpha)
        losses.append(Loss.BIT_DEPTH)
    pixels = image if image.dtype == depth else from_float(to_float(image), depth)
    metadata, gone = picture.metadata.keep(kept)
    losses += gone
    if picture.mode == "CMYK":
        if Loss.CMYK in kept and metadata.icc is not None:
            pixels = colour.srgb_to_inks(pixels, metadata.icc)
        else:
            metadata = replace(metadata, icc=None)  # it describes inks, the pixels are sRGB
            losses.append(Loss.CMYK)
    if metadata.icc is not None and not colour.fits(metadata.icc, pixels.shape[2]):
        metadata = replace(metadata, icc=None)
        losses.append(Loss.ICC)
    data, more = format_.write(replace(picture, pixels=pixels, alpha=alpha, metadata=metadata))
    return Encoded(data, format_.EXTENSIONS[0], tuple(dict.fromkeys(map(str, [*losses, *more]))))


def _out_of_memory(name: str) -> CodecError:
    return CodecError(ErrorCode.OUT_OF_MEMORY, f"decoding this {name} file takes more memory than allowed")


def _memory_is_short(pixels: int) -> bool:
    """Whether this process may allocate less memory than decoding `pixels` pixels can take.

    Some decoders, such as those of WebP and AVIF, report a failed allocation as damage of the file.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return limit != resource.RLIM_INFINITY and limit - address_space() < _BYTES_PER_PIXEL * pixels


def _upright(picture: Picture) -> Picture:
    """Apply the EXIF orientation to the pixels, and reset it in EXIF and XMP."""
    exif, packet = picture.metadata.exif, picture.metadata.xmp
    if exif is None:
        return picture
    turn = ifd.orientation(exif)
    if packet is not None and turn != 1:  # an orientation that only XMP has is not applied, and stays
        packet = xmp.upright(packet)
    exif, thumbnail = ifd.upright(exif, swapped=turn > 4)
    return replace(
        picture,
        pixels=_oriented(picture.pixels, turn),
        alpha=None if picture.alpha is None else _oriented(picture.alpha, turn),
        tables=picture.tables if turn == 1 else None,  # after a turn JPEG's blocks lie on another grid
        metadata=replace(picture.metadata, exif=exif, xmp=packet),
        losses=(*picture.losses, *((Loss.THUMBNAIL,) if thumbnail else ())),
    )


def _alone(picture: Picture) -> Picture:
    """Drop what XMP says of parts of the file that are not in a picture: no format keeps them."""
    packet = picture.metadata.xmp
    if packet is None:
        return picture
    return replace(picture, metadata=replace(picture.metadata, xmp=xmp.of_the_image_alone(packet)))


def _oriented(samples: np.ndarray, turn: int) -> np.ndarray:
    """Apply EXIF orientation `turn` to (H, W, …) samples: 5 to 8 swap the axes before any flip."""
    if turn > 4:
        samples = samples.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        samples = samples[::-1]
    if turn in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def _on_white(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = (alpha / np.iinfo(alpha.dtype).max).astype(np.float32)[..., None]
    return image * weight + (1 - weight)


def _eight_bits(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples / 257).astype(np.uint8)
