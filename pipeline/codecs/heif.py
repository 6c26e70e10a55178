"""HEIF, if its plugin is installed (`pip install pillow-heif`); it is imported when it is needed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from pipeline.codecs import boxes, ifd, raster, xmp
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported

EXTENSIONS = (".heic", ".heif", ".hif")
KEEPS = frozenset({Loss.ALPHA, Loss.EXIF, Loss.XMP, Loss.ICC})

QUALITY = 95


def read(data: bytes, limit: SizeLimit) -> Picture:
    import pillow_heif

    opened = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
    if len(opened) > 1:
        unsupported(f"HEIF of {len(opened)} images: only single images are restored")
    image = opened[0]
    limit.check(*image.size)
    info: dict[str, Any] = image.info
    losses: tuple[str, ...] = ()
    if info.get("bit_depth", 8) > 8:
        losses = (Loss.BIT_DEPTH,)
    if info.get("thumbnails") or info.get("depth_images") or boxes.has_auxiliary_images(data):
        losses += (Loss.SECONDARY_IMAGES,)
    if info.get("metadata") or boxes.has_others(data):
        losses += (Loss.OTHER_METADATA,)
    pixels, alpha = raster.split(np.asarray(image), has_alpha=image.mode.endswith("A"))
    exif = (info.get("exif") or b"").removeprefix(b"Exif\0\0") or None
    if exif is not None:
        # The decoder has turned the pixels by the file's properties; the orientation in EXIF repeats them.
        swapped = ifd.dimensions(exif) == image.size[::-1]
        exif, thumbnail = ifd.upright(exif, swapped=swapped)
        losses += (Loss.THUMBNAIL,) if thumbnail else ()
    packet = info.get("xmp")
    metadata = Metadata(exif=exif, xmp=packet and xmp.upright(packet), icc=info.get("icc_profile"))
    return Picture(pixels, alpha, "HEIF", image.mode, metadata, losses, lossless=False)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    import pillow_heif

    samples = raster.join(picture.pixels, picture.alpha)
    mode = ("L" if picture.pixels.shape[2] == 1 else "RGB") + ("" if picture.alpha is None else "A")
    stream = io.BytesIO()
    metadata = picture.metadata
    pillow_heif.encode(
        mode,
        (picture.width, picture.height),
        samples.tobytes(),
        stream,
        quality=QUALITY,
        chroma="444",
        exif=metadata.exif and b"Exif\0\0" + metadata.exif,
        xmp=metadata.xmp and xmp.upright(metadata.xmp),  # else the encoder makes readers turn the pixels
        icc_profile=metadata.icc,
    )
    return stream.getvalue(), ()


is_truncated = boxes.is_truncated
