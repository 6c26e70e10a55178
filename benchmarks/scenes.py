"""What the benchmark measures on: photographs that no training saw, and the ways of degrading them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image

from i2r.metrics import psnr
from i2r.training.degradation import (
    Degradation,
    FloatImage,
    dead_pixels,
    drops,
    dust,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    motion_blur,
    noisy_shadows,
    rain,
    salt_and_pepper,
    scratches,
    stains,
)

SEED = 20250321
CEILING = 99.0
"""dB of equal images."""
PHOTOGRAPHS = Path(__file__).parent / "photographs"
SEPIA_LIGHT, SEPIA_DARK = np.array([[1.0, 0.93, 0.78], [0.12, 0.07, 0.03]], np.float32)
"""What white and black have become on an old print."""


def leave_alone(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    return image


def in_colour(image: FloatImage) -> FloatImage:
    return image


def in_gray(image: FloatImage) -> FloatImage:
    return image.mean(axis=-1, keepdims=True)


def in_sepia(image: FloatImage) -> FloatImage:
    return SEPIA_DARK + (SEPIA_LIGHT - SEPIA_DARK) * in_gray(image)


def sepia_grain(image: FloatImage, rng: np.random.Generator, *, sigma: float) -> FloatImage:
    """Grain of a print, which is toned as its picture is; ``sigma`` is that of the gray picture."""
    grain = rng.normal(0, sigma, (*image.shape[:2], 1)).astype(np.float32)
    return np.clip(image + (SEPIA_LIGHT - SEPIA_DARK) * grain, 0, 1)


@dataclass(frozen=True)
class Row:
    """A way to degrade, at one strength.

    Attributes:
        degrade: from the clean to the degraded image.
        forms: what the partially blind setting knows; empty where there is nothing to specify.
        blur: whether the image is convolved with one kernel.
        photographed: how the photograph looks before it is degraded, which is what to come back to.
    """

    degrade: Degradation
    forms: str = ""
    blur: bool = False
    photographed: Callable[[FloatImage], FloatImage] = in_colour


ROWS: Mapping[str, Row] = {
    "clean": Row(leave_alone),
    "noise 15/255": Row(partial(gaussian_noise, sigma=15 / 255), "noise"),
    "noise 25/255": Row(partial(gaussian_noise, sigma=25 / 255), "noise"),
    "noise 50/255": Row(partial(gaussian_noise, sigma=50 / 255), "noise"),
    "JPEG quality 10": Row(partial(jpeg, quality=10), "jpeg"),
    "JPEG quality 20": Row(partial(jpeg, quality=20), "jpeg"),
    "blur sigma 1.5": Row(partial(gaussian_blur, sigma=1.5), "gaussian_blur", blur=True),
    "blur sigma 3": Row(partial(gaussian_blur, sigma=3.0), "gaussian_blur", blur=True),
    "motion blur 9 px": Row(partial(motion_blur, length=9), "motion_blur", blur=True),
    "motion blur 15 px": Row(partial(motion_blur, length=15), "motion_blur", blur=True),
    "low resolution 2x": Row(partial(low_resolution, factor=2), "downsampling"),
    "low resolution 4x": Row(partial(low_resolution, factor=4), "downsampling"),
    "rain 2 %": Row(partial(rain, fraction=0.02), "mask"),
    "rain 5 %": Row(partial(rain, fraction=0.05), "mask"),
    "scratches 1 %": Row(partial(scratches, fraction=0.01), "mask"),
    "scratches 3 %": Row(partial(scratches, fraction=0.03), "mask"),
    "dead pixels 1 %": Row(partial(dead_pixels, fraction=0.01), "mask"),
    "dead pixels 2 %": Row(partial(dead_pixels, fraction=0.02), "mask"),
    "salt and pepper 2 %": Row(partial(salt_and_pepper, fraction=0.02), "mask"),
    "salt and pepper 5 %": Row(partial(salt_and_pepper, fraction=0.05), "mask"),
    "dust 0.5 %": Row(partial(dust, fraction=0.005), "mask"),
    "dust 1 %": Row(partial(dust, fraction=0.01), "mask"),
    "stains 5 %": Row(partial(stains, fraction=0.05), "mask"),
    "stains 10 %": Row(partial(stains, fraction=0.1), "mask"),
    "drops 4 %": Row(partial(drops, fraction=0.04), "mask"),
    "drops 8 %": Row(partial(drops, fraction=0.08), "mask"),
    "dark scratches 1 %": Row(partial(scratches, fraction=0.01, brightness=0.05), "mask"),
    "dark scratches 3 %": Row(partial(scratches, fraction=0.03, brightness=0.05), "mask"),
    "noisy shadows 15/255": Row(partial(noisy_shadows, sigma=15 / 255)),
    "noisy shadows 25/255": Row(partial(noisy_shadows, sigma=25 / 255)),
    "gray noise 10/255": Row(partial(gaussian_noise, sigma=10 / 255), "noise", photographed=in_gray),
    "gray noise 25/255": Row(partial(gaussian_noise, sigma=25 / 255), "noise", photographed=in_gray),
    "gray noisy shadows 15/255": Row(partial(noisy_shadows, sigma=15 / 255), photographed=in_gray),
    "gray noisy shadows 25/255": Row(partial(noisy_shadows, sigma=25 / 255), photographed=in_gray),
    "sepia grain 10/255": Row(partial(sepia_grain, sigma=10 / 255), "noise", photographed=in_sepia),
    "sepia grain 25/255": Row(partial(sepia_grain, sigma=25 / 255), "noise", photographed=in_sepia),
}


@dataclass(frozen=True)
class Case:
    """One photograph, degraded in one way; the same whatever else is measured.

    Attributes:
        row: a name of ``ROWS``.
        photograph: its name.
        colour: the photograph, (H, W, 3) in [0, 1].
    """

    row: str
    photograph: str
    colour: FloatImage

    @property
    def how(self) -> Row:
        return ROWS[self.row]

    @cached_property
    def clean(self) -> FloatImage:
        """What to come back to, (H, W, C) in [0, 1]."""
        return rounded(self.how.photographed(self.colour))

    @cached_property
    def degraded(self) -> FloatImage:
        """What a method is given, (H, W, C) in [0, 1]."""
        return rounded(self.how.degrade(self.clean, self._rng()))

    @cached_property
    def kernel(self) -> FloatImage:
        """Of a blur: what it makes of a single bright pixel, odd sides, sums to one."""
        impulse = np.zeros((*self.clean.shape[:2], 1), np.float32)
        middle = impulse.shape[0] // 2, impulse.shape[1] // 2
        impulse[middle] = 1
        spread = self.how.degrade(impulse, self._rng())[..., 0]
        reach = int(np.abs(np.argwhere(spread > 0) - middle).max())
        kernel = spread[tuple(slice(at - reach, at + reach + 1) for at in middle)]
        return kernel / kernel.sum()

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(
            [SEED, zlib.crc32(self.row.encode()), zlib.crc32(self.photograph.encode())]
        )


def photographs() -> dict[str, FloatImage]:
    """By name, (H, W, 3) in [0, 1]."""
    images = {}
    for path in sorted(PHOTOGRAPHS.glob("*.png")):
        with Image.open(path) as picture:
            images[path.stem] = np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)
    return images


def evenly(images: Mapping[str, FloatImage], count: int) -> dict[str, FloatImage]:
    """So many of some images, evenly spread over them."""
    return dict(list(images.items())[:: max(1, len(images) // count)][:count])


def bounded_psnr(image: FloatImage, clean: FloatImage) -> float:
    """PSNR in dB, at most `CEILING`, which stands for infinity: JSON has none."""
    return min(psnr(image, clean), CEILING)


def rounded(image: FloatImage) -> FloatImage:
    """As an 8-bit file would hold it."""
    return (np.rint(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)
