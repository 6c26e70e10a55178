"""AVIF, eight bits; monochrome stays monochrome."""

from __future__ import annotations

import io

from PIL.AvifImagePlugin import AvifImageFile

from pipeline.codecs import boxes, raster
from pipeline.codecs.picture import Loss, Metadata, Picture, unsupported

EXTENSIONS = (".avif",)
KEEPS = frozenset({Loss.ALPHA, Loss.GRAY, Loss.EXIF, Loss.XMP, Loss.ICC})

QUALITY = 95

_HIGH_BIT_DEPTH, _MONOCHROME = 0x40, 0x10


def read(data: bytes, max_pixels: int) -> Picture:
    opened = AvifImageFile(io.BytesIO(data))
    if opened.n_frames > 1:
        unsupported(f"AVIF sequence of {opened.n_frames} frames: only single images are restored")
    mode = opened.mode
    flags = _coding_flags(data)
    pixels, alpha, losses = raster.bands(opened, max_pixels)
    if flags & _HIGH_BIT_DEPTH:
        losses += (Loss.BIT_DEPTH,)
    if flags & _MONOCHROME and pixels.shape[2] == 3:
        pixels = pixels[..., :1]
    info = opened.info
    exif = (info.get("exif") or b"").removeprefix(b"Exif\0\0") or None
    metadata = Metadata(exif=exif, xmp=info.get("xmp"), icc=info.get("icc_profile"))
    return Picture(pixels, alpha, "AVIF", mode, metadata, losses, lossless=False)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    gray = picture.pixels.shape[2] == 1
    return raster.save(
        picture.pixels.repeat(3, axis=2) if gray else picture.pixels,
        picture.alpha,
        "AVIF",
        quality=QUALITY,
        subsampling="4:0:0" if gray else "4:4:4",
        max_threads=1,  # the same bytes on a machine with other cores
        exif=picture.metadata.exif,
        xmp=picture.metadata.xmp,
        icc_profile=picture.metadata.icc,
    ), ()


is_truncated = boxes.is_truncated


def _coding_flags(data: bytes) -> int:
    """The third byte of the first image's AV1 configuration: bit depth, monochrome, subsampling."""
    body = boxes.find(data, b"meta", b"iprp", b"ipco", b"av1C")
    return data[body[0] + 2] if body and body[0] + 2 < len(data) else 0
