"""Screening: test whether the noise that the prior predicts in an image is that of clean photographs.

A small image is looked at all over, at both noise levels. In a large one, what is the same all over is
measured on a sample of its regions, and the prior is asked for local damage only where that is suspected
(:mod:`i2r.screening.looking`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from i2r.diffusion.sampling import Judged, Process
from i2r.diffusion.tiling import TileGrid
from i2r.screening.calibration import Calibration
from i2r.screening.looking import Search, look_all_over
from i2r.screening.p_values import discoveries
from i2r.screening.regions import Region, regions
from i2r.screening.risk import RISK
from i2r.screening.spots import Spots
from i2r.screening.statistics import PATCHY, STATISTICS, Level, Scope, names
from i2r.screening.trace import Look, Screening, Trace
from i2r.screening.typicality import TYPICALITY, Measurement, noisy_part


def screen(
    y: Tensor,
    grid: TileGrid,
    calibration: Calibration,
    rate: float,
    trace: Trace | None = None,
    drawn: frozenset[int] = frozenset(),
    corrected: Collection[int] | None = None,
) -> Process[Screening]:
    """Test the noise of a canvas: two evaluations of a small image, none of one that is too small to test.

    Args:
        y: (C, H, W) canvas in [-1, 1].
        grid: separates the image from the padding of the canvas.
        calibration: the noise of clean photographs.
        rate: of false discoveries among the statistics that are called atypical.
        trace: keeps the noise; None to keep none.
        drawn: regions that are drawings, in which nothing is atypical.
        corrected: the regions that a correction changed, where local damage is looked for again; None for a
            first screening, and if all of them changed.

    Raises:
        FloatingPointError: the prior's noise is not finite.
    """
    if min(grid.height, grid.width) < TYPICALITY.smallest_side:
        return Screening()
    judged = (yield Judged(grid.crop(y))).tolist()
    spots = Spots.of(grid)

    def look(level: Level) -> Process[tuple[Measurement, Tensor]]:
        if spots is None:
            return (yield from look_all_over(y, grid, calibration, level))
        return (yield from Search(y, spots, calibration, level, rate, judged, drawn, corrected).look())

    damage, noise = yield from look(Level.HIGH)
    looked = None if trace is None else noise.cpu().numpy()
    del noise  # as large as the image, and so is the next
    rest, eps = yield from look(Level.LOW)
    measured = replace(rest | damage, drawn=drawn).with_overlays(judged)
    p_values, parts = measured.p_values(calibration), regions(grid.height, grid.width)
    failing = _failing(measured, p_values, calibration, parts, rate)
    sure = {name: its for name, its in failing.items() if its or STATISTICS[name].scope is Scope.IMAGE}
    likely = _failing(measured, p_values, calibration, parts, max(rate, RISK.suspicion))
    where = {name: its for name, its in sure.items() if its}
    suspected = {
        name: others
        for name, its in likely.items()
        if (others := [part for part in its if part not in where.get(name, ())]) or name not in sure
    }
    noisy = noisy_part(grid.crop(y), eps, where[PATCHY.name], calibration) if PATCHY.name in where else None
    screening = Screening(p_values, frozenset(sure), where, suspected, noisy)
    if trace is not None and looked is not None:
        trace.looks.append(Look(screening, calibration, eps.cpu().numpy(), looked))
    return screening


def _failing(
    measured: Measurement,
    p_values: Mapping[str, float],
    calibration: Calibration,
    parts: Sequence[Region],
    rate: float,
) -> dict[str, list[Region]]:
    """The statistics that are atypical at a rate of false discoveries, and the regions in which local ones
    are so at a rate of their own, if there are any.
    """
    atypical = discoveries(p_values, rate)
    failing: dict[str, list[Region]] = {name: [] for name in atypical}
    for name in atypical.intersection(names(scope=Scope.REGION)):
        its_rate = rate * (STATISTICS[name].beside_others if len(atypical) > 1 else 1.0)
        failing[name] = [parts[i] for i in sorted(measured.atypical_regions(calibration, name, its_rate))]
    return failing
