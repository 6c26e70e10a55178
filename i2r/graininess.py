"""Graininess: how much a picture looks like noise, patch by patch, where noise covers only a part of it.

Sensors are noisier in the shadows, scans where the film was dense, composites where one source was poor. In
a patch of 32 pixels noise is told from texture by two things at once: the prior reads it as strong, and
neighbours do not agree. Of clean photographs one patch in a thousand comes near.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.calibration_file import TAIL, Spread
from i2r.windows import widened

PATCH = 32
"""Side of the patches in pixels: noise shows in fewer, but so does texture."""
STEP = 16
NOISIEST = 0.95
"""Quantile over patches: noise that covers a twentieth of a region shows."""
_SURE = 1e-3  # chance of a region of a clean photograph to hold as much
_GROWTH = 4  # patches beside what surely is noise that may be likely ones
MAD_TO_STD = 0.6744897501960817
"""The median of ``|n|`` for ``n`` of N(0, 1)."""
_NEAR, _FINE = 8, 9  # pixels: how far noise may reach beyond its patches, and over which it is told there
_SHARE = 0.5  # of the power within: at the edge of what is noisy
_STRONGEST = 4.0  # of typical power: an edge of the picture counts for no more


def graininess(eps: Tensor) -> Tensor:
    """How much every patch looks like noise.

    Args:
        eps: (C, H, W), the noise that the prior predicts at a low level, of unit scale; sides of at least
            ``PATCH``.

    Returns:
        (R, K), for the patches that start at :func:`starts` of both sides: the log robust standard deviation,
        less twice the correlation of neighbours along the direction in which it is largest. About 0 for white
        noise of the level or above.
    """
    columns = torch.tensor(starts(eps.shape[2]), device=eps.device)
    rows = [eps[:, row : row + PATCH].unfold(2, PATCH, 1)[:, :, columns] for row in starts(eps.shape[1])]
    return torch.stack([_graininess(row.permute(2, 0, 1, 3)) for row in rows])


def starts(length: int) -> list[int]:
    """Where the patches along a side of ``length`` pixels begin: evenly, from one end to the other."""
    last = length - PATCH
    count = -(-last // STEP)
    return [last * index // count for index in range(count + 1)] if count else [0]


def patchiness(eps: Tensor) -> float:
    """How much the noisiest patches of (C, H, W) noise look like noise; see :func:`graininess`."""
    return graininess(eps).flatten().quantile(NOISIEST).item()


def noise_mask(eps: Tensor, where: Tensor, clean: Spread) -> Tensor:
    """The pixels (H, W) that noise covers, where it covers a part of a picture.

    By hysteresis: surely noisy somewhere in ``where`` (H, W), and likely beside it. A patch that is found
    tells only about where: at its edges the pixels do.

    Args:
        eps: as in :func:`graininess`.
        clean: how the patchiness of clean photographs lies.
    """
    grain = graininess(eps)
    found = sure = (grain > clean.exceeded_by(_SURE)) & _mostly(where)
    for _ in range(_GROWTH):
        found = found | (widened(found, 1) & (grain > clean.exceeded_by(TAIL)))
    power = _smoothed(eps.square().mean(dim=0).clamp_max(_STRONGEST), _FINE)
    within = power[_painted(sure, eps)]
    if not within.numel():
        return torch.zeros_like(where)
    return widened(_painted(found, eps), _NEAR) & (power > _SHARE * within.median())


def _graininess(patches: Tensor) -> Tensor:
    """Of (N, C, PATCH, PATCH), one figure each."""
    scale = patches.flatten(1).abs().median(dim=1).values / MAD_TO_STD
    inner = patches[..., 1:, 1:-1]
    neighbours = patches[..., 1:, :-2], patches[..., :-1, 1:-1], patches[..., :-1, :-2], patches[..., :-1, 2:]
    products = torch.stack([(inner * other).mean(dim=(1, 2, 3)) for other in (*neighbours, inner)])
    agreement = (products[:-1] / (products[-1] + 1e-9)).amax(dim=0)
    return (scale + 1e-6).log() - 2 * agreement


def _mostly(where: Tensor) -> Tensor:
    """The patches (R, K) of which at least half lies in ``where`` (H, W)."""
    rows, columns = (torch.tensor(starts(side), device=where.device) for side in where.shape)
    share = F.avg_pool2d(where[None].float(), PATCH, stride=1)[0]
    return share[rows][:, columns] >= 0.5


def _painted(patches: Tensor, eps: Tensor) -> Tensor:
    """The pixels (H, W) of the marked ones among the patches (R, K) of ``eps`` (C, H, W)."""
    rows, columns = starts(eps.shape[1]), starts(eps.shape[2])
    mask = torch.zeros(eps.shape[1:], dtype=torch.bool, device=eps.device)
    for row, column in patches.nonzero().tolist():
        mask[rows[row] : rows[row] + PATCH, columns[column] : columns[column] + PATCH] = True
    return mask


def _smoothed(x: Tensor, side: int) -> Tensor:
    half = side // 2
    return F.avg_pool2d(F.pad(x[None], (half, half, half, half), mode="reflect"), side, stride=1)[0]
