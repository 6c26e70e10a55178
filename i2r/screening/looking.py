"""Looking: measure the statistics of one noise level, on all of an image or in proportion to what it shows.

In proportion, the prior sees only some of an image's regions (:mod:`i2r.screening.spots`). A statistic of
the image is measured on a sample. Where the prior has to confirm damage, the most suspicious regions are
looked at first. While some of them are atypical, twice as many are next, and what adjoins those. So a clean
image costs the same whatever it shows, and a damaged one what its damage takes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from i2r.canvas.bands import finite
from i2r.diffusion.sampling import Process, Query
from i2r.diffusion.tiling import TileGrid
from i2r.screening.calibration import Calibration
from i2r.screening.regions import adjoining, by_region
from i2r.screening.spots import SPOTS, Spots
from i2r.screening.statistics import Level, Scope, names
from i2r.screening.suspicion import SUSPICIONS
from i2r.screening.typicality import MEASURES, Measurement, Seen, measure, measure_whole


def look_all_over(
    y: Tensor, grid: TileGrid, calibration: Calibration, level: Level
) -> Process[tuple[Measurement, Tensor]]:
    """Measure the statistics of a level on all of an image; returns them and the noise (C, height, width)."""
    image = grid.crop(y)
    noise = grid.crop((yield from _noise(y, calibration, level)))
    return measure(Seen(image, noise), level), noise


@dataclass
class Search:
    """Measures the statistics of a level in an image of which the prior sees some spots.

    Attributes:
        y: (C, H, W) canvas in [-1, 1].
        spots: of the image.
        calibration: the noise of clean photographs.
        level: that the prior reads the image at.
        rate: of false discoveries, at which a search goes on.
        judged: the log odds that an overlay lies over each region.
        excluded: the regions that need no look.
        corrected: the regions to look at instead of the suspicious ones; None for those.
        noise: (C, height, width), what the prior saw; zero in the regions that it did not.
        looked: those that it did, by their index.
    """

    y: Tensor
    spots: Spots
    calibration: Calibration
    level: Level
    rate: float
    judged: Sequence[float]
    excluded: frozenset[int] = frozenset()
    corrected: Collection[int] | None = None
    noise: Tensor = field(init=False)
    looked: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.noise = torch.zeros_like(self.image)

    @property
    def image(self) -> Tensor:
        return self.spots.grid.crop(self.y)

    def look(self) -> Process[tuple[Measurement, Tensor]]:
        """Measure what is the same all over, then what is local; returns that and the noise."""
        whole = (yield from self._sampled()) if names(scope=Scope.IMAGE, level=self.level) else {}
        local: list[dict[str, float]] = [{} for _ in self.spots.regions]
        wanted = names(scope=Scope.REGION, level=self.level)
        suspected = [name for name in wanted if name in SUSPICIONS]
        suspicions = by_region([SUSPICIONS[name] for name in suspected], self.image).T.tolist()
        for name, suspicion in zip(suspected, suspicions, strict=True):
            for index, value in (yield from self._searched(name, suspicion)).items():
                local[index][name] = value
        return Measurement(whole, local, gray=len(self.y) == 1), self.noise

    def _sampled(self) -> Process[Mapping[str, float]]:
        """The statistics of the image, of a sample of it."""
        sample = self.spots.sample
        strip = self.spots.strip(self.y, sample)
        noise = yield from self._asked(sample)
        return measure_whole(Seen(self.spots.stack(strip), self.spots.stack(noise)), self.level)

    def _searched(self, name: str, suspicion: Sequence[float]) -> Process[dict[int, float]]:
        """A local statistic of the regions that were looked at, by their index."""
        candidates = set(range(len(suspicion))) - self.excluded
        order = sorted(candidates, key=lambda index: (-suspicion[index], index))
        values: dict[int, float] = {}
        count = SPOTS.suspects
        ahead = sorted(order[:count] if self.corrected is None else candidates.intersection(self.corrected))
        while ahead:
            unseen = [index for index in ahead if index not in self.looked]
            for start in range(0, len(unseen), SPOTS.at_once):
                yield from self._asked(unseen[start : start + SPOTS.at_once])
            values |= {index: self._measured(name, index) for index in ahead}
            found = self._atypical(name, values).intersection(ahead)
            if self.corrected is not None or not found:
                break
            count *= 2
            rest = [index for index in order if index not in values]
            beside = adjoining(self.spots.grid.height, self.spots.grid.width, found)
            ahead = sorted({*rest[:count], *beside.intersection(rest)})
        return values

    def _asked(self, indices: Sequence[int]) -> Process[Tensor]:
        """Ask the prior for the noise in the spots of some regions, and keep it; returns their strip."""
        strip, grid = self.spots.strip(self.y, indices), self.spots.strip_grid(len(indices))
        noise = yield from _noise(strip, self.calibration, self.level, grid)
        self.spots.paint(self.noise, noise, indices)
        self.looked.update(indices)
        return noise

    def _measured(self, name: str, index: int) -> float:
        rows, columns = self.spots.regions[index]
        seen = Seen(self.image[None, :, rows, columns], self.noise[None, :, rows, columns])
        return MEASURES[name](seen).item()

    def _atypical(self, name: str, values: dict[int, float]) -> frozenset[int]:
        local = [{name: values[index]} if index in values else {} for index in range(len(self.spots.regions))]
        found = Measurement({}, local, gray=len(self.y) == 1).with_overlays(self.judged)
        return found.atypical_regions(self.calibration, name, self.rate)


def _noise(
    x: Tensor, calibration: Calibration, level: Level, grid: TileGrid | None = None
) -> Process[Tensor]:
    """The noise in a canvas: of unit variance at the low level, in units of the range at the high one.

    Raises:
        FloatingPointError: it is not finite.
    """
    sigma = calibration.damage_level if level is Level.HIGH else calibration.level
    noise = yield Query(x, sigma, grid)
    if not finite(noise):
        raise FloatingPointError("the prior diverged on this image")
    return noise.mul_(sigma) if level is Level.HIGH else noise
