"""Patchwise rectification of Invert2Restore: test every patch of the inverted noise for normality, and move
the patches that fail to a nearby sample of higher density (Algorithm 2 of Chihaoui and Favaro, arXiv
2503.21486). The paper specifies neither the tests nor the move; those here are ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.screening.p_values import discoveries


def rectify_patches(eps: Tensor, rate: float, side: int) -> tuple[Tensor, Tensor]:
    """Move the patches that fail the normality tests to the nearest patches with normal values.

    The nearest are given by the rank-preserving map: every value becomes the normal quantile of its rank in
    the patch.

    Args:
        eps: (C, H, W), noise that is standard normal where the image is typical.
        rate: false discovery rate among the patches.
        side: of a patch, in pixels.

    Returns:
        the rectified noise (C, H, W), and the mask (H, W) of the moved patches.
    """
    patches, folded = _fold(eps, side)
    p_values = normality(patches)
    failing = sorted(discoveries(dict(enumerate(p_values.tolist())), rate))
    moved = torch.zeros(len(patches), dtype=torch.bool, device=eps.device)
    moved[failing] = True
    flat = patches.flatten(1)
    ranks = flat[moved].argsort(dim=1).argsort(dim=1)
    quantiles = torch.special.ndtri((torch.arange(flat.shape[1], device=eps.device) + 0.5) / flat.shape[1])
    rectified = flat.clone()
    rectified[moved] = quantiles.to(flat.dtype)[ranks]
    mask = moved[:, None].expand(-1, patches[0, 0].numel()).reshape(-1, 1, *patches.shape[2:])
    return _unfold(rectified.view_as(patches), folded, eps), _unfold(mask, folded, eps)[0]


def normality(patches: Tensor) -> Tensor:
    """Compute the p-values (N,) of the hypothesis that patches (N, C, S, S) are white normal noise.

    Each is four times the smallest p-value of four tests: of the mean, of the norm (chi-squared, by the cube
    root of Wilson and Hilferty 1931), and of the correlation of neighbours in either direction.
    """
    count, side = patches[0].numel(), patches.shape[-1]
    mean = patches.flatten(1).mean(dim=1) * math.sqrt(count)
    spread = 2 / (9 * count)
    norm = ((patches.square().flatten(1).mean(dim=1)) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    scores = [mean, norm]
    for axis in (2, 3):
        pairs = patches.narrow(axis, 1, side - 1) * patches.narrow(axis, 0, side - 1)
        together = pairs.flatten(1).sum(dim=1) / patches.square().flatten(1).sum(dim=1).clamp_min(1e-12)
        scores.append(together * count / math.sqrt(pairs[0].numel()))
    worst = torch.stack(scores).abs().amax(dim=0)
    return (4 * torch.special.erfc(worst / math.sqrt(2))).clamp_max(1)


def _fold(eps: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (C, H, W) into patches (N, C, S, S); also returns their number per column and per row."""
    rows, columns = (math.ceil(length / side) for length in eps.shape[1:])
    below, beside = rows * side - eps.shape[1], columns * side - eps.shape[2]
    whole = F.pad(eps[None], (0, beside, 0, below), mode="reflect")[0]
    parts = whole.unflatten(2, (columns, side)).unflatten(1, (rows, side))
    return parts.permute(1, 3, 0, 2, 4).flatten(0, 1), (rows, columns)


def _unfold(patches: Tensor, folded: tuple[int, int], like: Tensor) -> Tensor:
    """The inverse of :func:`_fold`, at the size of ``like``."""
    parts = patches.unflatten(0, folded).permute(2, 0, 3, 1, 4)
    return parts.flatten(3, 4).flatten(1, 2)[:, : like.shape[1], : like.shape[2]]
