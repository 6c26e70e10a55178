"""Streaks: bright thin lines of one direction, such as rain and scratches, that the prior calls noise.

Photographs are full of thin lines, but a scene draws them bright and dark, in many directions, and the prior
expects them. What was laid over a scene is brighter than its surroundings, runs one way, and stands in the
predicted noise with one sign. So: the noise along the ridges of each direction, dark ridges counting against
bright ones. (Dark lines of one direction are no sign of damage: scenes are full of gaps and shadows.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DIRECTIONS = 24
LENGTH = 21
"""Pixels along a line over which it must stand out: longer than most of what a texture is made of."""
SHORT_LENGTH = 9
"""The same for the pixels of a line that was found, so that its ends are not cut off."""
CONTRAST = 0.12
"""By how much a ridge stands out of both its sides, in units of the range [-1, 1]."""
FAINT = 0.06
"""The same for the pixels beside what surely is a ridge."""
_REACH = 2.0  # pixels from a ridge to its sides: what is thicker is an object

_TOLERANCE = 0.02  # of the range: darker than expected, as the pixels beside a line may be


@dataclass(frozen=True)
class Streaks:
    """The direction along which the noise lies on ridges.

    Attributes:
        slope: columns a row; of the transposed image if ``transposed``.
        transposed: whether the lines are nearer to rows than to columns.
        power: mean over the image of the noise times the squared contrast of the ridge that it lies on, in
            units of the range; at least zero.
    """

    slope: float
    transposed: bool
    power: float


def find_streaks(image: Tensor, noise: Tensor) -> Streaks:
    """The strongest streaks of an image.

    Args:
        image: (C, H, W) in [-1, 1].
        noise: (C, H, W), the noise that the prior predicts in it, in units of the range.
    """
    stack = torch.cat([image, noise.mean(dim=0, keepdim=True)])
    best = Streaks(0.0, False, 0.0)
    for transposed in (False, True):
        upright = stack.transpose(1, 2) if transposed else stack
        for step in range(-DIRECTIONS // 4, DIRECTIONS // 4):
            slope = _slope(step)
            sheared = _shear(upright, slope)
            bright, dark = _ridges(sheared[:-1], slope, LENGTH)
            contrast = torch.maximum(bright, dark).clamp_min(0)
            power = (sheared[-1] * contrast.square()).mean().item()  # faint ridges are everywhere
            if power > best.power:
                best = Streaks(slope, transposed, power)
    return best


def streak_mask(image: Tensor, noise: Tensor, streaks: Streaks) -> Tensor:
    """The pixels (H, W) that streaks cover, with a margin of two; lines a step aside count as well.

    Args:
        image, noise: as in :func:`find_streaks`.
    """
    upright = image.transpose(1, 2) if streaks.transposed else image
    mask = torch.zeros(upright.shape[1:], dtype=torch.bool, device=image.device)
    middle = math.atan(streaks.slope)
    for aside in (-1, 0, 1):
        slope = math.tan(middle + aside * math.pi / DIRECTIONS)
        sheared = _shear(upright, slope)
        sure = _ridges(sheared, slope, LENGTH)[0] > CONTRAST
        along = F.max_pool2d(sure[None].float(), (LENGTH, 3), stride=1, padding=(LENGTH // 2, 1)) > 0
        likely = _ridges(sheared, slope, SHORT_LENGTH)[0] > FAINT
        mask |= _shear((along & likely).float(), -slope)[0] > 0.5
    mask = F.max_pool2d(mask[None].float(), 3, stride=1, padding=1)[0] > 0
    mask = mask.T if streaks.transposed else mask
    return mask & (noise.mean(dim=0) > -_TOLERANCE)


def _slope(step: int) -> float:
    return math.tan(math.pi * step / DIRECTIONS)


def _shear(x: Tensor, slope: float) -> Tensor:
    """Move the rows of (C, H, W) sideways so that lines of ``slope`` columns a row stand upright."""
    height, width = x.shape[1:]
    rows = [[1.0, slope * height / width, 0.0], [0.0, 1.0, 0.0]]
    shear = torch.tensor([rows], device=x.device, dtype=x.dtype)
    grid = F.affine_grid(shear, [1, *x.shape], align_corners=False)
    return F.grid_sample(x[None], grid, padding_mode="reflection", align_corners=False)[0]


def _ridges(sheared: Tensor, slope: float, length: int) -> tuple[Tensor, Tensor]:
    """By how much upright lines are brighter, and darker, than both their sides; each (H, W).

    Over ``length`` pixels, in the channel that shows it least: overlays are seldom of a pure colour.
    """
    half = length // 2
    lines = F.avg_pool2d(F.pad(sheared[None], (0, 0, half, half), mode="reflect"), (length, 1), stride=1)[0]
    reach = round(_REACH * math.hypot(1, slope))
    padded = F.pad(lines[None], (reach, reach, 0, 0), mode="replicate")[0]
    left, right = padded[..., : -2 * reach], padded[..., 2 * reach :]
    bright = (lines - torch.maximum(left, right)).amin(dim=0)
    dark = (torch.minimum(left, right) - lines).amin(dim=0)
    return bright, dark
