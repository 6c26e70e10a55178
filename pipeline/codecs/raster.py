"""Converts between Pillow's images and arrays: every mode becomes one, three or four channels, and alpha."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.codecs.picture import Loss, SizeLimit, unsupported

Bands = tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]
"""(H, W, C) pixels, (H, W) alpha or `None`, losses."""


def bands(opened: ImageFile, limit: SizeLimit) -> Bands:
    """Decode an image that Pillow has opened; C is 4 for CMYK.

    Raises:
        CodecError: `too_large`, or `unsupported` for a mode that could not be written again.
    """
    limit.check(opened.width, opened.height)
    opened.load()
    image: Image.Image = opened
    losses: tuple[str, ...] = ()
    match image.mode:
        case "1":
            image, losses = image.convert("L"), (Loss.BILEVEL,)
        case "P" | "PA":
            image, losses = _full_colour(image), (Loss.PALETTE,)
        case "L" | "RGB" if "transparency" in image.info:
            image = image.convert(image.mode + "A")
        case "YCbCr":
            image = image.convert("RGB")
        case "RGBX":
            image, losses = image.convert("RGB"), (Loss.EXTRA_CHANNELS,)
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK" | "I;16":
            pass
        case "I;16B" | "I;16L":
            image = image.convert("I;16")
        case mode:
            unsupported(f"images of mode {mode} are not restored: convert them to gray or RGB first")
    return *split(np.asarray(image), has_alpha=image.mode in {"LA", "RGBA"}), losses


def split(samples: np.ndarray, *, has_alpha: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Split (H, W[, C]) samples into (H, W, C) pixels and (H, W) alpha, their last channel, or None."""
    samples = samples.reshape(*samples.shape[:2], -1)
    if not has_alpha:
        return samples, None
    return np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])


def join(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Invert `split`: (H, W) for one channel, (H, W, C) otherwise, contiguous."""
    samples = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], axis=2)
    return np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def save(pixels: np.ndarray, alpha: np.ndarray | None, format: str, **options: Any) -> bytes:
    """Encode through Pillow: gray, gray with alpha, RGB, RGBA, or CMYK for four channels without alpha."""
    samples = join(pixels, alpha)
    if alpha is not None and pixels.shape[2] == 1:
        mode = "LA"
    elif pixels.shape[2] == 4:
        mode = "CMYK"
    else:
        mode = {1: "I;16" if pixels.dtype == np.uint16 else "L", 3: "RGB"}[pixels.shape[2]]
        mode += "" if alpha is None else "A"
    height, width = pixels.shape[:2]
    image = Image.frombuffer(mode, (width, height), samples.tobytes(), "raw", mode, 0, 1)
    stream = io.BytesIO()
    image.save(stream, format, **{name: value for name, value in options.items() if value is not None})
    return stream.getvalue()


def _full_colour(image: Image.Image) -> Image.Image:
    """Convert an indexed image to the fewest channels that hold its palette."""
    has_alpha = image.mode == "PA" or "transparency" in image.info
    full = image.convert("RGBA" if has_alpha else "RGB")
    red, green, blue = (full.getchannel(band) for band in "RGB")
    if "icc_profile" in image.info or not (red.tobytes() == green.tobytes() == blue.tobytes()):
        return full  # a colour profile does not fit one channel of gray
    return Image.merge("LA", (red, full.getchannel("A"))) if has_alpha else red
