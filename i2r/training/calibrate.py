"""Calibrate a prior on clean photographs: measure the noise that it predicts, and entry levels of DDIM.

Run it with ``i2r priors calibrate PRIOR --data PHOTOS``. Everything is measured in the space that the prior's
diffusion runs in: pixels or latents.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from i2r.screening.overlays import OverlayFinder
from i2r.screening.regions import REGION
from i2r.screening.spectrum import log_band_power
from i2r.screening.statistics import STATISTICS, Level
from i2r.screening.typicality import TYPICALITY, Seen, log_period, log_scale, measure
from i2r.training.degradation import jpeg
from i2r.training.photographs import Photographs


@dataclass(frozen=True)
class Recipe:
    """What priors are calibrated at. Noise levels are in units of the range [-1, 1].

    Attributes:
        level: at which grain, lag, antilag, period and patchiness are measured.
        damage_level: at which tails, streaks and overlays are measured.
        entry_levels: lowest and highest level of the entry scale, and steps between them.
        block_levels: the same of the entry levels that are tried on JPEG blocks.
        block_qualities: JPEG qualities of those blocks.
        block_crops: crops that they are tried on.
        block_steps: DDIM steps of each try.
        short_sides: shorter sides that photographs are reduced to, in pixels.
        least_spread: least spread or tail, since a statistic may be the same on all crops.
    """

    level: float = 0.06
    damage_level: float = 0.3
    entry_levels: tuple[float, float, int] = (0.02, 0.8, 12)
    block_levels: tuple[float, float, int] = (0.015, 0.2, 6)
    block_qualities: tuple[int, ...] = (10, 20, 35, 60, 85)
    block_crops: int = 25
    block_steps: int = 3
    short_sides: tuple[int, ...] = (256, 384, 512)
    least_spread: float = 1e-3


RECIPE = Recipe()


def calibrate(prior: Prior, crops: Tensor, *, seed: int = 0) -> Calibration:
    """Measure the noise that a prior predicts in clean crops, with and without added noise of known level.

    Measures no alarms: see :func:`i2r.alarms.with_alarms`.

    Args:
        prior: any prior.
        crops: clean photographs, (N, 3, S, S) in [-1, 1]; a few hundred of them.
        seed: of the added noise.

    Raises:
        SettingsError: there are too few crops, or their side does not fit the prior.
        PriorError: the prior diverges on the crops, or the measurements are no valid calibration.
    """
    if len(crops) < (fewest := len(levels(*RECIPE.entry_levels))):
        raise SettingsError(f"{len(crops)} crops are too few to calibrate on: give {fewest} or more")
    if (side := crops.shape[-1]) % prior.stride or side < TYPICALITY.smallest_side * prior.space.factor:
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
    """Return the side in pixels of crops to calibrate on: of a region, or more if the latents need it."""
    side = max(REGION.side, TYPICALITY.smallest_side * prior.space.factor)
    return math.ceil(side / prior.stride) * prior.stride


def _calibrate(prior: Prior, crops: Tensor, seed: int) -> Calibration:
    generator = torch.Generator().manual_seed(seed)
    grid, entry_levels = TileGrid.whole(*crops.shape[-2:]), levels(*RECIPE.entry_levels)
    blocky = _block_entry(prior, crops[: RECIPE.block_crops], grid)
    canvases = torch.stack([prior.space.encode(crop.to(prior.device), grid) for crop in crops])
    finder = OverlayFinder.load(prior.device, prior.precision)
    clean: list[Mapping[str, float]] = []
    entry: dict[float, list[float]] = {level: [] for level in entry_levels}
    for index, canvas in enumerate(canvases):
        x = canvas[None]
        noise = RECIPE.damage_level * prior.eps(x, torch.tensor([RECIPE.damage_level]))[0]
        eps = prior.eps(x, torch.tensor([RECIPE.level]))[0]
        if not finite(eps, noise):
            raise ValueError("it diverges on them")
        measured = measure(Seen(canvas, noise), Level.HIGH) | measure(Seen(canvas, eps), Level.LOW)
        measured = measured.with_overlays(finder.judged(canvas).tolist())
        clean.extend({**measured.whole, **local} for local in measured.local)
        level = entry_levels[index % len(entry_levels)]
        added = torch.randn(x.shape, generator=generator).to(prior.device)
        entry[level].append(log_scale(prior.eps(x + level * added, torch.tensor([level]))[0]).item())
    spread = {name: spread_of([values[name] for values in clean]) for name in STATISTICS}
    if prior.space.of_pixels:
        # Measured on pictures of more kinds than a prior is calibrated on.
        spread["overlay"] = Spread(**overlay_weights.clean())
    return Calibration(
        level=RECIPE.level,
        damage_level=RECIPE.damage_level,
        clean=spread,
        entry_scale={level: statistics.fmean(scales) for level, scales in entry.items()},
        block_entry=blocky,
        spectrum=tuple(torch.stack([log_band_power(canvas) for canvas in canvases]).mean(dim=0).tolist()),
        overlays=overlay_weights.digest(),
        alarms=(),
    )


def _block_entry(prior: Prior, crops: Tensor, pixels: TileGrid) -> tuple[float, float]:
    """Fit the best entry level for JPEG blocks as a line of the log period that blocks leave in the noise.

    Returns:
        intercept and slope of the log entry level over the log period.
    """
    grid, entries = prior.space.grid(pixels), levels(*RECIPE.block_levels)
    evaluator = FixedShapeEvaluator(prior, lambda *_: len(entries))
    periods, best = [], []
    for index, crop in enumerate(crops):
        clean = (crop.permute(1, 2, 0) / 2 + 0.5).numpy()
        quality = RECIPE.block_qualities[index % len(RECIPE.block_qualities)]
        blocky = torch.from_numpy(jpeg(clean, quality=quality))
        y = prior.space.encode(blocky.permute(2, 0, 1).to(prior.device) * 2 - 1, pixels)
        wanted = prior.space.encode(crop.to(prior.device), pixels)
        periods.append(log_period(prior.eps(y[None], torch.tensor([RECIPE.level]))[0]).item())
        processes = [regenerate(y, level, RECIPE.block_steps) for level in entries]
        tries = drive(processes, [grid] * len(entries), evaluator)
        errors = [(x - wanted).square().mean().item() for x in tries]
        best.append(math.log(entries[errors.index(min(errors))]))
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
    return in_focus(Photographs(folder, side, short_sides=RECIPE.short_sides).draw(2 * count))


def in_focus(crops: Tensor) -> Tensor:
    """Select the sharper half of (N, 3, H, W) crops: a crop with nothing in focus is a blurred image."""
    steps = crops.diff(dim=-1).abs().mean(dim=(1, 2, 3)) + crops.diff(dim=-2).abs().mean(dim=(1, 2, 3))
    return crops[steps >= steps.median()]


def spread_of(values: Sequence[float]) -> Spread:
    """Fit the distribution of 20 values or more on the upper side, which is the one tested."""
    ordered = sorted(values)
    middle, last = statistics.median(ordered), int((1 - TAIL) * (len(ordered) - 1))
    start = ordered[last]
    spread = max((start - middle) / TAIL_START, RECIPE.least_spread)
    return Spread(middle, spread, max(statistics.fmean(ordered[last + 1 :]) - start, RECIPE.least_spread))
