"""Corrections: each moves one kind of atypical noise toward the noise of clean photographs.

All are processes (see :mod:`i2r.diffusion.sampling`) from a canvas of shape (C, H, W) in [-1, 1] to a canvas
of that shape. ``grid`` separates the image from the padding of the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from i2r.canvas.windows import MEDIAN_SIDE, widened
from i2r.correction.filling import fill, lift, translucent
from i2r.diffusion.sampling import Covered, Judged, Process, Query, denoise, generate, levels
from i2r.diffusion.tiling import TileGrid
from i2r.forms import GaussianBlur
from i2r.screening.calibration import Calibration
from i2r.screening.overlays import OVERLAYS, overlay_mask
from i2r.screening.regions import Region, mask_of, regions
from i2r.screening.spectrum import blur_width
from i2r.screening.statistics import STATISTICS, Level, Sign, names
from i2r.screening.streaks import Streaks, find_streaks, streak_mask
from i2r.screening.typicality import (
    TYPICALITY,
    Seen,
    damaged,
    log_period,
    measure,
)


@dataclass(frozen=True)
class RectificationTuning:
    """How atypical noise is corrected. Noise levels and changes are in units of the range [-1, 1].

    Attributes:
        path_depth: ratio of the entry level to the last level of a regeneration, whose noise is invisible.
        rounds: of the search for damage, which hides other damage beside it.
        dark: values of a ground, below which bright points are as likely stars or lamps.
        starry: share of such points among the damage, from which all of it may be.
        stuck: distance from 0 of values near an end of the range, where a lost pixel is stuck.
        least_stuck: share of pixels that are stuck, below which damage is texture.
        least_change: of a filled pixel: a fill that changes less has found no damage.
        least_change_of_streaks: the same; their edges are translucent.
        least_change_of_overlays: the same; veils are thin.
        least_covered: share of a region's streaks that the network of overlays sees, too: 0.3 and more in
            nine of ten pictures with drawn rain and scratches, less where letters, strings, gravel and edges
            of furniture were taken for them.
        likeliest_rate: false discovery rate of the search for missing pixels if the mask form is specified:
            of the most likely kind of damage.
        others_rate: the same, of the other kinds.
        block_levels: range of entry levels in which the line over log periods was fitted.
        block_periods: log period up to which blocks of unknown tables stay, as JPEG quality 60 leaves it and
            photographs that were such files before they were reduced, and from which they are regenerated in
            full: quality 30.
        least_entry: entry level below which nothing is regenerated: 8 bits hardly hold the change.
        sharpening: lowest and highest noise level of sharpening, and steps between them.
        caution: factor on the width of a blur: too narrow a kernel leaves some blur, too wide a one rings.
        input_noise: error that sharpening assumes in its input.
    """

    path_depth: float = 10.0
    rounds: int = 2
    dark: float = 0.0
    starry: float = 0.9
    stuck: float = 0.94
    least_stuck: float = 0.5
    least_change: float = 0.2
    least_change_of_streaks: float = 0.1
    least_change_of_overlays: float = 0.05
    least_covered: float = 0.3
    likeliest_rate: float = 0.6
    others_rate: float = 0.05
    block_levels: tuple[float, float] = (0.01, 0.25)
    block_periods: tuple[float, float] = (0.65, 0.95)
    least_entry: float = 0.01
    sharpening: tuple[float, float, int] = (0.03, 0.12, 2)
    caution: float = 0.85
    input_noise: float = 0.02


RECTIFICATION = RectificationTuning()


def fill_outliers(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Fill the pixels in the given regions whose residual stands out from its neighbourhood.

    Returns the canvas and the mask (H, W) of the filled pixels. Damage hides other damage beside it, so the
    search is repeated on the filled canvas.
    """
    image, level, frame = grid.crop(y), calibration.damage_level, grid.framed()
    searched = mask_of(where, image)
    wanted = frame.pad(widened(searched, MEDIAN_SIDE // 2 + TYPICALITY.growth)[None])[0]
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    for _ in range(RECTIFICATION.rounds):
        filled = grid.crop(x)
        noise = frame.crop((yield Query(frame.pad(filled), level, frame, wanted)))
        missed = (filled - image).sub_(noise, alpha=level)  # posterior mean of the filled image - image
        found = damaged(missed.square_().mean(dim=0).sqrt()) & searched
        # Pixels found before stay in the mask: their own fill may hide them from this search.
        mask = mask | grid.pad(found[None])[0]
        x = yield from fill(y, mask)
    return _keep_changes(y, x, mask, RECTIFICATION.least_change)


def fill_damage(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """:func:`fill_outliers`, unless they are as likely content, see :func:`_is_content`: then nothing."""
    x, mask = yield from fill_outliers(y, grid, calibration, where)
    return (y, torch.zeros_like(mask)) if _is_content(y[:, mask], x[:, mask]) else (x, mask)


def _is_content(pixels: Tensor, ground: Tensor) -> bool:
    """Whether pixels (C, N) that stand out of the ``ground`` below them are as likely content as damage.

    A lost pixel is stuck at an end of the range, wherever it lies; sand and foliage have specks of any value,
    and a night sky has stars, on a dark ground alone.
    """
    stuck = (pixels.abs() > RECTIFICATION.stuck).any(dim=0)
    ground = ground.mean(dim=0)
    bright = (ground < RECTIFICATION.dark) & (pixels.mean(dim=0) > ground)
    shares = torch.stack([stuck, bright]).float().mean(dim=1)
    return bool((shares[0] < RECTIFICATION.least_stuck) | (shares[1] >= RECTIFICATION.starry))


def fill_streaks(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """:func:`fill_lines`, in the regions in which those lie over the scene: it has lines of its own."""
    x, mask = yield from fill_lines(y, grid, calibration, where)
    if not mask.any():
        return x, mask
    lines, likely = grid.crop(mask[None])[0], (yield Covered(grid.crop(y))) > OVERLAYS.likely
    for part in where:
        if (likely[part] & lines[part]).sum() < RECTIFICATION.least_covered * lines[part].sum():
            lines[part] = False
    mask = grid.pad(lines[None])[0]
    return (torch.where(mask, x, y) if mask.any() else y), mask


def fill_lines(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Fill the bright lines of one direction in each of the given regions.

    Returns the canvas and the mask (H, W) of the filled pixels. The search is repeated as in
    :func:`fill_outliers`.
    """
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    wanted = grid.pad(mask_of(where, grid.crop(y))[None])[0]
    found: list[Streaks] = []
    for _ in range(RECTIFICATION.rounds):
        image, level = grid.crop(x), calibration.damage_level
        noise = grid.crop((yield Query(x, level, wanted=wanted))).mul_(level)
        parts = [(image[:, rows, columns], noise[:, rows, columns]) for rows, columns in where]
        # The directions are found in the first round: the filled canvas no longer shows them.
        found = found or [find_streaks(*part) for part in parts]
        lines = torch.zeros(image.shape[1:], dtype=torch.bool, device=y.device)
        for (rows, columns), part, streaks in zip(where, parts, found, strict=True):
            lines[rows, columns] = streak_mask(*part, streaks)
        mask = mask | grid.pad(lines[None])[0]
        x = yield from fill(y, mask)
    return _keep_changes(y, x, mask, RECTIFICATION.least_change_of_streaks)


def fill_overlays(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region], least: float = -math.inf
) -> Process[tuple[Tensor, Tensor]]:
    """Remove the overlays in the given regions: brighten translucent ones, fill the others.

    Regions whose evidence is not above ``least`` stay unchanged. Returns the canvas and the mask (H, W) of
    the changed pixels.
    """
    image = grid.crop(y)
    if least > -math.inf:
        judged = zip(regions(grid.height, grid.width), (yield Judged(image)), strict=True)
        where = [part for part, log_odds in judged if part in where and log_odds > least]
    logits = yield Covered(image)
    covered = torch.zeros_like(logits, dtype=torch.bool)
    for part in where:
        covered[part] = overlay_mask(logits[part])
    mask = grid.pad(covered[None])[0]
    veiled = translucent(y, mask)
    x = yield from fill(lift(y, veiled), mask & ~veiled)
    return _keep_changes(y, x, mask, RECTIFICATION.least_change_of_overlays)


Fill = Callable[..., Process[tuple[Tensor, Tensor]]]
FILLS: Mapping[str, Fill] = {
    function.__name__: function for function in (fill_damage, fill_streaks, fill_overlays)
}
"""What corrects damage, by its name: maps a canvas, its grid, the calibration and the atypical regions to the
canvas and the mask (H, W) of what was replaced. If ``after_others`` of the statistic is set, it also takes
the ``least`` value at which a region is corrected."""


def fill_all(
    y: Tensor,
    grid: TileGrid,
    calibration: Calibration,
    where: Mapping[str, Sequence[Region]],
    fills: Mapping[str, Fill] = FILLS,
) -> Process[tuple[Tensor, dict[str, Tensor]]]:
    """Fill every kind of damage in the regions ``where`` its statistic is atypical.

    Returns the canvas and the masks (H, W) of the changed pixels, by statistic. Specks and streaks look like
    overlays too: once some were filled, only overlays with stronger evidence are removed.
    """
    x, masks = y, dict[str, Tensor]()
    for name in names(sign=Sign.DAMAGE):
        if name not in where:
            continue
        statistic = STATISTICS[name]
        correct = fills[statistic.corrected_by]
        if statistic.after_others is not None and joined(masks, y).any():
            correct = partial(correct, least=calibration.clean[name].exceeded_by(statistic.after_others))
        x, masks[name] = yield from correct(x, grid, calibration, where[name])
    return x, masks


def joined(masks: Mapping[str, Tensor], y: Tensor) -> Tensor:
    """The pixels (H, W) of a canvas ``y`` (C, H, W) that lie in any mask."""
    return reduce(torch.logical_or, masks.values(), torch.zeros_like(y[0], dtype=torch.bool))


def fill_missing(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[tuple[Tensor, Tensor]]:
    """Find and fill the missing pixels of an image that is known to have some, such as specks or streaks.

    Applies every fill to the regions that look damaged. The most likely kind of damage is searched for
    at a false discovery rate that would fill too many pixels of an undamaged image.

    Returns the canvas and the mask (H, W) of the filled pixels.
    """
    parts = regions(grid.height, grid.width)
    if min(grid.height, grid.width) < TYPICALITY.smallest_side:
        return (yield from fill_outliers(y, grid, calibration, parts))
    image = grid.crop(y)
    noise = grid.crop((yield Query(y, calibration.damage_level))).mul_(calibration.damage_level)
    seen = measure(Seen(image, noise), Level.HIGH).with_overlays((yield Judged(image)).tolist())
    p_values = seen.p_values(calibration)
    likeliest = min(p_values, key=lambda name: p_values[name])
    where = {}
    for name in p_values:
        rate = RECTIFICATION.likeliest_rate if name == likeliest else RECTIFICATION.others_rate
        if found := seen.atypical_regions(calibration, name, rate):
            where[name] = [parts[index] for index in sorted(found)]
    fills = {**FILLS, fill_damage.__name__: fill_outliers, fill_streaks.__name__: fill_lines}
    x, masks = yield from fill_all(y, grid, calibration, where, fills)
    return x, joined(masks, y)


def _keep_changes(y: Tensor, filled: Tensor, mask: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Keep only the pixels that the fill changed by more than ``least``: the others were not damaged.

    Returns the canvas and the mask (H, W) of the pixels kept.
    """
    mask = mask & ((y - filled).square_().mean(dim=0).sqrt() > least)
    return torch.where(mask, filled, y), mask


def remove_blocks(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate from the entry level calibrated for the noise's grid period, times ``strength``."""
    intercept, slope = calibration.block_entry
    period = log_period(grid.crop((yield Query(y, calibration.level)))).item()
    low, high = RECTIFICATION.block_levels
    entry = min(max(math.exp(intercept + slope * period), low), high)
    faint, plain = RECTIFICATION.block_periods
    entry *= strength * min(max((period - faint) / (plain - faint), 0.0), 1.0)
    return y if entry < RECTIFICATION.least_entry else (yield from regenerate(y, entry, steps))


def sharpen(y: Tensor, grid: TileGrid, calibration: Calibration, strength: float = 1.0) -> Process[Tensor]:
    """Undo a Gaussian blur whose width is estimated from the spectrum; the prior restores missing detail.

    Alternates posterior means with exact minimisers of ``|H x - y|^2`` near them (half-quadratic splitting
    with a denoiser: Zhang et al., arXiv 2008.13751, equation 6).
    """
    noise = RECTIFICATION.input_noise
    blur = GaussianBlur(strength * RECTIFICATION.caution * blur_width(grid.crop(y), calibration.spectrum))
    x = blur.solve(y, y, noise)
    for level in reversed(levels(*RECTIFICATION.sharpening)):
        expected = yield from denoise(x, level)
        x = blur.solve(y, expected, (noise / level) ** 2)
    return x


def regenerate(y: Tensor, entry: float, steps: int, wanted: Tensor | None = None) -> Process[Tensor]:
    """Follow DDIM from ``y``, taken as a sample at level ``entry``, to a clean image in ``steps`` steps.

    Where only some pixels are ``wanted`` (H, W), the others are right only in the tiles of those.
    """
    return (yield from generate(y, path(entry, steps), wanted))


def path(entry: float, steps: int) -> list[float]:
    """Return the ``steps`` noise levels of a regeneration, up to ``entry``."""
    return levels(entry / RECTIFICATION.path_depth, entry, steps - 1)
