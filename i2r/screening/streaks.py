"""Streaks: bright thin lines of one direction over a scene, such as rain and scratches.

Photographs are full of thin lines, but those of a scene have various colours and directions, and the prior
expects them. Streaks are nearly white whatever lies below them, have one direction, and appear in the
predicted noise with one sign. They are detected by opacity: how far a ridge lies on the way from its sides to
white. Lines of a scene are far from opaque, whatever their contrast. Dark lines, whose noise is negative,
count against bright ones of the same contrast: a region with both is a texture.
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
"""Pixels along a line over which streaks are detected: longer than most elements of a texture."""
SURE_LENGTH = 15
"""Pixels along a line for the sure parts of a streak: shorter, since the direction is known by then."""
SHORT_LENGTH = 7
"""Pixels along a line for the likely parts of a streak beside sure ones, so that its ends are not cut off."""
OPACITY = 0.35
"""Least opacity of the sure parts of a streak; see :func:`_opacities`."""
FAINT = 0.2
"""Least opacity of the likely parts beside them."""
_ASIDE = 0.5  # spread of an image's streaks around their direction, in steps between two directions
_NOISE = 0.05  # of the range [-1, 1]: least mean noise along a streak; lower, the line belongs to the scene
_REACH = 2.0  # pixels from a ridge to its sides: thicker lines are objects
_GLARE = 0.15  # of the range: added to the distance from white, since near white any ridge would be opaque
_TURNS = (-6, -5, 5), (-4, -3, -2, -1, 0, 1, 2, 3, 4)
"""Directions of upright lines, in units of half a turn over ``DIRECTIONS``, grouped by equal distance to the
sides of a line."""


@dataclass(frozen=True)
class Streaks:
    """Direction and strength of the streaks in an image.

    Attributes:
        slope: columns per row; of the transposed image if ``transposed``.
        transposed: whether the lines are closer to horizontal than to vertical.
        power: mean over the image of the noise times the squared opacity of the ridge at the pixel, in units
            of the [-1, 1] range; at least zero.
    """

    slope: float
    transposed: bool
    power: float


def find_streaks(image: Tensor, noise: Tensor) -> Streaks:
    """Find the direction with the strongest streaks of an image.

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
    """Compute the power of the streaks in each direction; below zero for dark lines. See :class:`Streaks`.

    Args:
        images, noises: (N, C, H, W), as in :func:`find_streaks`.

    Returns:
        (DIRECTIONS, N): of upright lines, then of upright lines of the transposed images.
    """
    stack = _stacked(images, noises)
    both = _mirrored(stack), _mirrored(stack.mT)
    return torch.cat([_powers(mirrored, turns) for mirrored in both for turns in _TURNS])


def _powers(mirrored: Tensor, turns: Sequence[int]) -> Tensor:
    """Compute the power in some directions of upright lines, (D, N)."""
    slopes = tuple(_slope(turn) for turn in turns)
    sheared = _sheared(mirrored, slopes)
    opacity = torch.maximum(*_opacities(sheared[:-1], slopes[0], LENGTH)).clamp_min(0)
    # Squared, since faint ridges are everywhere.
    return (sheared[-1] * opacity.square()).mean(dim=(-2, -1)).T


def streak_mask(image: Tensor, noise: Tensor, streaks: Streaks) -> Tensor:
    """Find the pixels (H, W) covered by streaks, with a margin of one pixel for translucent edges.

    Args:
        image, noise: as in :func:`find_streaks`.
        streaks: found in them.
    """
    stack = _stacked(image[None], noise[None])
    upright = stack.mT if streaks.transposed else stack
    slopes = [
        math.tan(math.atan(streaks.slope) + side * _ASIDE * math.pi / DIRECTIONS) for side in (-1, 0, 1)
    ]
    # Pad, so that shearing moves no pixel out of the image.
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
    """Return the slope of upright lines of a direction, in columns per row."""
    return math.tan(math.pi * turn / DIRECTIONS)


def _stacked(images: Tensor, noises: Tensor) -> Tensor:
    """Stack each channel's distance from white, plus ``_GLARE``, and the mean noise: (C + 1, N, H, W)."""
    return torch.cat([1 + _GLARE - images.transpose(0, 1), noises.mean(dim=1)[None]])


def _mirrored(x: Tensor) -> Tensor:
    """Concatenate (C, N, H, W), its mirror image and itself to (C, N, H, 3 W), to be repeated cyclically."""
    return torch.cat([x, x.flip(-1), x], dim=-1)


def _sheared(mirrored: Tensor, slopes: tuple[float, ...]) -> Tensor:
    """Shift the rows of images sideways so that lines of each of D slopes become vertical.

    Args:
        mirrored: (C, N, H, 3 W), see :func:`_mirrored`.
        slopes: columns per row.

    Returns:
        (C, N, D, H, W), linearly interpolated between columns.
    """
    height, width = mirrored.shape[-2], mirrored.shape[-1] // 3
    rows, whole, share = _moves(slopes, height, mirrored.device)
    moved = mirrored.unfold(-1, width + 1, 1)[:, :, rows, whole % (2 * width)]
    return torch.lerp(moved[..., :-1], moved[..., 1:], share)


@lru_cache(maxsize=256)
def _moves(slopes: tuple[float, ...], height: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows (H,), their shift in whole columns (D, H), and the fraction of one more (D, H, 1)."""
    rows = torch.arange(height, device=device)
    below_middle = rows.double() - (height - 1) / 2
    moves = torch.stack([slope * below_middle for slope in slopes])
    whole = moves.floor()
    return rows, whole.long(), (moves - whole).float()[..., None]


def _summed(sheared: Tensor, length: int) -> Tensor:
    """Sum (..., H, W) over ``length`` pixels of every column, which is mirrored at its ends.

    Adds the sums over 1, 2, 4 pixels and so on that make up ``length``.
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
    """Compute the opacity of bright vertical lines as a white overlay, and a like measure of dark lines.

    Opacity follows from the mixture ``line = (1 - opacity) side + opacity white``, over ``length`` pixels,
    with the brighter of the two sides, and in the channel with the least opacity, since lines of a scene are
    seldom white. It is zero or below where there is no bright line. The measure of a dark line is the same
    ratio to the darker side minus one: zero or below where there is no dark line.

    Args:
        sheared: (C, N, D, H, W), distance of each channel from white, so that opacity is one minus a ratio.
        slope: of the lines before shearing.

    Returns:
        opacity and measure of dark lines, (N, D, H, W) each.
    """
    lines = _summed(sheared, length)
    reach = round(_REACH * math.hypot(1, slope))
    padded = F.pad(lines.flatten(0, 2), (reach, reach, 0, 0), mode="replicate").unflatten(0, lines.shape[:3])
    left, right = padded[..., : -2 * reach], padded[..., 2 * reach :]
    bright = 1 - (lines / torch.minimum(left, right)).amax(dim=0)
    dark = (lines / torch.maximum(left, right)).amin(dim=0) - 1
    return bright, dark
