"""Image quality scores of (H, W, C) float arrays in [0, 1], with and without a reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]

MAD_TO_STD = 0.6744897501960817
"""The median of ``|n|`` for ``n`` of N(0, 1)."""


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite for equal images."""
    mse = float(np.mean(np.square(image.astype(np.float64) - reference)))
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity (Wang et al. 2004), in [-1, 1]; NaN below 11 px a side, where it is undefined."""
    if min(image.shape[:2]) < 11:
        return math.nan
    # Imported here: it loads torch, which takes seconds and which the other scores do not need.
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (_batch(image), _batch(reference))
    return float(cast("Tensor", structural_similarity_index_measure(*pair, data_range=1.0)))


def noise_level(image: Image) -> float:
    """Standard deviation of the noise, from the diagonal differences of 2x2 blocks.

    The median absolute deviation of the finest diagonal Haar coefficients (Donoho and Johnstone 1994).
    Zero for images under 2 px a side.
    """
    return _noise_level(image[1:] - image[:-1])


def no_reference(image: Image) -> dict[str, float]:
    """Compute all scores that need no reference, by name."""
    steps = _steps(image)
    down, right = _luminance(steps)
    return {
        "noise_level": _noise_level(steps[0]),
        "sharpness": _sharpness(down, right),
        "blockiness": _blockiness(down, right),
    }


def _steps(image: Image) -> tuple[Image, Image]:
    """Differences from every pixel to the one below and to the one on the right, shared by the scores."""
    return image[1:] - image[:-1], image[:, 1:] - image[:, :-1]


def _luminance(steps: tuple[Image, Image]) -> tuple[Image, Image]:
    """Average each over its channels: (H, W)."""
    down, right = (x[..., 0] if x.shape[-1] == 1 else x.mean(axis=-1) for x in steps)
    return down, right


def _noise_level(down: Image) -> float:
    width = down.shape[1] // 2 * 2
    diagonal = (down[::2, 1:width:2] - down[::2, :width:2]).ravel()
    if not diagonal.size:
        return 0.0
    np.abs(diagonal, out=diagonal).sort()
    middle = diagonal[(diagonal.size - 1) // 2 : diagonal.size // 2 + 1]
    return float(middle.mean()) / 2 / MAD_TO_STD


def _sharpness(down: Image, right: Image) -> float:
    """Standard deviation of the Laplacian of the luminance: low for blurred images. Zero under 3 px."""
    laplacian = down[1:, 1:-1] - down[:-1, 1:-1]
    if not laplacian.size:
        return 0.0
    laplacian += right[1:-1, 1:]
    laplacian -= right[1:-1, :-1]
    laplacian -= laplacian.mean()
    return float(np.linalg.norm(laplacian)) / math.sqrt(laplacian.size)


def _blockiness(down: Image, right: Image) -> float:
    """Mean step across the borders of the 8x8 JPEG grid over the mean step elsewhere; 1 without a grid."""
    ratios = []
    for steps in (down, right.T):
        length = steps.shape[1]
        means = np.abs(steps) @ np.full(length, 1 / length, np.float32)  # BLAS: a third of `mean`'s time
        borders = means[7::8]
        if inner := means.size - borders.size if borders.size else 0:
            elsewhere = (means.sum() - borders.sum()) / inner
            ratios.append((float(borders.mean()) + 1e-6) / (float(elsewhere) + 1e-6))
    return float(np.mean(ratios)) if ratios else 1.0


def _batch(image: Image) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
