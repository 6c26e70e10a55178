"""Calibrate a prior on clean photographs: measure the noise that it predicts, and entry levels of DDIM.

Run it with ``i2r priors calibrate PRIOR --data PHOTOS``. Everything is measured in the space that the prior's
diffusion runs in: pixels or latents.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from i2r.canvas.bands import finite
from i2r.correction.rectification import regenerate
from i2r.diffusion.sampling import drive, levels
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.errors import PriorError, SettingsError
from i2r.prior.network import Prior
from i2r.screening import overlay_weights
from i2r.screening.calibration import TAIL, TAIL_START, Calibration, Spread
from i2r.screening.overlays import find_overlays
from i2r.screening.spectrum import log_band_power
from i2r.screening.statistics import STATISTICS, Level
from i2r.screening.typicality import SMALLEST_SIDE, Seen, log_period, log_scale, measure
from i2r.training.degradation import jpeg
from i2r.training.photographs import Photographs

SCREENING_LEVEL = 0.06
DAMAGE_LEVEL = 0.3
ENTRY_LEVELS = levels(0.02, 0.8, 12)
BLOCK_LEVELS = levels(0.015, 0.2, 6)
BLOCK_QUALITIES = (10, 20, 35, 60, 85)
BLOCK_CROPS = 25
BLOCK_STEPS = 3
SHORT_SIDES = (256, 384, 512)
CROP = 192
"""Side of the crops of photographs, in pixels, unless the prior needs larger ones."""
_NARROWEST = 1e-3  # least spread or tail, since a statistic may be the same on all crops


def calibrate(prior: Prior, crops: Tensor, *, seed: int = 0) -> Calibration:
    """Measure the noise that a prior predicts in clean crops, with and without added noise of known level.

    Args:
        prior: any prior.
        crops: clean photographs, (N, 3, S, S) in [-1, 1]; a few hundred of them.
        seed: of the added noise.

    Raises:
        SettingsError: there are too few crops, or their side does not fit the prior.
        PriorError: the prior diverges on the crops, or the measurements are no valid calibration.
    """
    if len(crops) < (fewest := len(ENTRY_LEVELS)):
        raise SettingsError(f"{len(crops)} crops are too few to calibrate on: give {fewest} or more")
    if (side := crops.shape[-1]) % prior.stride or side < SMALLEST_SIDE * prior.space.factor:
        raise SettingsError(
            f"crops of {side} px do not fit the prior {prior.name}: give a multiple of {prior.stride}, "
            f"{fitting_side(prior)} or more"
        )
    try:
        calibration = _calibrate(prior, crops, seed)
        if prior.sees_gray:
            calibration = replace(calibration, gray=_calibrate(prior, crops.mean(dim=1, keepdim=True), seed))
        return calibration
    except (ValueError, statistics.StatisticsError) as error:
        raise PriorError(
            f"the prior {prior.name} cannot be calibrated on these photographs ({error}): "
            "check it with `i2r priors check`, and give sharp photographs of many scenes"
        ) from error


def fitting_side(prior: Prior) -> int:
    """Return the side in pixels of crops to calibrate on: ``CROP``, or more if the latents need it."""
    return math.ceil(max(CROP, SMALLEST_SIDE * prior.space.factor) / prior.stride) * prior.stride


def _calibrate(prior: Prior, crops: Tensor, seed: int) -> Calibration:
    generator = torch.Generator().manual_seed(seed)
    grid = TileGrid.whole(*crops.shape[-2:])
    blocky = _block_entry(prior, crops[:BLOCK_CROPS], grid)
    canvases = torch.stack([prior.space.encode(crop.to(prior.device), grid) for crop in crops])
    clean: list[Mapping[str, float]] = []
    entry: dict[float, list[float]] = {level: [] for level in ENTRY_LEVELS}
    for index, canvas in enumerate(canvases):
        x = canvas[None]
        noise = DAMAGE_LEVEL * prior.eps(x, torch.tensor([DAMAGE_LEVEL]))[0]
        eps = prior.eps(x, torch.tensor([SCREENING_LEVEL]))[0]
        if not finite(eps, noise):
            raise ValueError("it diverges on them")
        covered = find_overlays(canvas, prior.device, prior.precision)
        measured = measure(Seen(canvas, noise, covered), Level.HIGH) | measure(Seen(canvas, eps), Level.LOW)
        clean.extend({**measured.whole, **local} for local in measured.local)
        level = ENTRY_LEVELS[index % len(ENTRY_LEVELS)]
        added = torch.randn(x.shape, generator=generator).to(prior.device)
        entry[level].append(log_scale(prior.eps(x + level * added, torch.tensor([level]))[0]).item())
    return Calibration(
        level=SCREENING_LEVEL,
        damage_level=DAMAGE_LEVEL,
        clean={name: spread_of([values[name] for values in clean]) for name in STATISTICS},
        entry_scale={level: statistics.fmean(scales) for level, scales in entry.items()},
        block_entry=blocky,
        spectrum=tuple(torch.stack([log_band_power(canvas) for canvas in canvases]).mean(dim=0).tolist()),
        overlays=overlay_weights.digest(),
    )


def _block_entry(prior: Prior, crops: Tensor, pixels: TileGrid) -> tuple[float, float]:
    """Fit the best entry level for JPEG blocks as a line of the log period that blocks leave in the noise.

    Returns:
        intercept and slope of the log entry level over the log period.
    """
    grid = prior.space.grid(pixels)
    evaluator = FixedShapeEvaluator(prior, lambda *_: len(BLOCK_LEVELS))
    periods, best = [], []
    for index, crop in enumerate(crops):
        clean = (crop.permute(1, 2, 0) / 2 + 0.5).numpy()
        blocky = torch.from_numpy(jpeg(clean, quality=BLOCK_QUALITIES[index % len(BLOCK_QUALITIES)]))
        y = prior.space.encode(blocky.permute(2, 0, 1).to(prior.device) * 2 - 1, pixels)
        wanted = prior.space.encode(crop.to(prior.device), pixels)
        periods.append(log_period(prior.eps(y[None], torch.tensor([SCREENING_LEVEL]))[0]).item())
        tries = drive(
            [regenerate(y, level, BLOCK_STEPS) for level in BLOCK_LEVELS],
            [grid] * len(BLOCK_LEVELS),
            evaluator,
        )
        errors = [(x - wanted).square().mean().item() for x in tries]
        best.append(math.log(BLOCK_LEVELS[errors.index(min(errors))]))
    slope, intercept = statistics.linear_regression(periods, best)
    return intercept, slope


def draw_crops(folder: Path, count: int, side: int) -> Tensor:
    """Draw twice ``count`` random crops of a folder's photographs, and return the sharper half of them.

    Returns:
        (>= count, 3, side, side) in [-1, 1].

    Raises:
        SettingsError: the folder has no photograph that is large enough, one cannot be read, or ``side`` is
            too large.
    """
    return in_focus(Photographs(folder, side, short_sides=SHORT_SIDES).draw(2 * count))


def in_focus(crops: Tensor) -> Tensor:
    """Select the sharper half of (N, 3, H, W) crops: a crop with nothing in focus is a blurred image."""
    steps = crops.diff(dim=-1).abs().mean(dim=(1, 2, 3)) + crops.diff(dim=-2).abs().mean(dim=(1, 2, 3))
    return crops[steps >= steps.median()]


def spread_of(values: Sequence[float]) -> Spread:
    """Fit the distribution of 20 values or more on the upper side, which is the one tested."""
    ordered = sorted(values)
    middle, last = statistics.median(ordered), int((1 - TAIL) * (len(ordered) - 1))
    start = ordered[last]
    spread = max((start - middle) / TAIL_START, _NARROWEST)
    return Spread(middle, spread, max(statistics.fmean(ordered[last + 1 :]) - start, _NARROWEST))
