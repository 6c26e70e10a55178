"""Canvases of any size through a network of one fixed shape.

A canvas is covered by overlapping tiles whose windows sum to one, so that blending the tiles' noise gives
one noise predictor for the whole canvas, at every noise level (the blending of MultiDiffusion, Bar-Tal et
al., arXiv 2302.08113, equation 5). GroupNorm makes a tile's result depend on the tile's shape, so the
shape is fixed; so is the number of tiles in a batch, since kernels differ between batch sizes. (With several
threads on a CPU, a tile's place in its batch matters too: only batches of one are exact there.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from i2r.prior import Prior


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one image lie.

    The canvas is the image, padded by reflection on the right and at the bottom to whole tiles.

    Attributes:
        height, width: of the image, in pixels.
        tile: side of a tile.
        overlap: how far neighbouring tiles reach into each other, at most half a tile.
    """

    height: int
    width: int
    tile: int
    overlap: int

    @property
    def rows(self) -> list[int]:
        return self._starts(self.height)

    @property
    def columns(self) -> list[int]:
        return self._starts(self.width)

    def _starts(self, length: int) -> list[int]:
        stride = self.tile - self.overlap
        count = 1 + max(0, -(-(length - self.tile) // stride))
        return [stride * index for index in range(count)]

    @property
    def canvas_shape(self) -> tuple[int, int]:
        return self.rows[-1] + self.tile, self.columns[-1] + self.tile

    def pad(self, image: Tensor) -> Tensor:
        """Extend (C, height, width) to the canvas by reflection, repeated where the image is small."""
        for axis, length in ((1, self.canvas_shape[0]), (2, self.canvas_shape[1])):
            position = torch.arange(length, device=image.device) % (2 * image.shape[axis])
            image = image.index_select(axis, torch.minimum(position, 2 * image.shape[axis] - 1 - position))
        return image

    def crop(self, canvas: Tensor) -> Tensor:
        """The image's part of (C, *canvas_shape)."""
        return canvas[:, : self.height, : self.width]

    def split(self, canvas: Tensor) -> Tensor:
        """Cut (C, *canvas_shape) into tiles of shape (N, C, tile, tile), row by row."""
        return torch.stack(
            [canvas[:, r : r + self.tile, c : c + self.tile] for r in self.rows for c in self.columns]
        )

    def blend(self, tiles: Tensor) -> Tensor:
        """Sum (N, C, tile, tile) under windows that add up to one on the canvas."""
        canvas = tiles.new_zeros(tiles.shape[1], *self.canvas_shape)
        windows_down = self._windows(self.rows, tiles)
        windows_across = self._windows(self.columns, tiles)
        index = 0
        for r, down in zip(self.rows, windows_down, strict=True):
            for c, across in zip(self.columns, windows_across, strict=True):
                canvas[:, r : r + self.tile, c : c + self.tile] += tiles[index] * down[:, None] * across
                index += 1
        return canvas

    def _windows(self, starts: list[int], like: Tensor) -> list[Tensor]:
        """One window of (tile,) per start: linear ramps where tiles overlap, one elsewhere."""
        ramp = (torch.arange(self.overlap, device=like.device, dtype=like.dtype) + 0.5) / max(self.overlap, 1)
        windows = []
        for start in starts:
            window = torch.ones(self.tile, device=like.device, dtype=like.dtype)
            if self.overlap and start != starts[0]:
                window[: self.overlap] = ramp
            if self.overlap and start != starts[-1]:
                window[-self.overlap :] = 1 - ramp
            windows.append(window)
        return windows


class FixedShapeEvaluator:
    """Evaluates a prior on tiles, always with the same number of tiles of the same shape at once."""

    def __init__(self, prior: Prior, tile: int, batch: int) -> None:
        self.prior, self.tile, self.batch = prior, tile, batch

    def eps(self, tiles: Tensor, sigmas: Tensor) -> Tensor:
        """Predict the noise in (N, C, tile, tile), each tile at its own level of ``sigmas`` (N,)."""
        predicted = torch.empty_like(tiles)
        chunks = tiles.split(self.batch), sigmas.split(self.batch), predicted.split(self.batch)
        for chunk, levels, out in zip(*chunks, strict=True):
            missing = self.batch - len(chunk)
            full = F.pad(chunk, (0, 0, 0, 0, 0, 0, 0, missing))
            out.copy_(self.prior.eps(full, F.pad(levels, (0, missing), value=1.0))[: len(chunk)])
        return predicted


def gather_tiles(grids: Sequence[TileGrid], canvases: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """All tiles of several canvases as (N, C, tile, tile), and how many each canvas gave."""
    tiles = [grid.split(canvas) for grid, canvas in zip(grids, canvases, strict=True)]
    return torch.cat(tiles), [len(part) for part in tiles]
