"""Drawings: pictures, or parts of one, that consist of exact flats and hard strokes.

Text, line art, charts, maps, user interfaces and pixel art hold no noise of a photograph, so none of it can
be atypical. Beside nearly every hard step of theirs lies a flat whose pixels are exactly equal, and there is
hardly anything else. Beside the steps of a photograph flats are rare, even of a noisy, compressed or covered
one; a soft one may have no hard steps but those of its frame, and is neither flat nor hard elsewhere.

What has two tones alone, such as a fax or a halftone, is a drawing whatever it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import widened
from i2r.screening.regions import edges


@dataclass(frozen=True)
class DrawingTuning:
    """What makes a picture a drawing.

    Attributes:
        step: least difference of neighbouring pixels that is a hard step, of the range [-1, 1].
        reach: largest distance in pixels from a step to the flat beside it.
        share: least share of the hard steps of a drawing that have a flat beside them.
        soft: largest share of the pixels of a drawing that are beside neither a step nor a flat.
    """

    step: float = 0.25
    reach: int = 4
    share: float = 0.7
    soft: float = 0.05


DRAWINGS = DrawingTuning()
_SMALLEST_SIDE = 3  # px, of a pixel with all its neighbours


def is_drawn(image: Tensor) -> tuple[bool, frozenset[int]]:
    """Whether an image (C, H, W) in [-1, 1] is a drawing, and which of its regions are, by their index."""
    if min(image.shape[1:]) < _SMALLEST_SIDE:
        return False, frozenset()
    hard, flat = _hard_steps(image), _exact_flats(image)
    by_step, by_flat = (widened(mask, DRAWINGS.reach) for mask in (hard, flat))
    masks = torch.ones_like(hard), hard, hard & by_flat, ~(by_step | by_flat)
    counts = torch.stack([_by_region(mask) for mask in masks]).flatten(1)
    pixels, steps, beside, soft = torch.cat([counts.sum(dim=1, keepdim=True), counts], dim=1)
    drawn = (steps > 0) & (beside >= DRAWINGS.share * steps) & (soft <= DRAWINGS.soft * pixels)
    whole, *parts = drawn.tolist()
    return whole or _two_toned(image), frozenset(index for index, part in enumerate(parts) if part)


def _two_toned(image: Tensor) -> bool:
    """Whether no channel of (C, H, W) has a value between its two ends, and some has both."""
    low, high = torch.aminmax(image.flatten(1), dim=1)
    ends = low[:, None, None], high[:, None, None]
    return bool(((image == ends[0]) | (image == ends[1])).all() & (low < high).any())


def _hard_steps(image: Tensor) -> Tensor:
    """The mask (H, W) of the pixels that differ much from the one above or to the left, in any channel."""
    above, left = (image.diff(dim=dim).abs_().amax(dim=0) > DRAWINGS.step for dim in (1, 2))
    return F.pad(above, (0, 0, 1, 0)) | F.pad(left, (1, 0))


def _exact_flats(image: Tensor) -> Tensor:
    """The mask (H, W) of the pixels that equal all their eight neighbours, in all channels."""
    above = (image[:, 1:] == image[:, :-1]).all(dim=0)
    left = (image[..., 1:] == image[..., :-1]).all(dim=0)
    in_row = left[:, 1:] & left[:, :-1]
    middle = in_row[1:-1] & in_row[:-2] & in_row[2:] & above[1:, 1:-1] & above[:-1, 1:-1]
    return F.pad(middle, (1, 1, 1, 1))


def _by_region(mask: Tensor) -> Tensor:
    """Count the pixels of a mask (H, W) in its regions; rows and columns of them."""
    sums = F.pad(mask.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    rows, columns = (torch.tensor(edges(length), device=mask.device) for length in mask.shape)
    return sums[rows][:, columns].diff(dim=0).diff(dim=1)
