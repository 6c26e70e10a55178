"""The degradations of the benchmark and the demo.

Pure functions from an image to an image, both ``(H, W, C)`` float32 in [0, 1]; the input is not modified.
All randomness comes from the generator passed in, so that the same seed gives the same damage. Restoration
does not use this module: the method does not know which degradation was applied.
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
Place = tuple[slice, slice]
"""Rows and columns of a part of an image."""
Degradation = Callable[[FloatImage, np.random.Generator], FloatImage]

_BROWN = np.array([0.5, 0.26, 0.05], dtype=np.float32)
_YELLOW = np.array([0.9, 0.7, 0.2], dtype=np.float32)


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
    """Encode with :func:`encode_jpeg` and decode."""
    with Image.open(io.BytesIO(encode_jpeg(image, quality))) as picture:
        return _from_pillow(picture)


def encode_jpeg(image: FloatImage, quality: int = 10) -> bytes:
    """Encode a baseline JPEG file of ``quality`` (1 to 95), with chroma halved in both directions (4:2:0)."""
    file = io.BytesIO()
    _to_pillow(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def gaussian_blur(
    image: FloatImage, rng: np.random.Generator | None = None, *, sigma: float = 1.5
) -> FloatImage:
    """Gaussian blur of ``sigma`` pixels, cut at four sigma, with reflected borders."""
    offsets = np.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    profile = np.exp(-0.5 * (offsets / sigma) ** 2)
    return _filtered(_filtered(image, profile[:, None]), profile[None, :])


def motion_blur(image: FloatImage, rng: np.random.Generator, *, length: float = 9) -> FloatImage:
    """Blur of a camera that moved ``length`` pixels on a line in a random direction; reflected borders."""
    angle = rng.uniform(0, np.pi)
    radius = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for position in np.linspace(-length / 2, length / 2, 8 * radius):
        row, column = radius + position * np.sin(angle), radius + position * np.cos(angle)
        top, left = int(row), int(column)
        # Bilinear: each point of the path is spread over the four pixels around it.
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
    """Bright streaks of about one slope, drawn until they cover ``fraction`` of the pixels."""
    slope = rng.uniform(-0.35, 0.35)
    height, width, _ = image.shape
    cover = np.zeros((height, width), dtype=np.float32)
    while np.count_nonzero(cover) < fraction * cover.size:
        length = rng.uniform(0.06, 0.16) * min(height, width)
        tilt, opacity = slope + rng.normal(0, 0.02), rng.uniform(0.6, 0.95)
        _draw_streak(cover, rng, slope=tilt, length=length, thickness=1.5, opacity=opacity)
    return _painted(image, cover, brightness=1.0)


def scratches(
    image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.03, brightness: float = 0.95
) -> FloatImage:
    """Long, nearly vertical and opaque lines of worn film, drawn until they cover ``fraction`` of the pixels.

    Their ``brightness`` is in [0, 1]: scratches of a negative are bright, those of a positive dark.
    """
    height, width, _ = image.shape
    cover = np.zeros((height, width), dtype=np.float32)
    while np.count_nonzero(cover) < fraction * cover.size:
        length = rng.uniform(0.3, 1.2) * height
        tilt, opacity = rng.normal(0, 0.08), rng.uniform(0.85, 1)
        _draw_streak(cover, rng, slope=tilt, length=length, thickness=1.2, opacity=opacity)
    return _painted(image, cover, brightness=brightness)


def dust(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.01) -> FloatImage:
    """Opaque specks and a few short hairs, drawn until they cover ``fraction`` of the pixels.

    Specks have radii of 1 to 3.5 pixels, most of them small. All dust of an image is dark, as on a scanned
    print, or all of it bright, as on a negative.
    """
    brightness = rng.choice([0.08, 0.95])
    cover = np.zeros(image.shape[:2], dtype=np.float32)
    while np.count_nonzero(cover) < fraction * cover.size:
        if rng.random() < 0.12:
            _draw_hair(cover, rng, length=rng.uniform(8, 22), thickness=rng.uniform(0.9, 1.5))
        else:
            radius = 1 + 2.5 * rng.random() ** 2
            place, depth = _blob(cover.shape, rng, radius=radius, roughness=0.25)
            opacity = np.float32(rng.uniform(0.9, 1))
            cover[place] = np.maximum(cover[place], opacity * np.clip(depth + 0.5, 0, 1))
    return _painted(image, cover, brightness=brightness)


def stains(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.1) -> FloatImage:
    """Translucent yellow and brown blots, drawn until they cover ``fraction`` of the pixels.

    Radii are 0.06 to 0.16 of the shorter side. A blot multiplies the scene by its colour, as dye does, and
    fades over an edge of two pixels. It is darker near the edge, where drying liquid leaves most of its dye.
    """
    height, width, channels = image.shape
    light = np.ones((height, width, 3), dtype=np.float32)
    covered = np.zeros((height, width), dtype=np.bool_)
    while np.count_nonzero(covered) < fraction * covered.size:
        radius = max(2.0, rng.uniform(0.06, 0.16) * min(height, width))
        place, depth = _blob(covered.shape, rng, radius=radius, roughness=0.25)
        colour = _BROWN + rng.random(dtype=np.float32) * (_YELLOW - _BROWN)
        rim = np.exp(-np.square((depth - 2.5) / 2))
        density = rng.uniform(0.4, 0.65) * (1 + 0.45 * rim) * np.clip(depth / 2, 0, 1)
        light[place] *= 1 - density[..., None].astype(np.float32) * (1 - colour)
        covered[place] |= depth > 0
    return image * (light if channels == 3 else light.mean(axis=-1, keepdims=True))


def drops(image: FloatImage, rng: np.random.Generator, *, fraction: float = 0.08) -> FloatImage:
    """Drops of water on the lens or a window, drawn until they cover ``fraction`` of the pixels.

    Radii are 0.02 to 0.075 of the shorter side. A drop is a strong lens: it shows the scene around it upside
    down, small and out of focus, with a dark rim and the reflection of a light.
    """
    height, width, _ = image.shape
    degraded = image.copy()
    covered = np.zeros((height, width), dtype=np.bool_)
    towards_light = rng.uniform(-2.6, -0.5)
    while np.count_nonzero(covered) < fraction * covered.size:
        radius = max(1.5, rng.uniform(0.02, 0.075) * min(height, width))
        place, depth = _blob(covered.shape, rng, radius=radius, roughness=0.07)
        rows, columns = np.nonzero(depth > -0.5)
        if not len(rows):
            continue
        seen = _through_a_lens(image, place, reach=rng.uniform(2.5, 4) * radius)
        seen *= (1 - 0.45 * np.exp(-np.clip(depth, 0, None) / (0.18 * radius)))[..., None]
        away_down = _centres(place[0]) - rows.mean() - place[0].start - 0.5
        away_across = _centres(place[1]) - columns.mean() - place[1].start - 0.5
        glint = np.hypot(
            away_down[:, None] - 0.5 * radius * np.sin(towards_light),
            away_across - 0.5 * radius * np.cos(towards_light),
        )
        bright = np.clip(0.22 * radius + 0.7 - glint, 0, 1)[..., None]
        seen += 0.9 * bright * (1 - seen)
        share = np.clip(depth + 0.5, 0, 1)[..., None]
        degraded[place] = (1 - share) * degraded[place] + share * seen
        covered[place] |= depth > -0.5
    return np.clip(degraded, 0, 1)


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
        "dust": dust,
        "stains": stains,
        "drops": drops,
    }
)
"""Every degradation by its name in tables and file names, used with its default strength."""


def _filtered(image: FloatImage, kernel: npt.NDArray[np.float64]) -> FloatImage:
    """Correlate (H, W, C) with ``kernel`` (rows, columns), scaled to sum to one; borders are reflected."""
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
    """Draw an antialiased line of ``slope`` columns per row into ``cover`` (H, W), around a random point."""
    height, width = cover.shape
    middle_row, middle_column = rng.uniform(0, height), rng.uniform(0, width)
    for row in range(max(0, int(middle_row - length / 2)), min(height, int(middle_row + length / 2) + 1)):
        column = middle_column + slope * (row - middle_row)
        near = np.arange(max(0, int(column - thickness)), min(width, int(column + thickness) + 1))
        inside = np.clip((1 + thickness) / 2 - np.abs(near + 0.5 - column), 0, 1)
        cover[row, near] = np.maximum(cover[row, near], opacity * inside)


def _blob(
    shape: tuple[int, ...], rng: np.random.Generator, *, radius: float, roughness: float
) -> tuple[Place, FloatImage]:
    """Draw a blob around a random point of an image of ``shape``; ``roughness`` is a share of the radius.

    Returns the rows and columns around it, and the distance of every pixel there from the outline, in pixels,
    positive inside.
    """
    middle = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
    heights, phases = rng.normal(0, roughness, 6), rng.uniform(0, 2 * np.pi, 6)
    place = _around(shape, middle, 2 * radius + 1)
    down, across = _centres(place[0])[:, None] - middle[0], _centres(place[1]) - middle[1]
    angle = np.arctan2(down, across)
    waves = sum(heights[k] / (k + 1) * np.cos((k + 1) * angle + phases[k]) for k in range(6))
    outline = radius * np.clip(1 + waves, 0.5, 2)
    return place, (outline - np.hypot(down, across)).astype(np.float32)


def _draw_hair(cover: FloatImage, rng: np.random.Generator, *, length: float, thickness: float) -> None:
    """Draw an antialiased opaque line into ``cover`` (H, W), from a random point along a random curve."""
    middle = rng.uniform(0, cover.shape[0]), rng.uniform(0, cover.shape[1])
    angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 2) / length
    place = _around(cover.shape, middle, length + thickness + 1)
    rows, columns = _centres(place[0])[:, None], _centres(place[1])
    row, column = middle
    for _ in range(math.ceil(2 * length)):
        inside = np.clip((1 + thickness) / 2 - np.hypot(rows - row, columns - column), 0, 1)
        cover[place] = np.maximum(cover[place], inside)
        row, column, angle = row + 0.5 * np.sin(angle), column + 0.5 * np.cos(angle), angle + 0.5 * bend


def _through_a_lens(image: FloatImage, place: Place, reach: float) -> FloatImage:
    """Return ``place`` of an image (H, W, C) as seen through a drop, blurred.

    It shows the image up to ``reach`` pixels beyond ``place``, upside down and reduced.
    """
    sides, seen = [], []
    for part, length in zip(place, image.shape, strict=False):
        at = np.arange(math.floor(part.start - reach), math.ceil(part.stop + reach))[::-1] % (2 * length)
        sides.append(np.minimum(at, 2 * length - 1 - at))
    rows, columns = (part.stop - part.start for part in place)
    for plane in np.moveaxis(image[np.ix_(*sides)], -1, 0):
        small = Image.fromarray(plane).resize((columns // 2 + 1, rows // 2 + 1), Image.Resampling.BOX)
        seen.append(np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR)))
    return np.stack(seen, axis=-1)


def _around(shape: tuple[int, ...], middle: tuple[float, float], reach: float) -> Place:
    """Return the rows and columns of an image no farther than ``reach`` from a point."""
    rows, columns = (
        slice(max(0, math.floor(at - reach)), min(length, math.ceil(at + reach)))
        for at, length in zip(middle, shape, strict=True)
    )
    return rows, columns


def _centres(part: slice) -> npt.NDArray[np.float64]:
    """Return the centres of rows or columns of pixels."""
    return np.arange(part.start, part.stop) + 0.5


def _painted(image: FloatImage, cover: FloatImage, *, brightness: float) -> FloatImage:
    """Blend ``brightness`` over the image (H, W, C), with opacity ``cover`` (H, W)."""
    share = cover[..., None]
    return (1 - share) * image + share * np.float32(brightness)


def _to_pillow(image: FloatImage) -> Image.Image:
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _from_pillow(picture: Image.Image) -> FloatImage:
    image = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return image[..., None] if image.ndim == 2 else image
