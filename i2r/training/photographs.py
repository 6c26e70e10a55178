"""A folder of clean pictures: random crops of photographs to train on, and whole pictures to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from i2r.errors import SettingsError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SMALLEST_REDUCTION = 1.6
"""Photographs are reduced by at least this factor, which removes their noise and compression artefacts."""
LARGEST = 512
"""Longest side of a whole picture in pixels: of larger ones the middle is measured."""


def pictures(folder: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the pictures of a folder as they are, (H, W, 3) in [0, 1], in the order of their names.

    Raises:
        SettingsError: one cannot be read.
    """
    for path in _paths(folder):
        picture = _opened(path)
        width, height = (min(side, LARGEST) for side in picture.size)
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        levels = np.asarray(picture.crop((left, top, left + width, top + height)), np.float32)
        yield levels / np.float32(255)


class Photographs:
    """Random crops of photographs, each photograph held in memory at several sizes.

    Args:
        folder: searched recursively for JPEG, PNG and WebP files.
        crop: side of a crop in pixels.
        grey: share of the crops that are converted to grey, since archives contain grey photographs.
        short_sides: shorter sides, in pixels, that each photograph is reduced to.

    Raises:
        SettingsError: the folder has no photograph that is large enough, one cannot be read, or ``crop`` is
            larger than the smallest of ``short_sides``.
    """

    def __init__(
        self,
        folder: Path,
        crop: int,
        grey: float = 0.0,
        short_sides: Sequence[int] = (256, 384, 512, 768, 1080),
    ) -> None:
        if crop > min(short_sides):
            raise SettingsError(
                f"crops of {crop} px do not fit photographs whose short side is {min(short_sides)}: "
                f"give {min(short_sides)} or less"
            )
        self.crop, self.grey = crop, grey
        self.sizes: list[list[NDArray[np.uint8]]] = []
        self.sizes.extend(sizes for path in _paths(folder) if (sizes := _reduced(_opened(path), short_sides)))
        if not self.sizes:
            raise SettingsError(
                f"{folder} holds no photograph whose short side is at least "
                f"{short_sides[0] * SMALLEST_REDUCTION:.0f} px: give a folder that does"
            )

    def __len__(self) -> int:
        return len(self.sizes)

    def draw(self, count: int, generator: np.random.Generator | None = None) -> Tensor:
        """Draw crops (count, 3, crop, crop) in [-1, 1]; without a generator always the same ones."""
        generator = generator or np.random.default_rng(0)
        side = self.crop
        crops = np.empty((count, side, side, 3), np.uint8)
        for crop in crops:
            sizes = self.sizes[generator.integers(len(self.sizes))]
            photograph = sizes[generator.integers(len(sizes))]
            top = generator.integers(photograph.shape[0] - side + 1)
            left = generator.integers(photograph.shape[1] - side + 1)
            crop[:] = photograph[top : top + side, left : left + side]
            if generator.random() < 0.5:
                crop[:] = crop[:, ::-1].copy()
            if generator.random() < self.grey:
                crop[:] = crop.mean(axis=-1, keepdims=True).round()
        return torch.from_numpy(crops).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def _paths(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise SettingsError(f"the photograph {path} cannot be read ({error}): take it out") from error


def _reduced(photograph: Image.Image, short_sides: Sequence[int]) -> list[NDArray[np.uint8]]:
    sizes = []
    for short_side in (side for side in short_sides if side * SMALLEST_REDUCTION <= min(photograph.size)):
        scale = short_side / min(photograph.size)
        size = (round(photograph.width * scale), round(photograph.height * scale))
        sizes.append(np.asarray(photograph.resize(size, Image.Resampling.LANCZOS)))
    return sizes
