"""The degradations of the benchmark and the demo.

Pure functions from an image to an image: ``(H, W, C)`` float32 in [0, 1] goes in and comes out, the input is
left alone, and what is drawn comes from the generator that is passed, so the same seed gives the same damage.
Nothing here is used to restore: the method is never told which of these it looks at.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatImage = npt.NDArray[np.float32]
Degradation = Callable[[FloatImage, np.random.Generator], FloatImage]


def gaussian_noise(image: FloatImage, rng: np.random.Generator, *, sigma: float = 25 / 255) -> FloatImage:
    """White noise of standard deviation ``sigma`` on the [0, 1] scale, clipped to the range."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(sigma) * noise, 0, 1)


def noisy_shadows(
    image: FloatImage, rng: np.random.Generator, *, sigma: float = 25 / 255, fraction: float = 0.2
) -> FloatImage:
    """White noise of ``sigma`` on the darkest ``fraction`` of the image, with soft edges, clipped."""
    brightness = gaussian_blur(image.mean(axis=-1, keepdims=True), sigma=4)
    dark = (brightness <= np.quantile(brightness, fraction)).astype(np.float32)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + np.float32(sigma) * gaussian_blur(dark, sigma=2) * noise, 0, 1)


def salt_and_pepper(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.05) -> FloatImage:
    """Black and white pixels, half and half in expectation, over ``fraction`` of the image."""
    hit, white = rng.random(image.shape[:2]) < fraction, rng.random(image.shape[:2]) < 0.5
    return np.where(hit[..., None], white[..., None].astype(np.float32), image)


def dead_pixels(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.02) -> FloatImage:
    """Single samples of single channels stuck at 0 or 1, as on a worn sensor."""
    hit, high = rng.random(image.shape) < fraction, rng.random(image.shape) < 0.5
    return np.where(hit, high.astype(np.float32), image)


def jpeg(image: FloatImage, rng: np.random.Generator | None = None, *, quality: int = 10) -> FloatImage:
    """A round trip through the file that :func:`encode_jpeg` makes."""
    with Image.open(io.BytesIO(encode_jpeg(image, quality))) as picture:
        return _from_pillow(picture)


def encode_jpeg(image: FloatImage, quality: int = 10) -> bytes:
    """A baseline JPEG file of ``quality`` (1 to 95), with chroma of half the resolution both ways."""
    file = io.BytesIO()
    _to_pillow(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def gaussian_blur(
    image: FloatImage, rng: np.random.Generator | None = None, *, sigma: float = 1.5
) -> FloatImage:
    """A Gaussian of ``sigma`` pixels, cut at four of them, with reflected borders."""
    offsets = np.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    profile = np.exp(-0.5 * (offsets / sigma) ** 2)
    return _filtered(_filtered(image, profile[:, None]), profile[None, :])


def motion_blur(image: FloatImage, rng: np.random.Generator, *, length: float = 9) -> FloatImage:
    """A camera that moved ``length`` pixels along a straight line in a drawn direction; reflected borders."""
    angle = rng.uniform(0, np.pi)
    radius = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for position in np.linspace(-length / 2, length / 2, 8 * radius):
        row, column = radius + position * np.sin(angle), radius + position * np.cos(angle)
        top, left = int(row), int(column)
        # Bilinear: a point of the path counts for the four pixels around it.
        kernel[top : top + 2, left : left + 2] += np.outer(
            (1 - (row - top), row - top), (1 - (column - left), column - left)
        )
    return _filtered(image, kernel)


def low_resolution(
    image: FloatImage, rng: np.random.Generator | None = None, *, factor: int = 4
) -> FloatImage:
    """Bicubic reduction by ``factor`` with antialiasing, and bicubic enlargement to the old size.

    Raises:
        ValueError: a side is shorter than ``factor``.
    """
    height, width, channels = image.shape
    if min(height, width) < factor:
        raise ValueError(f"an image of {width}x{height} cannot be reduced by {factor}; take a smaller factor")
    small = (width // factor, height // factor)
    planes = []
    for channel in range(channels):
        plane = Image.fromarray(image[..., channel]).resize(small, Image.Resampling.BICUBIC)
        planes.append(np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32))
    return np.clip(np.stack(planes, axis=-1), 0, 1)


def rain(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.05) -> FloatImage:
    """Bright streaks, all slanted alike, over ``fraction`` of the pixels or one streak more."""
    slope = rng.uniform(-0.35, 0.35)
    height, width, _ = image.shape
    cover = np.zeros((height, width), dtype=np.float32)
    while np.count_nonzero(cover) < fraction * cover.size:
        length = rng.uniform(0.06, 0.16) * min(height, width)
        tilt, opacity = slope + rng.normal(0, 0.02), rng.uniform(0.6, 0.95)
        _draw_streak(cover, rng, slope=tilt, length=length, thickness=1.5, opacity=opacity)
    return _painted(image, cover, brightness=1.0)


def scratches(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.03) -> FloatImage:
    """Long, nearly vertical and opaque lines of worn film over ``fraction`` of the pixels, or a line more."""
    height, width, _ = image.shape
    cover = np.zeros((height, width), dtype=np.float32)
    while np.count_nonzero(cover) < fraction * cover.size:
        length = rng.uniform(0.3, 1.2) * height
        tilt, opacity = rng.normal(0, 0.08), rng.uniform(0.85, 1)
        _draw_streak(cover, rng, slope=tilt, length=length, thickness=1.2, opacity=opacity)
    return _painted(image, cover, brightness=0.95)


DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        "noise": gaussian_noise,
        "noisy-shadows": noisy_shadows,
        "jpeg": jpeg,
        "blur": gaussian_blur,
        "low-resolution": low_resolution,
        "rain": rain,
        "scratches": scratches,
        "dead-pixels": dead_pixels,
        "motion-blur": motion_blur,
        "salt-and-pepper": salt_and_pepper,
    }
)
"""By the name in tables and file names, each at the strength of its defaults."""


def _filtered(image: FloatImage, kernel: npt.NDArray[np.float64]) -> FloatImage:
    """Correlate with ``kernel`` (rows, columns), scaled to sum to one, borders reflected, in (H, W, C)."""
    height, width, _ = image.shape
    rows, columns = kernel.shape
    above, left = rows // 2, columns // 2
    pads = ((above, rows - 1 - above), (left, columns - 1 - left), (0, 0))
    padded = np.pad(image, pads, mode="symmetric")
    total = np.zeros_like(image)
    for row, column in np.argwhere(kernel > 0):
        weight = np.float32(kernel[row, column] / kernel.sum())
        total += weight * padded[row : row + height, column : column + width]
    return np.clip(total, 0, 1)


def _draw_streak(
    cover: FloatImage,
    rng: np.random.Generator,
    *,
    slope: float,
    length: float,
    thickness: float,
    opacity: float,
) -> None:
    """Draw an antialiased line into ``cover`` (H, W), centred on a drawn point, ``slope`` columns a row."""
    height, width = cover.shape
    middle_row, middle_column = rng.uniform(0, height), rng.uniform(0, width)
    for row in range(max(0, int(middle_row - length / 2)), min(height, int(middle_row + length / 2) + 1)):
        column = middle_column + slope * (row - middle_row)
        near = np.arange(max(0, int(column - thickness)), min(width, int(column + thickness) + 1))
        inside = np.clip((1 + thickness) / 2 - np.abs(near + 0.5 - column), 0, 1)
        cover[row, near] = np.maximum(cover[row, near], opacity * inside)


def _painted(image: FloatImage, cover: FloatImage, *, brightness: float) -> FloatImage:
    """Paint ``brightness`` over the image (H, W, C), as opaque as ``cover`` (H, W) says."""
    share = cover[..., None]
    return (1 - share) * image + share * np.float32(brightness)


def _to_pillow(image: FloatImage) -> Image.Image:
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _from_pillow(picture: Image.Image) -> FloatImage:
    image = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return image[..., None] if image.ndim == 2 else image
