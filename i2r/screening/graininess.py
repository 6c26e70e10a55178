"""Graininess: how much each patch of an image looks like noise, to detect noise in a part of the image.

Sensors are noisier in the shadows, scans where the film was dense, composites where one source was poor. In a
patch of 32 pixels noise differs from texture in that it is strong and neighbouring pixels are uncorrelated.
In colour this is measured on the noise that the prior predicts; one patch of clean photographs in a thousand
comes near it. In gray a colour prior predicts noise as texture, so it is measured on the image's finest
differences: those of noise are correlated like those of white noise, those of textures are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import diagonal_differences, widened
from i2r.metrics import MAD_TO_STD
from i2r.screening.calibration import TAIL, Spread

_WHITE = {(0, 1): -0.5, (1, 0): -0.5, (1, 1): 0.25, (1, -1): 0.25} | dict.fromkeys(
    [(0, 2), (2, 0), (1, 2), (2, 1), (1, -2), (2, -1), (2, 2), (2, -2)], 0.0
)
"""Correlation of the diagonal differences of white noise, by their offset in rows and columns."""
_OF_PATCH = (-3, -2, -1)


@dataclass(frozen=True)
class GrainTuning:
    """How noise in a part of an image is detected.

    Attributes:
        patch: side of the patches, in pixels: smaller ones detect noise too, but also texture.
        step: largest distance between the starts of patches, in pixels.
        noisiest: quantile over patches, so that noise in a twentieth of a region is detected.
        sure_rate: share of regions of clean photographs that exceed the threshold of surely noisy patches.
        growth: largest distance of likely noisy patches from surely noisy ones, in patches.
        strongest_difference: differences stronger than this do not raise the graininess; in units of the
            range [-1, 1].
        correlation_weight: of the distance of the differences' correlations from those of white noise.
        flattest: differences due to rounding, in units of the range.
        near: pixels that noise may extend beyond its patches.
        window: side of the window over which a pixel's power is averaged, in pixels.
        least_power: of noisy pixels, over the median power in surely noisy patches.
        most_power: limit of a pixel's power, in units of typical power, so that edges do not dominate.
        values_at_once: values of patches that are processed together; bounds memory alone.
    """

    patch: int = 32
    step: int = 16
    noisiest: float = 0.95
    sure_rate: float = 1e-3
    growth: int = 4
    strongest_difference: float = 0.12
    correlation_weight: float = 3.0
    flattest: float = 2e-3
    near: int = 8
    window: int = 9
    least_power: float = 0.5
    most_power: float = 4.0
    values_at_once: int = 1 << 24

    @property
    def reach(self) -> int:
        """No farther from where noise is sure it is found, in pixels."""
        return self.growth * self.step + 2 * self.patch


GRAIN = GrainTuning()


def graininess(images: Tensor, eps: Tensor) -> Tensor:
    """Compute how much every patch looks like noise.

    Args:
        images: (N, C, H, W) in [-1, 1]; sides of at least a patch.
        eps: (N, C, H, W), the noise that the prior predicts at a low level, of unit scale.

    Returns:
        (N, R, K), for patches that start at :func:`starts` of both sides. For colour and latents: the log
        robust standard deviation of ``eps``, minus twice the largest correlation of neighbours over the
        directions; about 0 for white noise of the level or above. For gray: the log robust standard deviation
        of the images' diagonal differences, minus the weighted distance of their correlations from those of
        white noise.
    """
    score, values = (_of_noise, eps) if images.shape[1] > 1 else (_of_differences, _differences(images))
    side = GRAIN.patch
    patches = values.unfold(-2, side, 1).unfold(-2, side, 1).permute(0, 2, 3, 1, 4, 5)
    rows, columns = (starts(length, values.device) for length in values.shape[-2:])
    size = len(values) * values.shape[1] * len(columns) * side**2
    together = rows[:, None].split(max(1, GRAIN.values_at_once // size))
    return torch.cat([score(patches[:, some, columns]) for some in together], dim=1)


def starts(length: int, device: torch.device | None = None) -> Tensor:
    """Return the starts of the patches along a side of ``length`` pixels, evenly spaced from end to end."""
    last = length - GRAIN.patch
    count = -(-last // GRAIN.step)
    return torch.arange(count + 1, device=device) * last // max(count, 1)


def patchiness(images: Tensor, eps: Tensor) -> Tensor:
    """Compute the graininess of the noisiest patches of each image, (N,); see :func:`graininess`."""
    return graininess(images, eps).flatten(1).quantile(GRAIN.noisiest, dim=1)


def noise_mask(image: Tensor, eps: Tensor, where: Tensor, clean: Spread) -> Tensor:
    """Find the noisy pixels (H, W) of an image of which noise covers a part.

    Finds patches by hysteresis: surely noisy ones in ``where``, and likely noisy ones beside them. Then finds
    the noisy pixels in and around the patches by their own power.

    Args:
        image, eps: (C, H, W), as in :func:`graininess`.
        where: (H, W), the pixels of the regions with atypical patchiness.
        clean: distribution of the patchiness of clean photographs.
    """
    grain = graininess(image[None], eps[None])[0]
    found = sure = (grain > clean.exceeded_by(GRAIN.sure_rate)) & _mostly(where)
    for _ in range(GRAIN.growth):
        found = found | (widened(found, 1) & (grain > clean.exceeded_by(TAIL)))
    within = _painted(sure, where)
    if not within.any():
        return torch.zeros_like(where)
    if len(image) > 1:
        values = eps
    else:
        values = _differences(image[None])[0]
        values = values / (values[:, within].abs().median() / MAD_TO_STD + GRAIN.flattest)
    power = _smoothed(values.square().mean(dim=0).clamp_max(GRAIN.most_power), GRAIN.window)
    noisy = power > GRAIN.least_power * power[within].median()
    return widened(_painted(found, where), GRAIN.near) & noisy


def _differences(images: Tensor) -> Tensor:
    """Diagonal differences of (N, C, H, W), scaled like the noise; the last row and column are repeated."""
    steps = diagonal_differences(images.flatten(0, 1))
    return F.pad(steps, (0, 1, 0, 1), mode="replicate").view_as(images)


def _of_differences(patches: Tensor) -> Tensor:
    """Compute the graininess (...) of patches of diagonal differences (..., C, S, S)."""
    scale = _magnitude(patches) + GRAIN.flattest
    power = patches.square().mean(dim=_OF_PATCH) + 1e-9
    apart, side = torch.zeros_like(scale), patches.shape[-1]
    for (down, across), white in _WHITE.items():
        one = patches[..., down:, max(across, 0) : side + min(across, 0)]
        other = patches[..., : side - down, max(-across, 0) : side - max(across, 0)]
        apart += ((one * other).mean(dim=_OF_PATCH) / power - white).square()
    return scale.clamp_max(GRAIN.strongest_difference).log() - GRAIN.correlation_weight * apart.sqrt()


def _of_noise(patches: Tensor) -> Tensor:
    """Compute the graininess (...) of patches of predicted noise (..., C, S, S)."""
    inner = patches[..., 1:, 1:-1]
    neighbours = patches[..., 1:, :-2], patches[..., :-1, 1:-1], patches[..., :-1, :-2], patches[..., :-1, 2:]
    products = torch.stack([(inner * other).mean(dim=_OF_PATCH) for other in (*neighbours, inner)])
    agreement = (products[:-1] / (products[-1] + 1e-9)).amax(dim=0)
    return (_magnitude(patches) + 1e-6).log() - 2 * agreement


def _magnitude(patches: Tensor) -> Tensor:
    """Robust standard deviation of each patch."""
    return patches.abs().flatten(-3).median(dim=-1).values / MAD_TO_STD


def _mostly(where: Tensor) -> Tensor:
    """Find the patches (R, K) with at least half of their pixels in ``where`` (H, W)."""
    down, across = _belonging(where)
    return down @ where.float() @ across.T >= GRAIN.patch**2 / 2


def _painted(patches: Tensor, where: Tensor) -> Tensor:
    """Convert a mask of patches (R, K) to the mask of their pixels, of the shape (H, W) of ``where``."""
    down, across = _belonging(where)
    return down.T @ patches.float() @ across > 0


def _belonging(where: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows and columns of ``where`` (H, W) lie in each patch: (R, H) and (K, W) of 0 and 1."""
    belonging = []
    for length in where.shape:
        beyond = torch.arange(length, device=where.device) - starts(length, where.device)[:, None]
        belonging.append(((beyond >= 0) & (beyond < GRAIN.patch)).float())
    down, across = belonging
    return down, across


def _smoothed(x: Tensor, side: int) -> Tensor:
    half = side // 2
    return F.avg_pool2d(F.pad(x[None], (half, half, half, half), mode="reflect"), side, stride=1)[0]
