"""Streaks: bright thin lines of one direction over a scene, such as rain and scratches.

Photographs are full of thin lines, but those of a scene have various colours and directions, and the prior
expects them. Streaks are nearly white whatever lies below them, have one direction, and appear in the
predicted noise with one sign. They are detected by opacity: how far a ridge lies on the way from its sides to
white. Lines of a scene are far from opaque, whatever their contrast. Dark lines, whose noise is negative,
count against bright ones of the same contrast: a region with both is a texture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import widened


@dataclass(frozen=True)
class StreakTuning:
    """How streaks are detected.

    Attributes:
        directions: number of tested directions, over half a turn; a multiple of 4.
        length: pixels along a line over which streaks are detected: longer than most elements of a texture.
        sure_length: pixels along a line for the sure parts of a streak: shorter, since the direction is known
            by then.
        short_length: pixels along a line for the likely parts of a streak beside sure ones, so that its ends
            are not cut off.
        sure_opacity: least opacity of the sure parts, in [0, 1]; see :func:`_opacities`.
        likely_opacity: least opacity of the likely parts beside them.
        spread: of an image's streaks around their direction, in steps between two directions.
        noise: least mean noise along a streak, in units of the range [-1, 1]; lower, the line belongs to the
            scene.
        reach: pixels from a ridge to its sides: thicker lines are objects.
        glare: added to the distance from white, in units of the range: near white any ridge would be opaque.
    """

    directions: int = 24
    length: int = 21
    sure_length: int = 15
    short_length: int = 7
    sure_opacity: float = 0.35
    likely_opacity: float = 0.2
    spread: float = 0.5
    noise: float = 0.05
    reach: float = 2.0
    glare: float = 0.15


STREAKS = StreakTuning()


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
    best = max(range(len(powers)), key=powers.__getitem__)
    if powers[best] <= 0:
        return Streaks(0.0, False, 0.0)
    slopes = [slope for group in _slopes() for slope in group]
    transposed, index = divmod(best, len(slopes))
    return Streaks(slopes[index], bool(transposed), powers[best])


def streak_powers(images: Tensor, noises: Tensor) -> Tensor:
    """Compute the power of the streaks in each direction; below zero for dark lines. See :class:`Streaks`.

    Args:
        images, noises: (N, C, H, W), as in :func:`find_streaks`.

    Returns:
        (D, N), D directions: of upright lines, then of upright lines of the transposed images.
    """
    stack = _stacked(images, noises)
    both = _mirrored(stack), _mirrored(stack.mT)
    return torch.cat([_powers(mirrored, slopes) for mirrored in both for slopes in _slopes()])


def _powers(mirrored: Tensor, slopes: tuple[float, ...]) -> Tensor:
    """Compute the power in some directions of upright lines, (D, N)."""
    sheared = _sheared(mirrored, slopes)
    opacity = torch.maximum(*_opacities(sheared[:-1], slopes[0], STREAKS.length)).clamp_min(0)
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
    aside = STREAKS.spread * math.pi / STREAKS.directions
    slopes = [math.tan(math.atan(streaks.slope) + side * aside) for side in (-1, 0, 1)]
    # Pad, so that shearing moves no pixel out of the image.
    margin = math.ceil(max(map(abs, slopes)) * upright.shape[-2] / 2)
    upright = F.pad(upright, (margin, margin, 0, 0), mode="replicate")
    mirrored = _mirrored(upright)
    mask = torch.zeros(upright.shape[-2:], dtype=torch.bool, device=image.device)
    length, half = STREAKS.sure_length, STREAKS.sure_length // 2
    for slope in slopes:
        sheared = _sheared(mirrored, (slope,))
        sure = _opacities(sheared[:-1], slope, length)[0] > STREAKS.sure_opacity
        sure &= _summed(sheared[-1], length) > length * STREAKS.noise
        near = F.max_pool2d(sure.float(), (length, 3), stride=1, padding=(half, 1)) > 0
        likely = _opacities(sheared[:-1], slope, STREAKS.short_length)[0] > STREAKS.likely_opacity
        likely &= _summed(sheared[-1], STREAKS.short_length) > 0
        mask |= _sheared(_mirrored((near & likely).float()), (-slope,))[0, 0, 0] > 0.5
    mask = widened(mask[:, margin : mask.shape[1] - margin], 1)
    return mask.T if streaks.transposed else mask


def _slopes() -> list[tuple[float, ...]]:
    """Return the slopes of upright lines, in columns per row, grouped by equal :func:`_reach`."""
    quarter = STREAKS.directions // 4
    slopes = [math.tan(math.pi * turn / STREAKS.directions) for turn in range(-quarter, quarter)]
    return [tuple(group) for _, group in groupby(sorted(slopes, key=_reach, reverse=True), _reach)]


def _reach(slope: float) -> int:
    """Return the distance from upright lines of a slope to their sides, in columns."""
    return round(STREAKS.reach * math.hypot(1, slope))


def _stacked(images: Tensor, noises: Tensor) -> Tensor:
    """Stack each channel's distance from white, plus ``glare``, and the mean noise: (C + 1, N, H, W)."""
    return torch.cat([1 + STREAKS.glare - images.transpose(0, 1), noises.mean(dim=1)[None]])


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
    reach = _reach(slope)
    padded = F.pad(lines.flatten(0, 2), (reach, reach, 0, 0), mode="replicate").unflatten(0, lines.shape[:3])
    left, right = padded[..., : -2 * reach], padded[..., 2 * reach :]
    bright = 1 - (lines / torch.minimum(left, right)).amax(dim=0)
    dark = (lines / torch.maximum(left, right)).amin(dim=0) - 1
    return bright, dark
