"""Content that resembles overlays is drawn the same for the same seed, and shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from i2r.errors import SettingsError
from i2r.training.hard_negatives import HardNegatives


@given(st.integers(0, 2**32 - 1), st.integers(24, 112), st.integers(24, 112))
def test_content_follows_from_the_seed(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    before = image.copy()
    first, again = (HardNegatives().draw(image, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert first.shape == image.shape
    assert 0 <= first.min() <= first.max() <= 1


def test_most_draws_show() -> None:
    image = np.full((112, 112, 3), 0.45, np.float32)
    drawn = [HardNegatives().draw(image, np.random.default_rng(seed)) for seed in range(100)]
    assert np.mean([np.abs(one - image).max() > 0.2 for one in drawn]) > 0.9


def test_things_are_cut_out_of_a_folder(tmp_path: Path) -> None:
    thing = Image.new("RGBA", (40, 40))
    ImageDraw.Draw(thing).ellipse((5, 5, 35, 35), "#00ff00")
    thing.save(tmp_path / "thing.png")
    image = np.zeros((96, 96, 3), np.float32)
    negatives = HardNegatives(cutouts=tmp_path)
    green = [(negatives.draw(image, np.random.default_rng(seed))[..., 1] > 0.9).mean() for seed in range(60)]
    assert np.mean(np.array(green) > 0.005) > 0.2


@pytest.mark.parametrize("folder", ["cutouts", "fonts"])
def test_a_folder_without_files_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SettingsError, match="holds no"):
        HardNegatives(**{folder: tmp_path})
