"""Drawings are told from photographs, whatever happened to those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from i2r.screening.drawings import is_drawn
from i2r.training.degradation import (
    FloatImage,
    dead_pixels,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    salt_and_pepper,
)


def _tensor(image: FloatImage) -> Tensor:
    levels = np.rint(np.clip(image, 0, 1) * 255) / 255
    return torch.from_numpy(levels.astype(np.float32).transpose(2, 0, 1) * 2 - 1)


def _page(ink: str, paper: str, size: int) -> FloatImage:
    page = Image.new("RGB", (192, 160), paper)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for top in range(4, 150, size + 4):
        pen.text((5, top), "The quick brown fox jumps over it", ink, font)
    pen.ellipse((100, 60, 150, 110), outline=ink, width=2)
    return np.asarray(page, np.float32) / np.float32(255)


@pytest.mark.parametrize("size", [9, 12, 30])
@pytest.mark.parametrize(
    ("ink", "paper"), [("black", "white"), ("#e0e0e0", "#202430"), ("#703010", "#fdf6e3")]
)
def test_a_page_is_a_drawing(ink: str, paper: str, size: int) -> None:
    page = _page(ink, paper, size)
    assert is_drawn(_tensor(page))[0]
    assert is_drawn(_tensor(page.mean(axis=-1, keepdims=True)))[0]


def test_a_photograph_is_none_whatever_happened_to_it(samples: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((samples / "clean").iterdir()):
        clean = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
        for degraded in (
            clean,
            gaussian_noise(clean, rng, sigma=25 / 255),
            gaussian_blur(clean, sigma=1.5),
            jpeg(clean, quality=10),
            dead_pixels(clean, rng, fraction=0.02),
            salt_and_pepper(clean, rng, fraction=0.05),
        ):
            assert is_drawn(_tensor(degraded)) == (False, frozenset()), path.name


@given(st.floats(-1, 1, width=32), st.integers(3, 40), st.integers(3, 40))
def test_what_has_no_steps_is_none(level: float, height: int, width: int) -> None:
    assert is_drawn(torch.full((3, height, width), level)) == (False, frozenset())


def test_a_soft_photograph_is_none_whatever_its_frame(samples: Path) -> None:
    for path in sorted((samples / "clean").iterdir()):
        clean = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
        soft = gaussian_blur(clean, sigma=3)
        framed = np.pad(soft, ((20, 20), (20, 20), (0, 0)), constant_values=1.0)
        covered = soft.copy()
        covered[50:120, 60:160] = 1
        specked = soft.copy()
        specked[100:105, 90:95] = 0
        for degraded in (framed, covered, specked):
            assert is_drawn(_tensor(degraded))[0] is False, path.name


def test_clipped_shadows_with_dead_pixels_are_no_drawing(samples: Path) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((samples / "clean").iterdir()):
        clean = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
        dark = dead_pixels(np.clip(clean - 0.5, 0, 1), rng, fraction=0.01)
        assert is_drawn(_tensor(dark))[0] is False, path.name


def test_two_tones_are_a_drawing_whatever_they_show(samples: Path) -> None:
    with Image.open(sorted((samples / "clean").iterdir())[0]) as file:
        dithered = np.asarray(file.convert("1"), np.float32)[..., None]
    assert is_drawn(_tensor(dithered))[0]
    assert is_drawn(_tensor(0.2 + 0.5 * np.repeat(dithered, 3, axis=-1)))[0]
    dithered = dithered.copy()
    dithered[7, 7] = 0.5
    assert not is_drawn(_tensor(dithered))[0]


def test_parts_are_told_apart(samples: Path) -> None:
    photograph = np.asarray(Image.open(next((samples / "clean").iterdir())).convert("RGB"), np.float32)
    both = np.concatenate([photograph[:160, :192] / np.float32(255), _page("black", "white", 12)], axis=1)
    assert is_drawn(_tensor(both)) == (False, {1})
