"""Spots: where the prior looks in an image that is too large to be looked at all over.

What is the same all over is measured on a sample of the image's regions, spread evenly. Local damage is
looked for in suspicious regions. Around each of them lies a spot, a tile of the prior. All spots of an image
are of one shape, which follows from the image's size and the settings alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from i2r.diffusion.tiling import TileGrid
from i2r.jpeg_tables import SIDE
from i2r.screening.regions import Region, edges, regions

_PLASTIC = 1.32471795724474602596
"""The real root of x^3 = x + 1."""


@dataclass(frozen=True)
class SpotTuning:
    """How much of an image is looked at.

    Attributes:
        in_full: pixels of a canvas up to which it is looked at all over.
        sample: regions in which what is the same all over is measured. Priors are calibrated on single
            regions of clean photographs, whose statistics vary more than those of twelve together.
        suspects: regions that are looked at first, for each kind of local damage.
        at_once: spots that the prior is asked about together; bounds memory alone.
    """

    in_full: int = 1 << 20
    sample: int = 12
    suspects: int = 6
    at_once: int = 64


SPOTS = SpotTuning()


@dataclass(frozen=True)
class Spots:
    """A tile of one shape around each region of an image.

    Attributes:
        grid: separates the image from the padding of the canvas.
        tile: height and width of a spot, in pixels.
    """

    grid: TileGrid
    tile: tuple[int, int]

    @classmethod
    def of(cls, grid: TileGrid) -> Self | None:
        """The spots of an image; None for one to look at all over: a small one, or one of small tiles."""
        if grid.height * grid.width <= SPOTS.in_full:
            return None
        tile = []
        for length, longest, canvas in zip(
            (grid.height, grid.width), grid.tile, grid.canvas_shape, strict=True
        ):
            ends = edges(length)
            needed = max(end - _aligned(start) for start, end in pairwise(ends))
            side = min(-(-needed // grid.step) * grid.step, longest)
            if side < min(needed, canvas):
                return None
            tile.append(side)
        down, across = tile
        return cls(grid, (down, across))

    @cached_property
    def regions(self) -> list[Region]:
        return regions(self.grid.height, self.grid.width)

    @cached_property
    def sample(self) -> list[int]:
        """Regions by their index, spread evenly over the image (the R2 sequence: Roberts 2018)."""
        rows, columns = (len(edges(length)) - 1 for length in (self.grid.height, self.grid.width))
        chosen: dict[int, None] = {}
        count, step = min(SPOTS.sample, rows * columns), 0
        while len(chosen) < count:
            row, column = (
                int((0.5 + step / _PLASTIC**power) % 1 * end) for power, end in ((1, rows), (2, columns))
            )
            chosen[columns * row + column] = None
            step += 1
        return sorted(chosen)

    def strip(self, canvas: Tensor, indices: Sequence[int]) -> Tensor:
        """The spots of N regions side by side: (C, tile height, N tile width)."""
        return torch.cat([canvas[:, rows, columns] for rows, columns in map(self._spot, indices)], dim=2)

    def strip_grid(self, count: int) -> TileGrid:
        """The grid of a strip of so many spots."""
        down, across = self.tile
        return TileGrid(down, count * across, self.tile, 0, self.grid.step)

    def stack(self, strip: Tensor) -> Tensor:
        """The spots of a strip: (N, C, *tile)."""
        return torch.stack(strip.split(self.tile[1], dim=2))

    def paint(self, image: Tensor, strip: Tensor, indices: Sequence[int]) -> None:
        """Copy the regions of a strip's spots into ``image`` (C, height, width), to their places."""
        for spot, index in zip(self.stack(strip), indices, strict=True):
            rows, columns = self.regions[index]
            top, left = (part.start for part in self._spot(index))
            image[:, rows, columns] = spot[
                :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]

    def _spot(self, index: int) -> Region:
        """The rows and columns of a region's spot on the canvas."""
        starts = [
            min(_aligned(part.start), canvas - side)
            for part, canvas, side in zip(self.regions[index], self.grid.canvas_shape, self.tile, strict=True)
        ]
        rows, columns = (slice(start, start + side) for start, side in zip(starts, self.tile, strict=True))
        return rows, columns


def _aligned(start: int) -> int:
    """The last place up to ``start`` at which a JPEG block may begin."""
    return start // SIDE * SIDE
