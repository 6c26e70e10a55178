"""Calibrate a prior on clean photographs: what does their noise look like to it, and how deep to go?

    python -m i2r.calibration --prior prior --data PHOTOS

writes ``calibration.json`` into the prior's folder, which :class:`i2r.typicality.Calibration` reads.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from i2r.degradation import jpeg
from i2r.photographs import Photographs
from i2r.prior import Prior, load_prior
from i2r.rectification import regenerate
from i2r.sampling import drive, levels
from i2r.spectrum import log_band_power
from i2r.tiling import FixedShapeEvaluator, TileGrid
from i2r.typicality import STATISTICS, Calibration, Spread, log_period, log_scale, measure

SCREENING_LEVEL = 0.06
DAMAGE_LEVEL = 0.6
ENTRY_LEVELS = levels(0.02, 0.8, 12)
BLOCK_LEVELS = levels(0.015, 0.2, 6)
BLOCK_QUALITIES = (10, 20, 35, 60, 85)
BLOCK_CROPS = 25
BLOCK_STEPS = 3
SHORT_SIDES = (256, 384, 512)
_UPPER = 0.9772498680518208  # the share of a normal distribution below two spreads over its middle


def calibrate(prior: Prior, crops: Tensor, *, seed: int = 0) -> Calibration:
    """Measure the noise of clean crops, as they are and with noise of known level added.

    Args:
        prior: any prior.
        crops: clean photographs, (N, 3, H, W) in [-1, 1]; a few hundred of them.
        seed: of the added noise.
    """
    generator = torch.Generator().manual_seed(seed)
    clean: list[dict[str, float]] = []
    entry: dict[float, list[float]] = {level: [] for level in ENTRY_LEVELS}
    for index, crop in enumerate(crops):
        x = crop[None].to(prior.device)
        damage = DAMAGE_LEVEL * prior.eps(x, torch.tensor([DAMAGE_LEVEL]))[0]
        eps = prior.eps(x, torch.tensor([SCREENING_LEVEL]))[0]
        clean.append(measure(eps, damage.square().mean(dim=0).sqrt()))
        level = ENTRY_LEVELS[index % len(ENTRY_LEVELS)]
        noise = torch.randn(x.shape, generator=generator).to(prior.device)
        entry[level].append(log_scale(prior.eps(x + level * noise, torch.tensor([level]))[0]))
    return Calibration(
        level=SCREENING_LEVEL,
        damage_level=DAMAGE_LEVEL,
        clean={name: _spread([values[name] for values in clean]) for name in STATISTICS},
        entry_scale={level: statistics.fmean(scales) for level, scales in entry.items()},
        block_entry=_block_entry(prior, crops[:BLOCK_CROPS]),
        spectrum=tuple(torch.stack([log_band_power(crop) for crop in crops]).mean(dim=0).tolist()),
    )


def _block_entry(prior: Prior, crops: Tensor) -> tuple[float, float]:
    """Fit the log entry level that restores blocks best to the log period they leave in the noise."""
    periods, best = [], []
    for index, crop in enumerate(crops):
        clean = (crop.permute(1, 2, 0) / 2 + 0.5).numpy()
        blocky = jpeg(clean, quality=BLOCK_QUALITIES[index % len(BLOCK_QUALITIES)])
        y = torch.from_numpy(blocky).permute(2, 0, 1).to(prior.device) * 2 - 1
        periods.append(log_period(prior.eps(y[None], torch.tensor([SCREENING_LEVEL]))[0]))
        grid = TileGrid(y.shape[1], y.shape[2], y.shape[1], 0)
        evaluator = FixedShapeEvaluator(prior, y.shape[1], len(BLOCK_LEVELS))
        tries = drive(
            [regenerate(y, level, BLOCK_STEPS) for level in BLOCK_LEVELS],
            [grid] * len(BLOCK_LEVELS),
            evaluator,
        )
        errors = [(x.cpu() - crop).square().mean().item() for x in tries]
        best.append(math.log(BLOCK_LEVELS[errors.index(min(errors))]))
    slope, intercept = statistics.linear_regression(periods, best)
    return intercept, slope


def in_focus(crops: Tensor) -> Tensor:
    """The sharper half of (N, 3, H, W) crops: a crop without anything in focus is a blurred image."""
    steps = crops.diff(dim=-1).abs().mean(dim=(1, 2, 3)) + crops.diff(dim=-2).abs().mean(dim=(1, 2, 3))
    return crops[steps >= steps.median()]


def _spread(values: Sequence[float]) -> Spread:
    """Middle and upper spread: the tests look above, where the tails are the longer ones."""
    ordered = sorted(values)
    middle = statistics.median(ordered)
    return Spread(middle, max((ordered[int(_UPPER * (len(ordered) - 1))] - middle) / 2, 1e-3))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m i2r.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--prior", required=True, help="the prior's folder")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of clean photographs, searched recursively"
    )
    parser.add_argument("--crops", type=int, default=240, help="how many crops to measure (default: 240)")
    parser.add_argument("--side", type=int, default=192, help="side of a crop in pixels (default: 192)")
    options = parser.parse_args(arguments)
    photographs = Photographs(options.data, options.side, short_sides=SHORT_SIDES)
    crops = in_focus(photographs.draw(2 * options.crops))
    calibrate(load_prior(options.prior), crops).save(Path(options.prior))


if __name__ == "__main__":
    main()
