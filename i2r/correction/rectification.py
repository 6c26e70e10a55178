"""Corrections: each moves one kind of atypical noise toward the noise of clean photographs.

All are processes (see :mod:`i2r.diffusion.sampling`) from a canvas of shape (C, H, W) in [-1, 1] to a canvas
of that shape. ``grid`` tells which part of the canvas is the image and which is padding.
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
"""Regeneration ends this far below its entry level; what noise is left there cannot be seen."""

_SMALLEST_CHANGE = 0.25  # of the range [-1, 1], of a pixel that stood out
_SMALLEST_OF_STREAKS = 0.1  # at their edges the background shines through
_SMALLEST_OF_OVERLAYS = 0.05  # veils are thin
_ROUNDS = 2
# How boldly lost pixels are looked for where some are known to be lost: as false discovery rates.
_BOLD, _USUAL = 0.6, 0.05

_BLOCK_LEVELS = (0.01, 0.25)  # the range of entry levels that the line over periods was fitted in
_MILDEST_PERIOD = 0.25  # that of quality 85, the mildest that it was fitted on: below, entries fall to zero

ENTRY = 1.05
"""Noise is entered at this much of it: what noise is left shows more than what detail is lost."""
_FAINT, _PLAIN = 0.036, 0.055  # 4 and 7 of 255: photographs have fainter noise and texture of their own
_SOFT_EDGE = 7  # pixels, over which what is noisy in a part of a picture ends
_SMOOTHER = 1.3  # times as much in wider differences as in the finest: white noise in photographs has less

_SHARPEN_LEVELS = levels(0.03, 0.12, 2)
_CAUTION = 0.85  # on the width: too narrow a kernel leaves some blur, too wide a one rings
_INPUT_NOISE = 0.02  # of the range [-1, 1], as sharpening trusts its input


def fill_damage(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Find the pixels of some regions that stand out of their neighbourhood and fill them from the prior.

    Returns the canvas and the mask (H, W) of what was replaced. What was damaged first hides what lies
    beside it, so the search is repeated on the filled canvas.
    """
    image, level, frame = grid.crop(y), calibration.damage_level, grid.framed()
    searched = mask_of(where, image)
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    for _ in range(_ROUNDS):
        filled = grid.crop(x)
        noise = frame.crop((yield Query(frame.pad(filled), level, frame)))
        missed = (filled - image).sub_(noise, alpha=level)  # of what the prior expects in the filled image
        found = damaged(missed.square_().mean(dim=0).sqrt()) & searched
        # What was found first stays found: its own fill would hide some of it from the next search.
        mask = mask | grid.pad(found[None])[0]
        x = yield from fill(y, mask)
    return _keep_changes(y, x, mask, _SMALLEST_CHANGE)


def fill_streaks(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[tuple[Tensor, Tensor]]:
    """Find the streaks of some regions and fill them from the prior.

    Returns the canvas and the mask (H, W) of what was replaced. As with damage, the search is repeated.
    """
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    found: list[Streaks] = []
    for _ in range(_ROUNDS):
        image, level = grid.crop(x), calibration.damage_level
        noise = grid.crop((yield Query(x, level))).mul_(level)
        parts = [(image[:, rows, columns], noise[:, rows, columns]) for rows, columns in where]
        # How they run is seen once: a filled canvas no longer tells.
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
    """Find what lies over some regions; lift it where the scene shines through, and fill the rest.

    Regions whose evidence is not above ``least`` stay. Returns the canvas and the mask (H, W) of what was
    replaced.
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
    """Fill the damage of every kind in the regions in which its statistic is atypical.

    Returns the canvas and the mask (H, W) of what was replaced.
    """
    x, mask = y, torch.zeros_like(y[0], dtype=torch.bool)
    for name in names(sign=Sign.DAMAGE):
        if name not in where:
            continue
        statistic = STATISTICS[name]
        fill = statistic.correct
        if statistic.after_others is not None and mask.any():
            fill = partial(fill, least=calibration.clean[name].exceeded_by(statistic.after_others))
        x, filled = yield from fill(x, grid, calibration, where[name])
        mask = mask | filled
    return x, mask


def fill_lost(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[tuple[Tensor, Tensor]]:
    """Find and fill the lost pixels of an image that is known to have some, be they specks or streaks.

    By all kinds of damage, in the regions that look damaged: the likeliest of them is looked for at a rate at
    which an image that lost nothing would be filled too often.

    Returns the canvas and the mask (H, W) of what was replaced.
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
    """The canvas with what the fill changed, and the mask of that: what it gives back was not damaged."""
    mask = mask & ((y - filled).square_().mean(dim=0).sqrt() > smallest)
    return torch.where(mask, filled, y), mask


def remove_noise(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate ``y``, an image, read as a sample at the level of its own noise, times ``strength``."""
    level = yield from entry_level(y, grid, calibration)
    return (yield from _without_noise(y, level, steps, strength))


def _without_noise(y: Tensor, level: float, steps: int, strength: float) -> Process[Tensor]:
    """Regenerate ``y`` at ``strength`` times the level of its noise; the dial ends at ``y`` itself."""
    return unclip((yield from regenerate(y, strength * level, steps)), min(strength, 1.0) * level)


def find_noisy_part(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[Tensor]:
    """The mask (height, width) of what noise covers in some regions of an image, and in what adjoins them."""
    eps = grid.crop((yield Query(y, calibration.level)))
    return noisy_part(grid.crop(y), eps, where, calibration)


def remove_noise_in_part(
    y: Tensor, noisy: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[tuple[Tensor, Tensor]]:
    """Regenerate the ``noisy`` part (H, W) of an image at the level of its noise.

    Returns the canvas and the mask (H, W) of what was replaced.
    """
    fine = ENTRY * difference_scale(grid.crop(y), where=grid.crop(noisy[None])[0]).item()
    level = _unless_faint(fine, calibration)
    x = yield from _without_noise(y, level, steps, strength)
    # A soft edge: what is noisy ends nowhere sharply.
    share = averaged(noisy[None].float(), _SOFT_EDGE)[0]
    return torch.lerp(y, x, share), share > 0


def entry_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """The level of the noise of ``y``, an image.

    White noise shows in the finest differences: what the prior takes for noise holds some texture, or lacks
    what it takes for texture. Where wider differences tell of more, the noise is smoother, or there is
    texture: there the prior is asked. Faint noise may be the photograph's own, and is entered less deep.
    """
    known = list(calibration.entry_scale)
    fine, wide = (ENTRY * difference_scale(grid.crop(y), reach).item() for reach in (1, 2))
    level = min(max(fine, known[0]), known[-1])
    higher = next((other for other in known if other > level), known[-1])
    if wide > _SMOOTHER * level and (yield from _excess(y, grid, calibration, higher)) > 0:
        level = max(level, min(wide, (yield from noise_level(y, grid, calibration))))
    return _unless_faint(level, calibration)


def _unless_faint(level: float, calibration: Calibration) -> float:
    """The level to enter noise of ``level`` at: what is faint may be the photograph's own."""
    least, *_, most = calibration.entry_scale
    level = min(max(level, least), most)
    share = min(max((level - _FAINT) / (_PLAIN - _FAINT), 0.0), 1.0)
    return least + share * (level - least)


def noise_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """The highest level at which the noise of ``y`` is as strong as noise of that level is.

    Walks up while it is, or down until it is, from the level that damage is looked for at. (Strong gray noise
    read at a low level poses as texture, so that walking up from there would stop at once.)
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
    """How much stronger the noise of ``y`` is than noise of a calibrated level, in logarithms."""
    return log_scale(grid.crop((yield Query(y, level)))).item() - calibration.entry_scale[level]


def remove_blocks(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate from the entry level, times ``strength``, that fits how much of a grid the noise shows."""
    intercept, slope = calibration.block_entry
    period = log_period(grid.crop((yield Query(y, calibration.level)))).item()
    entry = min(max(math.exp(intercept + slope * period), _BLOCK_LEVELS[0]), _BLOCK_LEVELS[1])
    share = min(1.0, period / _MILDEST_PERIOD)
    return (yield from regenerate(y, strength * share * entry, steps))


def sharpen(y: Tensor, grid: TileGrid, calibration: Calibration, strength: float = 1.0) -> Process[Tensor]:
    """Undo a Gaussian blur whose width is read off the spectrum, the prior filling what the blur has lost.

    Alternates posterior means with the exact solution of ``|H x - y|^2`` near them (half-quadratic
    splitting with a denoiser: Zhang et al., arXiv 2008.13751, equation 6).
    """
    blur = GaussianBlur(strength * _CAUTION * blur_width(grid.crop(y), calibration.spectrum))
    x = blur.solve(y, y, _INPUT_NOISE)
    for level in reversed(_SHARPEN_LEVELS):
        expected = yield from denoise(x, level)
        x = blur.solve(y, expected, (_INPUT_NOISE / level) ** 2)
    return x


def regenerate(y: Tensor, entry: float, steps: int) -> Process[Tensor]:
    """Follow DDIM from ``y``, read as a sample at level ``entry``, to a clean image."""
    return (yield from generate(y, levels(entry / PATH_DEPTH, entry, steps - 1)))
