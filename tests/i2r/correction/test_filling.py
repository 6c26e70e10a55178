"""Missing pixels are filled, and those under a veil brightened."""

from __future__ import annotations

import math

import pytest
import torch
from image_models import GaussianImages
from torch import Tensor

from i2r.canvas.windows import averaged
from i2r.correction.filling import fill, lift, start, translucent
from i2r.diffusion.sampling import counted


@pytest.fixture
def ramp() -> Tensor:
    """A smooth gradient, (3, 64, 64)."""
    across = torch.linspace(-0.9, 0.9, 64)
    return torch.stack([across.expand(64, 64), across[:, None].expand(64, 64), 0.5 * across.expand(64, 64)])


@pytest.fixture
def texture() -> Tensor:
    """Waves of many lengths, (3, 96, 96) in [-0.6, 0.9], that no edge of a disc runs along."""
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    waves = torch.sin(rows / 5) + torch.cos(columns / 7) + torch.sin((rows + columns) / 11)
    return 0.15 + 0.25 * torch.stack([waves, 0.8 * waves, -0.9 * waves])


def _disc(radius: float, side: int = 64, middle: tuple[float, float] | None = None) -> Tensor:
    row, column = middle or (side / 2, side / 2)
    at = torch.arange(side) + 0.5
    return torch.hypot((at - row)[:, None], at - column) < radius


def _mean_start(y: Tensor, mask: Tensor) -> Tensor:
    """The mean of the known pixels of nine by nine, zero where there are none."""
    known = (~mask).float()[None]
    around = averaged(y * known, 9) / averaged(known, 9).clamp_min(1 / 81)
    return torch.where(mask, around, y)


def _psnr(x: Tensor, y: Tensor) -> float:
    return -10 * math.log10((x - y).square().mean().item() / 4)


@pytest.mark.parametrize("radius", [1, 3, 12])
def test_known_pixels_are_held(smooth_images: GaussianImages, waves: Tensor, radius: float) -> None:
    mask = _disc(radius)
    y = torch.where(mask, 1.0, waves)
    x, nfe = smooth_images.answer(counted(fill(y, mask)))
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert _psnr(x, waves) > _psnr(y, waves) + 8
    assert nfe == 6


def test_where_nothing_is_lost_nobody_is_asked(smooth_images: GaussianImages, waves: Tensor) -> None:
    x, nfe = smooth_images.answer(counted(fill(waves, torch.zeros(64, 64, dtype=torch.bool))))
    assert torch.equal(x, waves)
    assert nfe == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 5), (33, 64)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_a_constant_starts_as_it_is(shape: tuple[int, int], share: float) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share
    flat = torch.full((3, *shape), 0.4)
    expected = flat if (~mask).any() else torch.zeros_like(flat)
    y = torch.where(mask, -1.0, flat)
    torch.testing.assert_close(start(y, mask), torch.where(mask, expected, flat))


def test_where_nothing_is_known_a_start_is_gray() -> None:
    mask = torch.ones(20, 30, dtype=torch.bool)
    assert torch.equal(start(torch.ones(3, 20, 30), mask), torch.zeros(3, 20, 30))


def test_wide_holes_start_from_what_lies_beyond_them(ramp: Tensor) -> None:
    mask = _disc(14)
    y = torch.where(mask, 1.0, ramp)
    assert _psnr(start(y, mask), ramp) > _psnr(_mean_start(y, mask), ramp) + 5
    assert _psnr(start(y, mask), ramp) > 35


@pytest.mark.parametrize("width", [1, 2, 4])
def test_thin_holes_start_from_the_mean_around_them(ramp: Tensor, width: int) -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[4:60, 30 : 30 + width] = True
    y = torch.where(mask, 1.0, ramp)
    assert torch.equal(start(y, mask), _mean_start(y, mask))


def test_a_veil_is_lifted(texture: Tensor) -> None:
    mask = _disc(18, side=96)
    dye = torch.tensor([0.8, 0.6, 0.4])[:, None, None]
    y = torch.where(mask, (texture + 1) * dye - 1, texture)
    x = lift(y, mask)
    assert torch.equal(x[:, ~mask], y[:, ~mask])
    assert x.abs().max() <= 1
    assert _psnr(x, texture) > _psnr(y, texture) + 6


def test_nothing_is_lifted_where_nothing_is_darker(texture: Tensor) -> None:
    nowhere, everywhere = torch.zeros(96, 96, dtype=torch.bool), torch.ones(96, 96, dtype=torch.bool)
    brighter = _disc(18, side=96)
    y = torch.where(brighter, 1.0, texture)
    for x, mask in ((texture, nowhere), (texture, everywhere), (y, brighter)):
        torch.testing.assert_close(lift(x, mask), x)


def test_veils_are_told_from_what_hides_the_scene(texture: Tensor) -> None:
    veil, blot, drop = (_disc(11, 96, middle) for middle in ((24, 24), (24, 70), (70, 40)))
    thin = torch.zeros_like(veil)
    thin[80:, 80:84] = True
    y = torch.where(veil, 0.5 * (texture + 1) - 1, texture)
    y = torch.where(blot, -0.8, y)
    y[:, 59:81, 29:51] = torch.where(
        drop[59:81, 29:51], y[:, 59:81, 29:51].flip(1, 2) - 0.1, y[:, 59:81, 29:51]
    )
    found = translucent(y, veil | blot | drop | thin)
    assert torch.equal(found, veil)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40)])
@pytest.mark.parametrize("covered", [False, True])
def test_small_canvases_show_no_veil(shape: tuple[int, int], covered: bool) -> None:
    mask = torch.full(shape, covered)
    assert not translucent(torch.zeros(3, *shape), mask).any()
