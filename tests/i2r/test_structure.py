"""What was filled is held against the scene: content keeps to a part of it, damage does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image, ImageDraw, ImageFont

from i2r.structure import structure_change
from i2r.training.degradation import Degradation, FloatImage, dust, rain, salt_and_pepper, scratches

SIDE = 144


def _scene() -> FloatImage:
    """Hills under a plain sky, with a texture that grows toward the bottom."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    waves = np.sin(rows / 7) * np.cos(columns / 9) + np.sin(rows * columns / 400)
    gray = 0.5 + 0.15 * waves * rows / SIDE - 0.2 * rows / SIDE
    return np.stack([gray, gray + 0.05, 1.1 - gray], axis=-1).clip(0, 1).astype(np.float32)


def _page() -> FloatImage:
    page = Image.new("RGB", (SIDE, SIDE), "white")
    text = "Letters of\na page are\nlike marks\nof one ink\nand width"
    ImageDraw.Draw(page).text((8, 8), text, "black", ImageFont.load_default(20))
    return np.asarray(page, np.float32) / np.float32(255)


def _disc(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return np.hypot(rows - row, columns - column) <= radius


@pytest.mark.parametrize("radius", [2, 4, 8])
@pytest.mark.parametrize("place", [(20, 30), (100, 90)])
def test_a_disc_that_went_is_content(radius: int, place: tuple[int, int]) -> None:
    erased = _scene()
    disc = _disc(*place, radius)
    seen = erased.copy()
    seen[disc] = 0.02
    assert structure_change(erased, seen, disc).doubt > 1


def test_discs_on_a_plain_ground_are_content_however_many() -> None:
    ground = np.full((SIDE, SIDE, 3), 0.1, np.float32)
    seen, filled = ground.copy(), np.zeros((SIDE, SIDE), np.bool_)
    for row, column in np.random.default_rng(0).integers(8, SIDE - 8, (20, 2)):
        filled |= _disc(row, column, 4)
    seen[filled] = 0.95
    change = structure_change(ground, seen, filled)
    assert change.removed > 100
    assert change.doubt > 1
    assert "held" in change.reason


def test_letters_are_content() -> None:
    page = _page()
    letters = page.mean(axis=-1) < 0.9
    letters[SIDE // 2 :] = False
    erased = np.where(letters[..., None], np.float32(1), page)
    assert structure_change(erased, page, letters).doubt > 1


@pytest.mark.parametrize("damage", [rain, scratches, dust, salt_and_pepper])
@pytest.mark.parametrize("name", ["astronaut", "stream", "pagoda"])
def test_marks_that_lie_as_they_come_are_damage(damage: Degradation, name: str) -> None:
    clean = photograph(name)
    damaged = damage(clean, np.random.default_rng(0))
    filled = np.abs(damaged - clean).max(axis=-1) > 0.02
    assert structure_change(clean, damaged, filled).doubt < 1


def test_structure_that_was_put_in_counts() -> None:
    scene = _scene()
    checks = 0.2 * (-1.0) ** np.add.outer(np.arange(SIDE) // 3, np.arange(SIDE) // 3)
    invented = (scene + checks[..., None].astype(np.float32)).clip(0, 1)
    nothing = np.zeros((SIDE, SIDE), np.bool_)
    change = structure_change(invented, scene, nothing)
    assert change.removed == change.selectivity == 0
    assert change.doubt > 1
    assert "adds" in change.reason


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_result_like_its_input_changes_no_structure(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height, width, 3), dtype=np.float32)
    change = structure_change(image, image, rng.random((height, width)) < 0.2)
    assert change.removed == change.added == 0
    assert change.selectivity >= -1e-12


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 0.4), st.integers(0, 2**32 - 1))
def test_brightness_does_not_count(height: int, width: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_, result = (rng.random((height, width, 1), dtype=np.float32) * np.float32(0.5) for _ in range(2))
    filled = rng.random((height, width)) < 0.2
    one = structure_change(result, given_, filled)
    other = structure_change(result + np.float32(shift), given_ + np.float32(shift), filled)
    assert other.removed == pytest.approx(one.removed, rel=1e-3, abs=1e-6)
    assert other.added == pytest.approx(one.added, rel=1e-3, abs=1e-6)
    assert other.selectivity == pytest.approx(one.selectivity, abs=1e-3)
