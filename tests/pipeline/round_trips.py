"""What the tests of every codec send round: pixels and metadata, the way there and back, and the distance."""

from __future__ import annotations

import numpy as np
from broken_images import MAX_PIXELS
from PIL import Image

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS, Encoded, Picture, decode, encode

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><title>Harbour, 1911</title></x:xmpmeta>'
HEIF = ["HEIF"] if "HEIF" in SUPPORTED_EXTENSIONS.values() else []


def exif_block(turn: int = 1, width: int = 96, height: int = 64) -> bytes:
    """An EXIF block with a maker, an orientation, dimensions, a place and a thumbnail."""
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    exif[0x0112] = turn
    exif[0x0132] = "1911:05:01 12:00:00"
    exif.get_ifd(0x8769).update({0xA002: width, 0xA003: height, 0x9003: "1911:05:01 12:00:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (53.0, 32.0, 12.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def smooth(height: int, width: int, channels: int, bits: int, seed: int) -> np.ndarray:
    """(H, W, C) waves over the full range, with every bit in use."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width, :channels][:2]
    waves = np.sin(
        rows * random.uniform(0.01, 0.2) + columns * random.uniform(0.01, 0.2) + random.uniform(0, 6)
    )
    waves = waves * [0.45, 0.4, 0.35][:channels] + 0.5
    return np.rint(waves * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)


def real(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the restorer gives them: float32 in [0, 1]."""
    return (pixels / np.iinfo(pixels.dtype).max).astype(np.float32)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between two arrays of one integer type."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(np.iinfo(a.dtype).max ** 2 / error)


def decoded(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS)


def again(picture: Picture, format: str | None = None) -> Encoded:
    return encode(picture, real(picture.pixels), format=format)


def assert_named(data: bytes, loss: str) -> None:
    """Check that a file loses what it is said to, and that its result loses nothing more."""
    picture = decoded(data)
    assert loss in picture.losses
    assert set(picture.losses) <= {loss, "palette"}
    assert decoded(again(picture).data).losses == ()
