"""AVIF, eight bits; monochrome stays monochrome.

A file in RGB, without a transform to luma and chroma, was compressed without loss: it has no other use.
Pillow writes no such files, so the result is as near as it can be, and its loss is named.
"""

from __future__ import annotations

import io

from PIL.AvifImagePlugin import AvifImageFile

from pipeline.codecs import boxes, ifd, raster
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported

EXTENSIONS = (".avif",)
KEEPS = frozenset({Loss.ALPHA, Loss.EXIF, Loss.XMP, Loss.ICC})

QUALITY = 95

_BEST = 100
"""Quality of files that were compressed without loss."""
_HIGH_BIT_DEPTH = 0x40
_RGB = b"\0\0"
"""Matrix coefficients of no transform."""


def read(data: bytes, limit: SizeLimit) -> Picture:
    opened = AvifImageFile(io.BytesIO(data))
    if opened.n_frames > 1:
        unsupported(f"AVIF sequence of {opened.n_frames} frames: only single images are restored")
    mode = opened.mode
    pixels, alpha, losses = raster.bands(opened, limit)
    if _is_deep(data):
        losses += (Loss.BIT_DEPTH,)
    if boxes.has_auxiliary_images(data):
        losses += (Loss.SECONDARY_IMAGES,)
    if boxes.has_others(data):
        losses += (Loss.OTHER_METADATA,)
    info = opened.info
    exif = (info.get("exif") or b"").removeprefix(b"Exif\0\0") or None
    metadata = Metadata(exif=exif, xmp=info.get("xmp"), icc=info.get("icc_profile"))
    return Picture(pixels, alpha, "AVIF", mode, metadata, losses, lossless=_is_lossless(data))


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    exif = picture.metadata.exif
    gray = picture.pixels.shape[2] == 1
    lossless = picture.lossless and picture.format == "AVIF"
    full = picture.pixels.repeat(3, axis=2) if gray and picture.alpha is not None else picture.pixels
    return raster.save(
        full,
        picture.alpha,
        "AVIF",
        quality=_BEST if lossless else QUALITY,
        subsampling="4:0:0" if gray else "4:4:4",
        max_threads=1,  # the same bytes whatever the number of cores
        exif=exif and ifd.without_orientation(exif),  # Pillow would rewrite the block to remove it
        xmp=picture.metadata.xmp,
        icc_profile=picture.metadata.icc,
    ), (*((Loss.LOSSLESS,) if lossless else ()), *(() if full is picture.pixels else (Loss.GRAY,)))


is_truncated = boxes.is_truncated


def _is_lossless(data: bytes) -> bool:
    """Whether the first image is stored in RGB."""
    found = boxes.find(data, b"meta", b"iprp", b"ipco")
    return found is not None and any(
        kind == b"colr" and data[start : start + 4] == b"nclx" and data[start + 8 : start + 10] == _RGB
        for kind, start, _ in boxes.walk(data, *found)
    )


def _is_deep(data: bytes) -> bool:
    """Whether the first image has more than eight bits by its AV1 configuration; Pillow reduces them."""
    body = boxes.find(data, b"meta", b"iprp", b"ipco", b"av1C")
    return body is not None and body[0] + 2 < len(data) and bool(data[body[0] + 2] & _HIGH_BIT_DEPTH)
