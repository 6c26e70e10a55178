"""Evaluate a network on canvases of any size, in tiles.

A canvas is covered by overlapping tiles whose windows sum to one. Blending the tiles' noise gives one noise
predictor for the whole canvas, at every noise level (the blending of MultiDiffusion, Bar-Tal et al., arXiv
2302.08113, equation 5). GroupNorm makes a tile's result depend on the tile's shape, so the shape follows from
the image's size and the settings alone. So does the number of tiles in a batch, since kernels differ between
batch sizes. (With several threads on a CPU, a tile's position in its batch matters too: only batches of one
are exact there.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.settings import SMALLEST_TILE


@dataclass(frozen=True)
class TileGrid:
    """Positions of the tiles of one image.

    The canvas is the image, padded by reflection: by the margin on all sides, and to whole tiles on the right
    and at the bottom.

    Attributes:
        height, width: of the image, in pixels.
        tile: height and width of a tile, in pixels.
        overlap: pixels that neighbouring tiles share, at most half a tile.
        step: the sides of a tile are multiples of this; :meth:`fitting` rounds it up to a multiple of the
            prior's stride.
        margin: of the canvas around the image, in pixels.
    """

    height: int
    width: int
    tile: tuple[int, int]
    overlap: int
    step: int = 16
    margin: int = 0

    @classmethod
    def whole(cls, height: int, width: int) -> Self:
        """Return a grid of one tile as large as the image."""
        return cls(height, width, (height, width), 0)

    @classmethod
    def fitting(cls, height: int, width: int, longest: int, overlap: int, stride: int = 1) -> Self:
        """Return the tiles that cover an image with the fewest pixels.

        Args:
            height, width: of the image, in pixels.
            longest: longest side of a tile, in pixels, a multiple of ``stride``.
            overlap: pixels that neighbouring tiles share.
            stride: the sides of a tile must be multiples of this.
        """
        step = -(-cls.step // stride) * stride
        sides = [side for side in (*range(step, longest, step), longest) if side >= SMALLEST_TILE]
        down, across = (_fitting_side(length, sides, overlap) for length in (height, width))
        return cls(height, width, (down, across), overlap, step)

    def framed(self) -> TileGrid:
        """Add a margin and enlarge the tiles, since the network has less context at the edge of its input."""
        down, across = (side + self.step for side in self.tile)
        return replace(self, tile=(down, across), margin=self.step // 2)

    @property
    def rows(self) -> list[int]:
        return _starts(self.height + 2 * self.margin, self.tile[0], self.overlap)

    @property
    def columns(self) -> list[int]:
        return _starts(self.width + 2 * self.margin, self.tile[1], self.overlap)

    @property
    def canvas_shape(self) -> tuple[int, int]:
        return self.rows[-1] + self.tile[0], self.columns[-1] + self.tile[1]

    def pad(self, image: Tensor) -> Tensor:
        """Extend (C, height, width) to the canvas by reflection, repeatedly if the image is small.

        The outermost pixels are not repeated: a speck at the edge would look larger.
        """
        if image.shape[1:] == self.canvas_shape:
            return image
        rows, columns = (
            _reflected(side, self.margin, whole, image.device)
            for side, whole in zip(image.shape[1:], self.canvas_shape, strict=True)
        )
        return image[:, rows[:, None], columns]

    def crop(self, canvas: Tensor) -> Tensor:
        """Cut the image (C, height, width) out of (C, *canvas_shape)."""
        first = self.margin
        return canvas[:, first : first + self.height, first : first + self.width]

    def places(self, like: Tensor) -> list[Place]:
        """Return the place of every tile, row by row; windows have the dtype and device of ``like``."""
        down, across = (
            _ramps(starts, side, self.overlap, like)
            for starts, side in zip((self.rows, self.columns), self.tile, strict=True)
        )
        return [
            Place(slice(r, r + self.tile[0]), slice(c, c + self.tile[1]), fade_down[:, None], fade_across)
            for r, fade_down in zip(self.rows, down, strict=True)
            for c, fade_across in zip(self.columns, across, strict=True)
        ]

    def split(self, canvas: Tensor) -> Tensor:
        """Cut (C, *canvas_shape) into tiles of shape (N, C, *tile), row by row."""
        return torch.stack([place.cut(canvas) for place in self.places(canvas)])

    def blend(self, tiles: Tensor) -> Tensor:
        """Blend (N, C, *tile) to (C, *canvas_shape), under windows that add up to one."""
        canvas = tiles.new_zeros(tiles.shape[1], *self.canvas_shape)
        for tile, place in zip(tiles, self.places(tiles), strict=True):
            place.add(canvas, tile)
        return canvas


class Place(NamedTuple):
    """Position of a tile on its canvas, and its blending window ``down * across``."""

    rows: slice
    columns: slice
    down: Tensor
    across: Tensor

    def cut(self, canvas: Tensor) -> Tensor:
        """Cut the tile (C, *tile) out of a canvas."""
        return canvas[:, self.rows, self.columns]

    def add(self, canvas: Tensor, tile: Tensor) -> None:
        """Add a tile, times its window, to a canvas in place."""
        canvas[:, self.rows, self.columns] += tile * self.down * self.across


def _holding(places: list[Place], wanted: Tensor | None) -> list[Place]:
    """The places of the tiles that hold some of the ``wanted`` pixels (H, W); all of them for None."""
    if wanted is None:
        return places
    on_host = wanted.cpu()
    return [place for place in places if on_host[place.rows, place.columns].any()]


def _ramps(starts: list[int], side: int, overlap: int, like: Tensor) -> list[Tensor]:
    """Return one window (side,) per start: linear ramps where tiles overlap, one elsewhere."""
    ramp = (torch.arange(overlap, device=like.device, dtype=like.dtype) + 0.5) / max(overlap, 1)
    windows = []
    for start in starts:
        window = torch.ones(side, device=like.device, dtype=like.dtype)
        if overlap and start != starts[0]:
            window[:overlap] = ramp
        if overlap and start != starts[-1]:
            window[-overlap:] = 1 - ramp
        windows.append(window)
    return windows


def _reflected(side: int, margin: int, whole: int, device: torch.device) -> Tensor:
    """Return the reflected index into ``side`` pixels of ``whole`` positions; index 0 lies at ``margin``."""
    period = max(2 * side - 2, 1)
    place = torch.arange(-margin, whole - margin, device=device) % period
    return torch.minimum(place, period - place)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Return the starts of the tiles along a length."""
    stride = side - overlap
    count = 1 + max(0, -(-(length - side) // stride))
    return [stride * index for index in range(count)]


def _fitting_side(length: int, sides: Sequence[int], overlap: int) -> int:
    """Return the side whose tiles cover a length with the fewest pixels; the largest if several do."""
    fitting = [side for side in sides if side >= min(length, 2 * overlap)] or sides[-1:]
    return min(fitting, key=lambda side: (side * len(_starts(length, side, overlap)), -side))


class NoisePredictor(Protocol):
    """A noise predictor, such as :class:`i2r.prior.network.Prior`."""

    @property
    def device(self) -> torch.device:
        """The device it is evaluated on."""
        ...

    def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the noise in ``x`` (B, C, H, W), canvases plus noise of the levels ``sigma`` (B,)."""
        ...


class FixedShapeEvaluator:
    """Evaluates a noise predictor on tiles, with a fixed batch size for each tile shape.

    Args:
        predictor: the noise predictor.
        batch: from height and width of a tile to the batch size.
    """

    def __init__(self, predictor: NoisePredictor, batch: Callable[[int, int], int]) -> None:
        self.predictor, self.batch = predictor, batch

    def noise(
        self,
        grids: Sequence[TileGrid],
        canvases: Sequence[Tensor],
        sigmas: Sequence[float],
        wanted: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        """Predict the noise in canvases, each at its own level; tiles of the same shape share batches.

        Only the tiles of one batch are in memory at once.

        Args:
            grids: of the canvases.
            canvases: (C, *canvas_shape) each.
            sigmas: noise level of each canvas.
            wanted: of each canvas, the pixels (H, W) whose noise matters, or None for all: tiles without any
                are not evaluated.

        Returns:
            the noise, of the shapes and on the devices of the canvases; right at the wanted pixels.
        """
        predicted = [torch.zeros_like(canvas) for canvas in canvases]
        together: dict[tuple[int, ...], list[int]] = {}
        for index, (grid, canvas) in enumerate(zip(grids, canvases, strict=True)):
            together.setdefault((len(canvas), *grid.tile), []).append(index)
        for (_, *tile), indices in together.items():
            places = [
                (index, place)
                for index in indices
                for place in _holding(
                    grids[index].places(canvases[index]), wanted[index] if wanted is not None else None
                )
            ]
            size = self.batch(*tile)
            for start in range(0, len(places), size):
                chunk = places[start : start + size]
                tiles = torch.stack([place.cut(canvases[index]) for index, place in chunk])
                levels = torch.tensor([sigmas[index] for index, _ in chunk])
                noise = self.eps(tiles, levels).to(tiles.device)
                for (index, place), tile_noise in zip(chunk, noise, strict=True):
                    place.add(predicted[index], tile_noise)
        return predicted

    def eps(self, tiles: Tensor, sigmas: Tensor) -> Tensor:
        """Predict the noise in (N, C, *tile), each tile at its own level of ``sigmas`` (N,).

        N is at most the batch size; a smaller N is padded with zero tiles. The tiles may be on any device;
        the result is on the predictor's.
        """
        missing = self.batch(*tiles.shape[2:]) - len(tiles)
        full = F.pad(tiles.to(self.predictor.device), (0, 0, 0, 0, 0, 0, 0, missing))
        return self.predictor.eps(full, F.pad(sigmas, (0, missing), value=1.0))[: len(tiles)]
