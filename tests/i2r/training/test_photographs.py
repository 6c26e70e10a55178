"""Crops of a folder of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2r.errors import SettingsError
from i2r.training.photographs import Photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs, one deeper down, beside a text and one that is too small."""
    rng = np.random.default_rng(0)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    sizes = {"wide.png": (120, 80), "deep/er/tall.JPG": (90, 200), "small.png": (40, 40)}
    for name, (width, height) in sizes.items():
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photograph")
    return tmp_path


def test_photographs_are_found_at_every_depth_and_shrunk(folder: Path) -> None:
    photographs = Photographs(folder, 32, short_sides=(32, 50))
    assert len(photographs) == 2
    shapes = [[size.shape[:2] for size in sizes] for sizes in photographs.sizes]
    assert shapes == [[(71, 32), (111, 50)], [(32, 48), (50, 75)]]


def test_crops_have_the_asked_shape_and_range(folder: Path) -> None:
    crops = Photographs(folder, 24, short_sides=(32, 50)).draw(9)
    assert crops.shape == (9, 3, 24, 24)
    assert crops.dtype == torch.float32
    assert -1 <= crops.min() < -0.2
    assert 0.2 < crops.max() <= 1
    steps = (crops + 1) * 127.5
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


def test_draws_repeat_with_their_generator_only(folder: Path) -> None:
    photographs = Photographs(folder, 24, short_sides=(32,))
    assert torch.equal(photographs.draw(4), photographs.draw(4))
    generator = np.random.default_rng(3)
    first, second = photographs.draw(4, generator), photographs.draw(4, generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, photographs.draw(4, np.random.default_rng(3)))


@pytest.mark.parametrize(("grey", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_share_of_the_crops_is_grey(folder: Path, grey: float, share: float) -> None:
    crops = Photographs(folder, 16, grey=grey, short_sides=(32,)).draw(200)
    is_grey = (crops == crops[:, :1]).flatten(1).all(dim=1)
    assert is_grey.float().mean().item() == pytest.approx(share, abs=0.1)


def test_orientation_is_applied(tmp_path: Path) -> None:
    left_white = np.zeros((80, 160, 3), np.uint8)
    left_white[:, :80] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left comes to the top
    Image.fromarray(left_white).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    [[photograph]] = Photographs(tmp_path, 16, short_sides=(32,)).sizes
    assert photograph.shape == (64, 32, 3)
    assert photograph[:24].min() > 200
    assert photograph[-24:].max() < 50


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"at least 410 px: give a folder"):
        Photographs(tmp_path, 64)


def test_a_crop_that_no_photograph_holds_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"crops of 51 px .* short side is 32: give 32 or less"):
        Photographs(folder, 51, short_sides=(50, 32))
