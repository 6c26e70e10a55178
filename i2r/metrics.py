"""Image quality scores on (H, W, C) float arrays in [0, 1], with a reference and without one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]

_MAD_TO_STD = 0.6744897501960817  # the median of |n| for n of N(0, 1)


def psnr(image: Image, reference: Image) -> float:
    """Peak signal-to-noise ratio in dB over all channels; infinite for equal images."""
    mse = float(np.mean(np.square(image.astype(np.float64) - reference)))
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(image: Image, reference: Image) -> float:
    """Structural similarity (Wang et al. 2004), in [-1, 1]; NaN below 11 px a side, where it is undefined."""
    if min(image.shape[:2]) < 11:
        return math.nan
    # Here, since torch takes seconds to load and the scores without a reference do not need it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (_batch(image), _batch(reference))
    return float(cast("Tensor", structural_similarity_index_measure(*pair, data_range=1.0)))


def noise_level(image: Image) -> float:
    """Standard deviation of the noise, from the diagonal differences of 2x2 blocks.

    The median absolute deviation of the finest diagonal Haar coefficients (Donoho and Johnstone 1994).
    Zero for images under 2 px a side.
    """
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    if not height or not width:
        return 0.0
    falls = image[0:height:2, :width] - image[1:height:2, :width]
    diagonal = falls[:, 0::2] - falls[:, 1::2]
    return float(np.median(np.abs(diagonal, out=diagonal), overwrite_input=True) / 2 / _MAD_TO_STD)


def sharpness(image: Image) -> float:
    """Standard deviation of the Laplacian of the luminance: low for blurred images. Zero under 3 px."""
    luminance = _luminance(image)
    if min(luminance.shape) < 3:
        return 0.0
    laplacian = -4 * luminance[1:-1, 1:-1]
    laplacian += luminance[:-2, 1:-1]
    laplacian += luminance[2:, 1:-1]
    laplacian += luminance[1:-1, :-2]
    laplacian += luminance[1:-1, 2:]
    laplacian -= laplacian.mean()
    return math.sqrt(np.square(laplacian, out=laplacian).mean())


def blockiness(image: Image) -> float:
    """Mean step across the borders of the 8x8 JPEG grid over the mean step elsewhere; 1 without a grid."""
    luminance = _luminance(image)
    rows, columns = luminance[1:] - luminance[:-1], luminance[:, 1:] - luminance[:, :-1]
    ratios = []
    for steps, axis in ((rows, 1), (columns, 0)):
        means = np.abs(steps, out=steps).mean(axis=axis)
        border = np.arange(1, len(means) + 1) % 8 == 0
        if border.any() and not border.all():
            ratios.append((float(means[border].mean()) + 1e-6) / (float(means[~border].mean()) + 1e-6))
    return float(np.mean(ratios)) if ratios else 1.0


def no_reference(image: Image) -> dict[str, float]:
    """The scores that need no reference."""
    return {"noise_level": noise_level(image), "sharpness": sharpness(image), "blockiness": blockiness(image)}


def _luminance(image: Image) -> Image:
    """The mean of the channels, (H, W)."""
    return image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1)


def _batch(image: Image) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
