"""Tiles give the canvas back, and a tile's noise does not depend on its neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from i2r.prior import Prior
from i2r.tiling import FixedShapeEvaluator, TileGrid, gather_tiles


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile = 8 * draw(st.integers(2, 16))
    return TileGrid(
        draw(st.integers(1, 300)), draw(st.integers(1, 300)), tile, draw(st.integers(0, tile // 2))
    )


@given(grid=grids())
def test_split_and_blend_give_the_canvas_back(grid: TileGrid) -> None:
    canvas = torch.rand(2, *grid.canvas_shape, generator=torch.Generator().manual_seed(0))
    tiles = grid.split(canvas)
    assert tiles.shape[1:] == (2, grid.tile, grid.tile)
    torch.testing.assert_close(grid.blend(tiles), canvas)


@given(grid=grids())
def test_windows_sum_to_one_and_nowhere_jump(grid: TileGrid) -> None:
    ones = torch.ones(len(grid.rows) * len(grid.columns), 1, grid.tile, grid.tile)
    torch.testing.assert_close(grid.blend(ones), torch.ones(1, *grid.canvas_shape))
    first = torch.zeros_like(ones)
    first[0] = 1
    window = grid.blend(first)[0]
    assert 0 <= window.min() <= window.max() <= 1
    if grid.overlap:
        assert window.diff(dim=0).abs().max() <= 1 / grid.overlap + 1e-6
        assert window.diff(dim=1).abs().max() <= 1 / grid.overlap + 1e-6


@given(grid=grids())
def test_padding_reflects_and_crops_away(grid: TileGrid) -> None:
    image = torch.rand(1, grid.height, grid.width, generator=torch.Generator().manual_seed(0))
    canvas = grid.pad(image)
    assert canvas.shape == (1, *grid.canvas_shape)
    assert torch.equal(grid.crop(canvas), image)
    # What lies beyond the border is the mirror image, border pixel included.
    rows = min(grid.height, grid.canvas_shape[0] - grid.height)
    below = canvas[:, grid.height : grid.height + rows, : grid.width]
    assert torch.equal(below, image.flip(1)[:, :rows])
    columns = min(grid.width, grid.canvas_shape[1] - grid.width)
    beside = canvas[:, : grid.height, grid.width : grid.width + columns]
    assert torch.equal(beside, image.flip(2)[:, :, :columns])


@given(grid=grids())
def test_no_tile_lies_wholly_in_the_padding(grid: TileGrid) -> None:
    assert grid.rows[-1] < grid.height
    assert grid.columns[-1] < grid.width


def test_gathered_tiles_are_counted_per_canvas() -> None:
    shapes = [TileGrid(10, 50, 32, 8), TileGrid(70, 90, 32, 8), TileGrid(32, 32, 32, 8)]
    canvases = [torch.full((3, *grid.canvas_shape), float(i)) for i, grid in enumerate(shapes)]
    tiles, counts = gather_tiles(shapes, canvases)
    assert counts == [2, 12, 1]
    assert [part.unique().tolist() for part in tiles.split(counts)] == [[0], [1], [2]]


@pytest.fixture
def shapes_seen(tiny: Prior) -> Iterator[list[tuple[int, ...]]]:
    """The shapes of the batches that reach the network while a test runs."""
    seen: list[tuple[int, ...]] = []

    def record(network: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(tuple(arguments[0].shape))

    handle = tiny.network.register_forward_pre_hook(record)
    yield seen
    handle.remove()


def test_network_sees_one_shape_and_neighbours_change_nothing(
    tiny: Prior, shapes_seen: list[tuple[int, ...]]
) -> None:
    evaluator = FixedShapeEvaluator(tiny, tile=32, batch=3)
    tiles = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    sigmas = torch.tensor([0.02, 0.1, 0.5, 1.0, 3.0, 0.06, 0.6])
    together = evaluator.eps(tiles, sigmas)
    assert together.shape == tiles.shape
    assert len(shapes_seen) == 3
    for index in range(7):
        alone = evaluator.eps(tiles[index : index + 1], sigmas[index : index + 1])
        assert torch.equal(alone[0], together[index])
    backwards = evaluator.eps(tiles.flip(0), sigmas.flip(0))
    assert torch.equal(backwards.flip(0), together)
    assert set(shapes_seen) == {(3, 3, 32, 32)}
