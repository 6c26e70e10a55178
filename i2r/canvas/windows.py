"""Operations on the neighbourhood of every pixel: means, medians, differences, and dilation of masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MEDIAN_SIDE = 11
"""Side of the neighbourhood of :func:`local_median`, in pixels."""
_AT_ONCE = 1 << 21  # pixels whose medians are computed together; each holds a dozen values


def averaged(x: Tensor, side: int) -> Tensor:
    """Average (C, H, W), or a batch of such, over squares of an odd ``side``, cut at the borders."""
    half = side // 2
    across = F.avg_pool2d(x, (1, side), stride=1, padding=(0, half), count_include_pad=False)
    return F.avg_pool2d(across, (side, 1), stride=1, padding=(half, 0), count_include_pad=False)


def local_median(x: Tensor) -> Tensor:
    """Compute medians of (..., H, W) across, then down: about those over squares of side ``MEDIAN_SIDE``."""
    return _medians_across(_medians_across(x).mT).mT


def _medians_across(x: Tensor) -> Tensor:
    """Compute medians of (..., H, W) over ``MEDIAN_SIDE`` pixels of a row, whose ends are replicated."""
    reach = MEDIAN_SIDE // 2
    rows = F.pad(x.flatten(0, -2), (reach, reach), mode="replicate")
    bands = rows.split(max(1, _AT_ONCE // rows.shape[1]))
    return torch.cat([_medians_of_eleven(band) for band in bands]).view(x.shape)


def _medians_of_eleven(x: Tensor) -> Tensor:
    """Compute the medians of every eleven neighbours in a row, (N, L) to (N, L - 10).

    Sorts eight and three of them, then merges the sorted runs (Batcher 1968). Windows share their runs, so
    that whole rows are compared at once.
    """
    one, two = _ordered(x[:, :-1], x[:, 1:])
    (first, low), (high, fourth) = _ordered(one[:, :-2], one[:, 2:]), _ordered(two[:, :-2], two[:, 2:])
    second, third = _ordered(low, high)
    # Of the eight only the middle four can be the median of all eleven.
    (a, e), (b, f), (c, g), (d, h) = ((run[:, :-4], run[:, 4:]) for run in (first, second, third, fourth))
    low, high = _ordered(torch.maximum(a, e), torch.minimum(c, g))
    below, above = _ordered(torch.maximum(b, f), torch.minimum(d, h))
    middle = (
        torch.maximum(torch.minimum(b, f), low),
        *_ordered(below, high),
        torch.minimum(above, torch.maximum(c, g)),
    )
    least, rest = _ordered(one[:, 8:-1], x[:, 10:])
    three = (least, *_ordered(rest, two[:, 8:-1]))
    # The median is the sixth smallest: the least, over i, of the larger of the i-th smallest of the eight and
    # the (6 - i)-th smallest of the three.
    *lower, median = (run[:, : x.shape[1] - 10] for run in middle)
    for other, more in zip(lower, reversed(three), strict=True):
        median = torch.minimum(median, torch.maximum(other, more))
    return median


def _ordered(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)


def widened(mask: Tensor, reach: int) -> Tensor:
    """Dilate a mask (H, W) by ``reach`` rows and columns on all sides."""
    across = _widened_down(mask.T, reach).T
    return _widened_down(across, reach)


def _widened_down(mask: Tensor, reach: int) -> Tensor:
    """Dilate down, by unions over 1, 2, 4 rows and so on, up to ``2 reach + 1``."""
    runs, size = F.pad(mask, (0, 0, reach, reach)), 1
    while size <= 2 * reach:
        step = min(size, 2 * reach + 1 - size)
        runs = runs[:-step] | runs[step:]
        size += step
    return runs


def diagonal_differences(image: Tensor, reach: int = 1) -> Tensor:
    """Differences down, then across, (C, H - reach, W - reach), halved: white noise keeps its scale."""
    steps = image[:, reach:] - image[:, :-reach]
    return (steps[:, :, reach:] - steps[:, :, :-reach]).div_(2)
