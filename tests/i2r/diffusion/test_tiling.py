"""Tiles give the canvas back, and a tile's noise does not depend on its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.prior.network import Prior


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    sides = st.integers(2, 16).map(lambda count: 8 * count)
    tile = draw(sides), draw(sides)
    size = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    return TileGrid(*size, tile, draw(st.integers(0, min(tile) // 2)))


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    stride=st.sampled_from([1, 8, 24, 32]),
    steps=st.integers(2, 16),
)
def test_fitting_tiles_cover_the_image_and_fit_the_network(
    size: tuple[int, int], stride: int, steps: int
) -> None:
    longest = 32 * stride * steps // 8 if stride > 8 else 32 * steps
    grid = TileGrid.fitting(*size, longest, 16, stride)
    for length, side, canvas in zip(size, grid.tile, grid.canvas_shape, strict=True):
        assert side % stride == 0
        assert side <= longest
        assert canvas >= length


def _evaluated(side: int, longest: int = 384) -> float:
    """Pixels that are evaluated, over those of a square image."""
    grid = TileGrid.fitting(side, side, longest, 16, 8)
    return len(grid.rows) * len(grid.columns) * math.prod(grid.tile) / side**2


@pytest.mark.parametrize("side", [32, 128, 192, 256, 384])
def test_a_side_of_a_tile_takes_one_tile(side: int) -> None:
    assert TileGrid.fitting(side, side, 384, 16, 8) == TileGrid(side, side, (side, side), 16)


def test_few_pixels_are_evaluated_for_nothing() -> None:
    assert _evaluated(512) < 1.15
    assert max(map(_evaluated, range(1000, 6000))) < 1.2


def test_small_and_large_images_share_few_shapes() -> None:
    sides = {TileGrid.fitting(side, side, 384, 16, 8).tile[0] for side in range(1, 6000)}
    assert len(sides) <= 24


@given(grid=grids())
def test_split_and_blend_give_the_canvas_back(grid: TileGrid) -> None:
    canvas = torch.rand(2, *grid.canvas_shape, generator=torch.Generator().manual_seed(0))
    tiles = grid.split(canvas)
    assert tiles.shape[1:] == (2, *grid.tile)
    torch.testing.assert_close(grid.blend(tiles), canvas)


@given(grid=grids())
def test_windows_sum_to_one_and_nowhere_jump(grid: TileGrid) -> None:
    ones = torch.ones(len(grid.rows) * len(grid.columns), 1, *grid.tile)
    torch.testing.assert_close(grid.blend(ones), torch.ones(1, *grid.canvas_shape))
    first = torch.zeros_like(ones)
    first[0] = 1
    window = grid.blend(first)[0]
    assert 0 <= window.min() <= window.max() <= 1
    if grid.overlap:
        assert window.diff(dim=0).abs().max() <= 1 / grid.overlap + 1e-6
        assert window.diff(dim=1).abs().max() <= 1 / grid.overlap + 1e-6


@given(grid=grids(), framed=st.booleans())
def test_padding_reflects_and_crops_away(grid: TileGrid, framed: bool) -> None:
    grid = grid.framed() if framed else grid
    image = torch.rand(1, grid.height, grid.width, generator=torch.Generator().manual_seed(0))
    canvas = grid.pad(image)
    assert canvas.shape == (1, *grid.canvas_shape)
    assert torch.equal(grid.crop(canvas), image)
    added = [
        (grid.margin, whole - grid.margin - side)
        for side, whole in zip(image.shape[1:], grid.canvas_shape, strict=True)
    ]
    assert torch.equal(canvas, torch.from_numpy(np.pad(image.numpy(), [(0, 0), *added], mode="reflect")))


@given(grid=grids())
def test_no_tile_lies_wholly_in_the_padding(grid: TileGrid) -> None:
    assert grid.rows[-1] < grid.height
    assert grid.columns[-1] < grid.width


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
    evaluator = FixedShapeEvaluator(tiny, lambda *_: 3)
    grids = [TileGrid(20, 50, (32, 32), 8), TileGrid(32, 32, (32, 32), 8), TileGrid(70, 32, (32, 32), 8)]
    generator = torch.Generator().manual_seed(1)
    canvases = [torch.randn(3, *grid.canvas_shape, generator=generator) for grid in grids]
    sigmas = [0.02, 0.5, 3.0]
    together = evaluator.noise(grids, canvases, sigmas)
    assert len(shapes_seen) == 2
    for grid, canvas, sigma, noise in zip(grids, canvases, sigmas, together, strict=True):
        [alone] = evaluator.noise([grid], [canvas], [sigma])
        assert torch.equal(alone, noise)
    backwards = evaluator.noise(grids[::-1], canvases[::-1], sigmas[::-1])
    assert all(torch.equal(*pair) for pair in zip(backwards[::-1], together, strict=True))
    assert set(shapes_seen) == {(3, 3, 32, 32)}


def test_only_tiles_that_hold_wanted_pixels_are_evaluated(
    tiny: Prior, shapes_seen: list[tuple[int, ...]]
) -> None:
    evaluator, grid = FixedShapeEvaluator(tiny, lambda *_: 1), TileGrid(80, 80, (32, 32), 8)
    canvas = torch.randn(3, *grid.canvas_shape, generator=torch.Generator().manual_seed(1))
    [everywhere] = evaluator.noise([grid], [canvas], [0.1])
    assert len(shapes_seen) == 9
    wanted = torch.zeros(grid.canvas_shape, dtype=torch.bool)
    wanted[28, 10] = True  # where two tiles overlap
    [there] = evaluator.noise([grid], [canvas], [0.1], [wanted])
    assert len(shapes_seen) == 9 + 2
    assert torch.equal(there[:, wanted], everywhere[:, wanted])
    assert not there[:, 60:].any()
    [nowhere] = evaluator.noise([grid], [canvas], [0.1], [~wanted & False])
    assert not nowhere.any()


def test_tiles_of_other_shapes_and_channels_are_evaluated_by_themselves(
    tiny: Prior, shapes_seen: list[tuple[int, ...]]
) -> None:
    asked: list[tuple[int, int]] = []

    def batch(height: int, width: int) -> int:
        asked.append((height, width))
        return 64 * 64 // (height * width)

    grids = [TileGrid.whole(32, 64), TileGrid.whole(32, 32), TileGrid.whole(32, 64)]
    canvases = [torch.zeros(3, 32, 64), torch.zeros(1, 32, 32), torch.zeros(3, 32, 64)]
    FixedShapeEvaluator(tiny, batch).noise(grids, canvases, [0.1, 0.2, 0.3])
    assert shapes_seen == [(2, 3, 32, 64), (4, 3, 32, 32)]
    assert set(asked) == {(32, 64), (32, 32)}
