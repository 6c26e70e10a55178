"""Corrections: each moves one kind of atypical noise toward the noise of clean photographs.

All are processes (see :mod:`i2r.diffusion.sampling`) from a canvas of shape (C, H, W) in [-1, 1] to a canvas
of that shape. ``grid`` separates the image from the padding of the canvas.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from i2r.canvas.windows import averaged
from i2r.correction.clipping import unclip
from i2r.correction.filling import fill, lift, translucent
from i2r.diffusion.sampling import Covered, Process, Query, denoise, generate, levels
from i2r.diffusion.tiling import TileGrid
from i2r.forms import GaussianBlur
from i2r.screening.calibration import Calibration
from i2r.screening.overlays import overlay_evidence, overlay_mask
from i2r.screening.spectrum import blur_width
from i2r.screening.statistics import STATISTICS, Level, Sign, names
from i2r.screening.streaks import Streaks, find_streaks, streak_mask
from i2r.screening.typicality import (
    SMALLEST_SIDE,
    Region,
    Seen,
    damaged,
    difference_scale,
    log_period,
    log_scale,
    mask_of,
    measure,
    noisy_part,
    regions,
)

PATH_DEPTH = 10.0
"""Regeneration ends this many times below its entry level, where the remaining noise is invisible."""

# Least change of a filled pixel, of the range [-1, 1]: a fill that changes less has found no damage.
_SMALLEST_CHANGE = 0.25
_SMALLEST_OF_STREAKS = 0.1  # their edges are translucent
_SMALLEST_OF_OVERLAYS = 0.05  # veils are thin
_ROUNDS = 2
# False discovery rates of the search for missing pixels if the mask form is specified: for the most likely
# kind of damage, and for the others.
_BOLD, _USUAL = 0.6, 0.05

_BLOCK_LEVELS = (0.01, 0.25)  # range of entry levels in which the line over log periods was fitted
_MILDEST_PERIOD = 0.25  # log period of JPEG quality 85, the mildest fitted; entry levels fall to zero below

ENTRY = 1.05
"""Entry level over noise level: remaining noise is more visible than lost detail."""
_FAINT, _PLAIN = 0.036, 0.055  # 4 and 7 of 255: photographs have fainter noise and texture of their own
_SOFT_EDGE = 7  # pixels over which the correction of a noisy part fades out
_SMOOTHER = 1.3  # ratio of wider to finest differences that white noise in photographs stays below

_SHARPEN_LEVELS = levels(0.03, 0.12, 2)
_CAUTION = 0.85  # factor on the width: too narrow a kernel leaves some blur, too wide a one rings
_INPUT_NOISE = 0.02  # of the range [-1, 1]: error that sharpening assumes in its input


def fill_damage(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Fill the pixels in the given regions whose residual stands out from its neighbourhood.

    Returns the canvas and the mask (H, W) of the filled pixels. Damage hides other damage beside it, so the
    search is repeated on the filled canvas.
    """
    image, level, frame = grid.crop(y), calibration.damage_level, grid.framed()
    searched = mask_of(where, image)
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    for _ in range(_ROUNDS):
        filled = grid.crop(x)
        noise = frame.crop((yield Query(frame.pad(filled), level, frame)))
        missed = (filled - image).sub_(noise, alpha=level)  # posterior mean of the filled image - image
        found = damaged(missed.square_().mean(dim=0).sqrt()) & searched
        # Pixels found before stay in the mask: their own fill may hide them from this search.
        mask = mask | grid.pad(found[None])[0]
        x = yield from fill(y, mask)
    return _keep_changes(y, x, mask, _SMALLEST_CHANGE)


def fill_streaks(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Fill the streaks in the given regions.

    Returns the canvas and the mask (H, W) of the filled pixels. The search is repeated as in
    :func:`fill_damage`.
    """
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    found: list[Streaks] = []
    for _ in range(_ROUNDS):
        image, level = grid.crop(x), calibration.damage_level
        noise = grid.crop((yield Query(x, level))).mul_(level)
        parts = [(image[:, rows, columns], noise[:, rows, columns]) for rows, columns in where]
        # The directions are found in the first round: the filled canvas no longer shows them.
        found = found or [find_streaks(*part) for part in parts]
        lines = torch.zeros(image.shape[1:], dtype=torch.bool, device=y.device)
        for (rows, columns), part, streaks in zip(where, parts, found, strict=True):
            lines[rows, columns] = streak_mask(*part, streaks)
        mask = mask | grid.pad(lines[None])[0]
        x = yield from fill(y, mask)
    return _keep_changes(y, x, mask, _SMALLEST_OF_STREAKS)


def fill_overlays(
    y: Tensor,
    grid: TileGrid,
    calibration: Calibration,
    where: Sequence[Region],
    least: float = -math.inf,
) -> Process[tuple[Tensor, Tensor]]:
    """Remove the overlays in the given regions: brighten translucent ones, fill the others.

    Regions whose evidence is not above ``least`` stay unchanged. Returns the canvas and the mask (H, W) of
    the changed pixels.
    """
    logits = yield Covered(grid.crop(y))
    covered = torch.zeros_like(logits, dtype=torch.bool)
    for part in where:
        if overlay_evidence(logits[part][None]) > least:
            covered[part] = overlay_mask(logits[part])
    mask = grid.pad(covered[None])[0]
    veiled = translucent(y, mask)
    x = yield from fill(lift(y, veiled), mask & ~veiled)
    return _keep_changes(y, x, mask, _SMALLEST_OF_OVERLAYS)


def fill_all(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Mapping[str, Sequence[Region]]
) -> Process[tuple[Tensor, Tensor]]:
    """Fill every kind of damage in the regions ``where`` its statistic is atypical.

    Returns the canvas and the mask (H, W) of the changed pixels. Specks and streaks look like overlays too:
    once some were filled, only overlays with stronger evidence are removed.
    """
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    for name in names(sign=Sign.DAMAGE):
        if name not in where:
            continue
        statistic = STATISTICS[name]
        correct = statistic.correct
        if statistic.after_others is not None and mask.any():
            correct = partial(correct, least=calibration.clean[name].exceeded_by(statistic.after_others))
        x, filled = yield from correct(x, grid, calibration, where[name])
        mask = mask | filled
    return x, mask


def fill_lost(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[tuple[Tensor, Tensor]]:
    """Find and fill the missing pixels of an image that is known to have some, such as specks or streaks.

    Applies every fill to the regions that look damaged. The most likely kind of damage is searched for
    at a false discovery rate that would fill too many pixels of an undamaged image.

    Returns the canvas and the mask (H, W) of the filled pixels.
    """
    parts = regions(grid.height, grid.width)
    if min(grid.height, grid.width) < SMALLEST_SIDE:
        return (yield from fill_damage(y, grid, calibration, parts))
    image = grid.crop(y)
    noise = grid.crop((yield Query(y, calibration.damage_level))).mul_(calibration.damage_level)
    seen = measure(Seen(image, noise, (yield Covered(image))), Level.HIGH)
    p_values = seen.p_values(calibration)
    likeliest = min(p_values, key=lambda name: p_values[name])
    where = {}
    for name in p_values:
        rate = _BOLD if name == likeliest else _USUAL
        if found := seen.atypical_regions(calibration, name, rate):
            where[name] = [parts[index] for index in sorted(found)]
    return (yield from fill_all(y, grid, calibration, where))


def _keep_changes(y: Tensor, filled: Tensor, mask: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """Keep only the pixels that the fill changed by more than ``smallest``: the others were not damaged.

    Returns the canvas and the mask (H, W) of the pixels kept.
    """
    mask = mask & ((y - filled).square_().mean(dim=0).sqrt() > smallest)
    return torch.where(mask, filled, y), mask


def remove_noise(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate image ``y``, taken as a sample at its own noise level times ``strength``."""
    level = yield from entry_level(y, grid, calibration)
    return (yield from _without_noise(y, level, steps, strength))


def _without_noise(y: Tensor, level: float, steps: int, strength: float) -> Process[Tensor]:
    """Regenerate ``y`` at ``strength`` times its noise level; it approaches ``y`` with falling ``strength``.

    The correction of clipping falls with ``strength`` too.
    """
    return unclip((yield from regenerate(y, strength * level, steps)), min(strength, 1.0) * level)


def find_noisy_part(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[Tensor]:
    """Find the mask (height, width) of noisy pixels in the given regions of an image, and adjoining them."""
    eps = grid.crop((yield Query(y, calibration.level)))
    return noisy_part(grid.crop(y), eps, where, calibration)


def remove_noise_in_part(
    y: Tensor, noisy: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[tuple[Tensor, Tensor]]:
    """Regenerate the ``noisy`` part (H, W) of an image at its noise level.

    Returns the canvas and the mask (H, W) of the changed pixels.
    """
    fine = ENTRY * difference_scale(grid.crop(y), where=grid.crop(noisy[None])[0]).item()
    level = _unless_faint(fine, calibration)
    x = yield from _without_noise(y, level, steps, strength)
    # Noisy parts have no sharp edge.
    share = averaged(noisy[None].float(), _SOFT_EDGE)[0]
    return torch.lerp(y, x, share), share > 0


def entry_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """Estimate the noise level of image ``y``, from which DDIM regenerates it.

    White noise is measured by the finest differences: the prior's noise includes some texture, or lacks noise
    that the prior takes for texture. If wider differences are larger, the noise is smoother or the image has
    texture, and the prior decides (:func:`noise_level`). The level of faint noise, which may be the
    photograph's own, is reduced.
    """
    known = list(calibration.entry_scale)
    fine, wide = (ENTRY * difference_scale(grid.crop(y), reach).item() for reach in (1, 2))
    level = min(max(fine, known[0]), known[-1])
    higher = next((other for other in known if other > level), known[-1])
    if wide > _SMOOTHER * level and (yield from _excess(y, grid, calibration, higher)) > 0:
        level = max(level, min(wide, (yield from noise_level(y, grid, calibration))))
    return _unless_faint(level, calibration)


def _unless_faint(level: float, calibration: Calibration) -> float:
    """Return the entry level for noise of ``level``: lower for faint noise, perhaps the photograph's own."""
    least, *_, most = calibration.entry_scale
    level = min(max(level, least), most)
    share = min(max((level - _FAINT) / (_PLAIN - _FAINT), 0.0), 1.0)
    return least + share * (level - least)


def noise_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """Find the level at which the noise of ``y`` is as strong as calibrated noise of that level.

    Starts at the calibration's ``damage_level`` and steps up while the noise is stronger, or down until it
    is, then interpolates. (A search upward from the lowest level would stop at once on strong gray noise: at
    a low level the prior takes it for texture.)
    """
    known = list(calibration.entry_scale)
    index = min(bisect_left(known, calibration.damage_level), len(known) - 1)
    here = yield from _excess(y, grid, calibration, known[index])
    step = 1 if here >= 0 else -1
    while 0 <= index + step < len(known):
        before, index = here, index + step
        here = yield from _excess(y, grid, calibration, known[index])
        if (here >= 0) != (step > 0):
            share = before / (before - here)
            return known[index - step] * (known[index] / known[index - step]) ** share
    return known[index]


def _excess(y: Tensor, grid: TileGrid, calibration: Calibration, level: float) -> Process[float]:
    """Log ratio of the scale of the noise of ``y`` to that of calibrated noise of ``level``."""
    return log_scale(grid.crop((yield Query(y, level)))).item() - calibration.entry_scale[level]


def remove_blocks(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate from the entry level calibrated for the noise's grid period, times ``strength``."""
    intercept, slope = calibration.block_entry
    period = log_period(grid.crop((yield Query(y, calibration.level)))).item()
    entry = min(max(math.exp(intercept + slope * period), _BLOCK_LEVELS[0]), _BLOCK_LEVELS[1])
    share = min(1.0, period / _MILDEST_PERIOD)
    return (yield from regenerate(y, strength * share * entry, steps))


def sharpen(y: Tensor, grid: TileGrid, calibration: Calibration, strength: float = 1.0) -> Process[Tensor]:
    """Undo a Gaussian blur whose width is estimated from the spectrum; the prior restores lost detail.

    Alternates posterior means with exact minimisers of ``|H x - y|^2`` near them (half-quadratic splitting
    with a denoiser: Zhang et al., arXiv 2008.13751, equation 6).
    """
    blur = GaussianBlur(strength * _CAUTION * blur_width(grid.crop(y), calibration.spectrum))
    x = blur.solve(y, y, _INPUT_NOISE)
    for level in reversed(_SHARPEN_LEVELS):
        expected = yield from denoise(x, level)
        x = blur.solve(y, expected, (_INPUT_NOISE / level) ** 2)
    return x


def regenerate(y: Tensor, entry: float, steps: int) -> Process[Tensor]:
    """Follow DDIM from ``y``, taken as a sample at level ``entry``, to a clean image in ``steps`` steps."""
    return (yield from generate(y, levels(entry / PATH_DEPTH, entry, steps - 1)))
