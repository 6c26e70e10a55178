"""Drawings: pictures, or parts of one, that consist of exact flats and hard strokes.

Text, line art, charts, maps, user interfaces and pixel art hold no noise of a photograph, so none of it can
be atypical. Beside nearly every hard step of theirs lies a flat whose pixels are exactly equal. Beside the
steps of a photograph there is hardly one, even of a noisy, blurred, compressed or covered one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import widened


@dataclass(frozen=True)
class DrawingThresholds:
    """What tells a drawing.

    Attributes:
        step: least difference of neighbouring pixels that is a hard step, of the range [-1, 1].
        reach: largest distance in pixels from a step to the flat beside it.
        share: share of the hard steps with a flat beside them from which a part is a drawing.
    """

    step: float = 0.25
    reach: int = 4
    share: float = 0.6


THRESHOLDS = DrawingThresholds()


def drawn(image: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Find the parts of an image (C, H, W) in [-1, 1] that are drawings.

    Args:
        image: of at least 3 pixels a side.
        rows, columns: edges of the parts, from 0 to H and to W.

    Returns:
        (rows - 1, columns - 1), whether each part is a drawing.
    """
    hard, flat = _hard_steps(image), _exact_flats(image)
    beside = hard & widened(flat, THRESHOLDS.reach)
    counts, beside_flats = (_counts(mask, rows, columns) for mask in (hard, beside))
    return (counts > 0) & (beside_flats >= THRESHOLDS.share * counts)


def _hard_steps(image: Tensor) -> Tensor:
    """The mask (H, W) of the pixels that differ much from the one above or to the left, in any channel."""
    hard = torch.zeros_like(image[0], dtype=torch.bool)
    for channel in image:  # one at a time: a large image is as large as its differences
        hard[1:] |= channel.diff(dim=0).abs_() > THRESHOLDS.step
        hard[:, 1:] |= channel.diff(dim=1).abs_() > THRESHOLDS.step
    return hard


def _exact_flats(image: Tensor) -> Tensor:
    """The mask (H, W) of the pixels that equal all their eight neighbours, in all channels."""
    above = torch.ones_like(image[0, 1:], dtype=torch.bool)
    left = torch.ones_like(image[0, :, 1:], dtype=torch.bool)
    for channel in image:
        above &= channel[1:] == channel[:-1]
        left &= channel[:, 1:] == channel[:, :-1]
    in_row = left[:, 1:] & left[:, :-1]
    middle = in_row[1:-1] & in_row[:-2] & in_row[2:] & above[1:, 1:-1] & above[:-1, 1:-1]
    return F.pad(middle, (1, 1, 1, 1))


def _counts(mask: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Count the pixels of a mask (H, W) in the parts between edges."""
    sums = F.pad(mask.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    at = [torch.tensor(edges, device=mask.device) for edges in (rows, columns)]
    return sums[at[0]][:, at[1]].diff(dim=0).diff(dim=1)
