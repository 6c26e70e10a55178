"""Streaks are found by their direction, sign and noise, and covered by their mask."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2r.screening.streaks import STREAKS, Streaks, find_streaks, streak_mask, streak_powers


def _lines(slope: float, count: int = 5, side: int = 96) -> Tensor:
    """Where ``count`` parallel lines of ``slope`` columns a row lie, (side, side)."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    across = (columns - slope * (rows - side / 2)) % (side / count)
    return across < 1.2


def _scene(seed: int = 0) -> Tensor:
    return 0.02 * torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(seed))


def _found(lines: Tensor, brightness: float) -> Streaks:
    image = torch.where(lines, brightness, _scene())
    return find_streaks(image, image)


@pytest.mark.parametrize("angle", [-40, -15, 0, 10, 30])
@pytest.mark.parametrize("transposed", [False, True])
def test_bright_lines_are_found_in_their_direction(angle: float, transposed: bool) -> None:
    lines = _lines(math.tan(math.radians(angle)))
    streaks = _found(lines.T if transposed else lines, 0.8)
    assert streaks.power > 10 * find_streaks(_scene(), _scene()).power + 0.002
    assert streaks.transposed == transposed
    assert math.degrees(math.atan(streaks.slope)) == pytest.approx(angle, abs=8)


@pytest.mark.parametrize("shape", [(3, 96, 96), (1, 40, 75), (3, 90, 33)])
def test_images_that_are_looked_at_together_are_told_apart(shape: tuple[int, int, int]) -> None:
    _, height, width = shape
    images = torch.stack([torch.where(_lines(slope), 0.8, _scene()) for slope in (-0.5, 0.1, 2.0)])
    images = images[:, : shape[0], :height, :width]
    powers = streak_powers(images, images)
    assert powers.shape == (STREAKS.directions, 3)
    for image, power in zip(images, powers.amax(dim=0), strict=True):
        assert power.item() == pytest.approx(find_streaks(image, image).power, rel=1e-5)


def test_dark_lines_are_no_streaks() -> None:
    assert _found(_lines(0.1), -0.8).power < 0.0005


def test_lines_both_bright_and_dark_are_texture() -> None:
    lines, between = _lines(0.1), _lines(0.1).roll(9, 1)
    image = torch.where(between, -0.8, torch.where(lines, 0.8, _scene()))
    assert find_streaks(image, image).power < 0.1 * _found(lines, 0.8).power


def test_lines_that_the_prior_expects_are_no_streaks() -> None:
    image = torch.where(_lines(0.1), 0.8, _scene())
    assert find_streaks(image, torch.zeros_like(image)).power == 0


def test_thick_lines_are_objects() -> None:
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    assert _found((columns + rows // 10) % 24 < 9, 0.8).power < 0.3 * _found(_lines(0.1), 0.8).power


@pytest.mark.parametrize("shape", [(3, 96, 96), (1, 40, 200), (3, 33, 33)])
def test_the_mask_covers_the_lines_and_little_else(shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    lines = torch.zeros(height, width, dtype=torch.bool)
    lines[:, 7::19] = True
    image = torch.where(lines, 0.9, torch.zeros(channels, height, width))
    mask = streak_mask(image, image, find_streaks(image, image))
    assert mask.shape == (height, width)
    assert mask[lines].float().mean() > 0.9
    assert mask.float().mean() < 5.5 * lines.float().mean()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("slope", [-0.3, 0.6])
def test_lines_are_covered_up_to_the_corners(slope: float, transposed: bool) -> None:
    lines = _lines(slope)
    lines = lines.T if transposed else lines
    image = torch.where(lines, 0.9, torch.zeros(3, 96, 96))
    mask = streak_mask(image, image, find_streaks(image, image))
    for rows in (slice(2, 16), slice(-16, -2)):
        for columns in (slice(2, 16), slice(-16, -2)):
            assert mask[rows, columns][lines[rows, columns]].float().mean() > 0.9
