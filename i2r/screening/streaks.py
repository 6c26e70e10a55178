"""Streaks: thin lines of one direction that were laid over a scene, such as rain and scratches.

Photographs are full of thin lines, but a scene draws them in colours of its own, in many directions, and the
prior expects them. What was laid over a scene is nearly white, whatever lies below it, runs one way, and
stands in the predicted noise with one sign. So lines are told by their opacity: how far a ridge lies on the
way from its sides to white. A scene's lines are far from opaque, whatever their contrast. Dark lines, whose
noise is negative, count against bright ones of the same contrast: where there are both, it is a texture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import widened

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
_TURNS = (-6, -5, 5), (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""The directions of upright lines, in shares of ``DIRECTIONS``; together those whose sides are as far."""


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
    powers = streak_powers(image[None], noise[None])[:, 0].tolist()
    best = max(range(DIRECTIONS), key=powers.__getitem__)
    if powers[best] <= 0:
        return Streaks(0.0, False, 0.0)
    transposed, turn = divmod(best, DIRECTIONS // 2)
    return Streaks(_slope(sum(_TURNS, ())[turn]), bool(transposed), powers[best])


def streak_powers(images: Tensor, noises: Tensor) -> Tensor:
    """The power of the streaks in each direction, below zero where lines are dark; see :class:`Streaks`.

    Args:
        images, noises: (N, C, H, W), as in :func:`find_streaks`.

    Returns:
        (DIRECTIONS, N): of upright lines, then of those of the transposed images.
    """
    stack = _stacked(images, noises)
    both = _mirrored(stack), _mirrored(stack.mT)
    return torch.cat([_powers(mirrored, turns) for mirrored in both for turns in _TURNS])


def _powers(mirrored: Tensor, turns: Sequence[int]) -> Tensor:
    """In some directions of upright lines, (D, N)."""
    slopes = tuple(_slope(turn) for turn in turns)
    sheared = _sheared(mirrored, slopes)
    opacity = torch.maximum(*_opacities(sheared[:-1], slopes[0], LENGTH)).clamp_min(0)
    return (sheared[-1] * opacity.square()).mean(dim=(-2, -1)).T  # faint ridges are everywhere


def streak_mask(image: Tensor, noise: Tensor, streaks: Streaks) -> Tensor:
    """The pixels (H, W) that streaks cover, with a margin of one, where the background shines through.

    Args:
        image, noise: as in :func:`find_streaks`.
    """
    stack = _stacked(image[None], noise[None])
    upright = stack.mT if streaks.transposed else stack
    slopes = [
        math.tan(math.atan(streaks.slope) + side * _ASIDE * math.pi / DIRECTIONS) for side in (-1, 0, 1)
    ]
    # What shearing moves out of the picture must come back.
    margin = math.ceil(max(map(abs, slopes)) * upright.shape[-2] / 2)
    upright = F.pad(upright, (margin, margin, 0, 0), mode="replicate")
    mirrored = _mirrored(upright)
    mask = torch.zeros(upright.shape[-2:], dtype=torch.bool, device=image.device)
    for slope in slopes:
        sheared = _sheared(mirrored, (slope,))
        sure = _opacities(sheared[:-1], slope, SURE_LENGTH)[0] > OPACITY
        sure &= _summed(sheared[-1], SURE_LENGTH) > SURE_LENGTH * _NOISE
        half = SURE_LENGTH // 2
        near = F.max_pool2d(sure.float(), (SURE_LENGTH, 3), stride=1, padding=(half, 1)) > 0
        likely = _opacities(sheared[:-1], slope, SHORT_LENGTH)[0] > FAINT
        likely &= _summed(sheared[-1], SHORT_LENGTH) > 0
        mask |= _sheared(_mirrored((near & likely).float()), (-slope,))[0, 0, 0] > 0.5
    mask = widened(mask[:, margin : mask.shape[1] - margin], 1)
    return mask.T if streaks.transposed else mask


def _slope(turn: int) -> float:
    """Of upright lines in a direction, in columns a row."""
    return math.tan(math.pi * turn / DIRECTIONS)


def _stacked(images: Tensor, noises: Tensor) -> Tensor:
    """(C + 1, N, H, W): how far each channel is from white and its glare; last, the mean noise."""
    return torch.cat([1 + _GLARE - images.transpose(0, 1), noises.mean(dim=1)[None]])


def _mirrored(x: Tensor) -> Tensor:
    """(C, N, H, W) beside its mirror image and itself, (C, N, H, 3 W): beyond, all goes on like this."""
    return torch.cat([x, x.flip(-1), x], dim=-1)


def _sheared(mirrored: Tensor, slopes: tuple[float, ...]) -> Tensor:
    """Move the rows of images sideways so that lines of each of D slopes stand upright.

    Args:
        mirrored: (C, N, H, 3 W), see :func:`_mirrored`.
        slopes: columns a row.

    Returns:
        (C, N, D, H, W): between two columns, on the straight line between their values.
    """
    height, width = mirrored.shape[-2], mirrored.shape[-1] // 3
    rows, whole, share = _moves(slopes, height, mirrored.device)
    moved = mirrored.unfold(-1, width + 1, 1)[:, :, rows, whole % (2 * width)]
    return torch.lerp(moved[..., :-1], moved[..., 1:], share)


@lru_cache(maxsize=256)
def _moves(slopes: tuple[float, ...], height: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """By how many columns each row (H,) moves, (D, H), and by which share of one more, (D, H, 1)."""
    rows = torch.arange(height, device=device)
    below_middle = rows.double() - (height - 1) / 2
    moves = torch.stack([slope * below_middle for slope in slopes])
    whole = moves.floor()
    return rows, whole.long(), (moves - whole).float()[..., None]


def _summed(sheared: Tensor, length: int) -> Tensor:
    """The sums of (..., H, W) over ``length`` pixels of every upright line, which is mirrored at its ends.

    Of runs of 1, 2, 4 pixels and so on: those whose lengths make up ``length``.
    """
    height, half = sheared.shape[-2], length // 2
    runs = F.pad(sheared.flatten(0, -3), (0, 0, half, half), mode="reflect")
    parts, start, size = [], 0, 1
    while True:
        if length & size:
            parts.append(runs[:, start : start + height])
            start += size
        size *= 2
        if size > length:
            return sum(parts[1:], parts[0]).view_as(sheared)
        runs = runs[:, : -size // 2] + runs[:, size // 2 :]


def _opacities(sheared: Tensor, slope: float, length: int) -> tuple[Tensor, Tensor]:
    """How opaque a white overlay on upright lines would be, and how far dark lines lie below it.

    By the overlay's mixture ``line = (1 - opacity) side + opacity white``, over ``length`` pixels, from the
    brighter side, and in the channel that shows it least: the lines of a scene are seldom white. Zero or
    below where there is no line. Of dark lines, the contrast to the darker side in the same measure.

    Args:
        sheared: (C, N, D, H, W), how far each channel is from white: so the opacity is one less a ratio.
        slope: of the lines before they were sheared.

    Returns:
        two of (N, D, H, W).
    """
    lines = _summed(sheared, length)
    reach = round(_REACH * math.hypot(1, slope))
    padded = F.pad(lines.flatten(0, 2), (reach, reach, 0, 0), mode="replicate").unflatten(0, lines.shape[:3])
    left, right = padded[..., : -2 * reach], padded[..., 2 * reach :]
    bright = 1 - (lines / torch.minimum(left, right)).amax(dim=0)
    dark = (lines / torch.maximum(left, right)).amin(dim=0) - 1
    return bright, dark
