"""Streaks: thin lines of one direction that were laid over a scene, such as rain and scratches.

Photographs are full of thin lines, but a scene draws them in colours of its own, in many directions, and the
prior expects them. What was laid over a scene is nearly white, whatever lies below it, runs one way, and
stands in the predicted noise with one sign. So lines are told by their opacity: how far a ridge lies on the
way from its sides to white. A scene's lines are far from opaque, whatever their contrast. Dark lines, whose
noise is negative, count against bright ones of the same contrast: where there are both, it is a texture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.windows import widened

DIRECTIONS = 24
LENGTH = 21
"""Pixels along a line over which streaks are found: longer than most of what a texture is made of."""
SURE_LENGTH = 15
"""The same for what surely is part of a streak: short ones count as well once it is known how they run."""
SHORT_LENGTH = 7
"""The same for the pixels of a line that was found, so that its ends are not cut off."""
OPACITY = 0.35
"""Of what surely is a streak; see :func:`_opacities`."""
FAINT = 0.2
"""The same for the pixels beside what surely is one."""
_ASIDE = 0.5  # of a step between two directions: how far the streaks of an image spread around theirs
_NOISE = 0.05  # of the range [-1, 1], along what surely is a streak: what the prior expects is the scene's
_REACH = 2.0  # pixels from a ridge to its sides: what is thicker is an object
_GLARE = 0.15  # of the range: near white, where anything would be opaque, ridges are held to be fainter


@dataclass(frozen=True)
class Streaks:
    """The direction along which the noise lies on opaque ridges.

    Attributes:
        slope: columns a row; of the transposed image if ``transposed``.
        transposed: whether the lines are nearer to rows than to columns.
        power: mean over the image of the noise times the squared opacity of the ridge that it lies on, in
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
    stack = _stacked(image, noise)
    best = Streaks(0.0, False, 0.0)
    for transposed in (False, True):
        upright = stack.transpose(1, 2) if transposed else stack
        for step in range(-DIRECTIONS // 4, DIRECTIONS // 4):
            slope = math.tan(math.pi * step / DIRECTIONS)
            sheared = _shear(upright, slope)
            opacity = torch.maximum(*_opacities(sheared[:-1], slope, LENGTH)).clamp_min(0)
            power = (sheared[-1] * opacity.square()).mean().item()  # faint ridges are everywhere
            if power > best.power:
                best = Streaks(slope, transposed, power)
    return best


def streak_mask(image: Tensor, noise: Tensor, streaks: Streaks) -> Tensor:
    """The pixels (H, W) that streaks cover, with a margin of one, where the background shines through.

    Args:
        image, noise: as in :func:`find_streaks`.
    """
    stack = _stacked(image, noise)
    upright = stack.transpose(1, 2) if streaks.transposed else stack
    slopes = [
        math.tan(math.atan(streaks.slope) + side * _ASIDE * math.pi / DIRECTIONS) for side in (-1, 0, 1)
    ]
    # What shearing moves out of the picture must come back.
    margin = math.ceil(max(map(abs, slopes)) * upright.shape[1] / 2)
    upright = F.pad(upright[None], (margin, margin, 0, 0), mode="replicate")[0]
    mask = torch.zeros(upright.shape[1:], dtype=torch.bool, device=image.device)
    for slope in slopes:
        sheared = _shear(upright, slope)
        sure = _opacities(sheared[:-1], slope, SURE_LENGTH)[0] > OPACITY
        sure &= _along(sheared[-1:], SURE_LENGTH)[0] > _NOISE
        half = SURE_LENGTH // 2
        near = F.max_pool2d(sure[None].float(), (SURE_LENGTH, 3), stride=1, padding=(half, 1)) > 0
        likely = _opacities(sheared[:-1], slope, SHORT_LENGTH)[0] > FAINT
        likely &= _along(sheared[-1:], SHORT_LENGTH)[0] > 0
        mask |= _shear((near & likely).float(), -slope)[0] > 0.5
    mask = widened(mask[:, margin : mask.shape[1] - margin], 1)
    return mask.T if streaks.transposed else mask


def _stacked(image: Tensor, noise: Tensor) -> Tensor:
    """The channels of the image and, last, the mean noise."""
    return torch.cat([image, noise.mean(dim=0, keepdim=True)])


def _shear(x: Tensor, slope: float) -> Tensor:
    """Move the rows of (C, H, W) sideways so that lines of ``slope`` columns a row stand upright."""
    height, width = x.shape[1:]
    rows = [[1.0, slope * height / width, 0.0], [0.0, 1.0, 0.0]]
    shear = torch.tensor([rows], device=x.device, dtype=x.dtype)
    grid = F.affine_grid(shear, [1, *x.shape], align_corners=False)
    return F.grid_sample(x[None], grid, padding_mode="reflection", align_corners=False)[0]


def _along(sheared: Tensor, length: int) -> Tensor:
    """The means of (C, H, W) over ``length`` pixels of every upright line."""
    half = length // 2
    return F.avg_pool2d(F.pad(sheared[None], (0, 0, half, half), mode="reflect"), (length, 1), stride=1)[0]


def _opacities(sheared: Tensor, slope: float, length: int) -> tuple[Tensor, Tensor]:
    """How opaque a white overlay on upright lines would be, and how far dark lines lie below it; each (H, W).

    By the overlay's mixture ``line = (1 - opacity) side + opacity white``, over ``length`` pixels, from the
    brighter side, and in the channel that shows it least: the lines of a scene are seldom white. Zero or
    below where there is no line. Of dark lines, the contrast to the darker side in the same measure.
    """
    lines = _along(sheared, length)
    reach = round(_REACH * math.hypot(1, slope))
    padded = F.pad(lines[None], (reach, reach, 0, 0), mode="replicate")[0]
    left, right = padded[..., : -2 * reach], padded[..., 2 * reach :]
    brighter, darker = torch.maximum(left, right), torch.minimum(left, right)
    bright = (lines - brighter) / (1 - brighter + _GLARE)
    dark = (darker - lines) / (1 - darker + _GLARE)
    return bright.amin(dim=0), dark.amin(dim=0)
