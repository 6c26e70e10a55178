"""What lies around every pixel: means over squares, differences, and masks that reach farther."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def averaged(x: Tensor, side: int) -> Tensor:
    """The means of (C, H, W), or of a batch of such, over squares of an odd ``side``, cut at the borders."""
    half = side // 2
    across = F.avg_pool2d(x, (1, side), stride=1, padding=(0, half), count_include_pad=False)
    return F.avg_pool2d(across, (side, 1), stride=1, padding=(half, 0), count_include_pad=False)


def widened(mask: Tensor, reach: int) -> Tensor:
    """The pixels (H, W) that lie in a mask, or no farther than ``reach`` rows and columns from it."""
    return F.max_pool2d(mask[None].float(), 2 * reach + 1, stride=1, padding=reach)[0] > 0


def diagonal_differences(image: Tensor, reach: int = 1) -> Tensor:
    """The differences across of those down, (C, H - reach, W - reach); white noise keeps its scale."""
    steps = image[:, reach:] - image[:, :-reach]
    return (steps[:, :, reach:] - steps[:, :, :-reach]) / 2
