"""Converts inks to sRGB and back, through the file's embedded profile."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from pipeline.codecs.picture import unsupported

_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}


def fits(icc: bytes, channels: int) -> bool:
    """Whether a profile describes colours of this number of channels."""
    return icc[16:20] == _SPACES[channels]


def inks_to_srgb(inks: np.ndarray, icc: bytes | None) -> np.ndarray:
    """Convert (H, W, 4) uint8 CMYK to (H, W, 3) uint8 sRGB.

    Raises:
        CodecError: `unsupported` without a usable profile of the inks.
    """
    if icc is None:
        unsupported(
            "CMYK without a colour profile: embed the profile it was separated for, or convert it to RGB"
        )
    return _convert(inks, "CMYK", "RGB", icc)


def srgb_to_inks(colours: np.ndarray, icc: bytes) -> np.ndarray:
    """Convert (H, W, 3) uint8 sRGB to (H, W, 4) uint8 CMYK."""
    return _convert(colours, "RGB", "CMYK", icc)


def _convert(samples: np.ndarray, source: str, target: str, icc: bytes) -> np.ndarray:
    height, width = samples.shape[:2]
    image = Image.frombuffer(
        source, (width, height), np.ascontiguousarray(samples).tobytes(), "raw", source, 0, 1
    )
    converted = ImageCms.applyTransform(image, _transform(source, target, icc))
    if converted is None:  # only an in-place transform returns None
        raise AssertionError("the colour transform gave no image")
    return np.asarray(converted)


@lru_cache(maxsize=8)
def _transform(source: str, target: str, icc: bytes) -> ImageCms.ImageCmsTransform:
    """A relative colorimetric transform with black point compensation: it keeps colours in both gamuts."""
    if not fits(icc, 4):
        unsupported("CMYK with a colour profile that is not one of CMYK: embed the right one")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        inks = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(
            *((inks, srgb) if source == "CMYK" else (srgb, inks)),
            source,
            target,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        unsupported(f"CMYK with a colour profile that cannot be used both ways ({error})")
