"""The picture of an image's way: what it shows is what the method says, for every image and every format."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2r import Action, Finding, Outcome, Restoration, What
from i2r.findings import BOXES
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.statistics import STATISTICS
from i2r.screening.trace import Look, Screening, Trace
from jobs.views.anatomy import AMPLIFIED, SHOWN, Anatomy, dissect, draw, facts, p_values
from pipeline.errors import SettingsError
from pipeline.settings import RunSettings

CALIBRATION = Calibration(
    level=0.06,
    damage_level=0.3,
    clean={name: Spread(0.0, 1.0, 0.5) for name in STATISTICS},
    entry_scale={0.1: -0.2, 0.8: 0.0},
    block_entry=(-4.0, 1.5),
    spectrum=(0.0,) * 16,
    overlays="",
    alarms=tuple(0.1 + 0.001 * index for index in range(200)),
)
JPEG = {"jpeg": {"luma": list(range(64)), "width": 1.23456}}
P_VALUES = dict.fromkeys(STATISTICS, 0.5)


def anatomy(shape: tuple[int, int, int], outcome: Outcome = Outcome.RESTORED) -> Anatomy:
    """Of a gray image whose upper left quarter became lighter, with one atypical region there."""
    height, width, channels = shape
    image, moved = np.full(shape, 0.4, np.float32), np.zeros(shape[:2], np.bool_)
    moved[: height // 2, : width // 2] = True
    result = np.where(moved[..., None], np.float32(0.5), image)
    region = (slice(0, height // 2), slice(0, width // 2))
    before = Screening(P_VALUES | {"streaks": 1e-9}, frozenset({"streaks"}), {"streaks": [region]})
    noise = np.zeros((channels, height, width), np.float32)
    looks = [Look(screening, CALIBRATION, noise, noise) for screening in (before, Screening(P_VALUES))]
    restoration = Restoration(
        outcome,
        result if outcome is Outcome.RESTORED else image,
        (
            Finding(
                What.STREAKS,
                1.0,
                0.1,
                Action.CORRECTED,
                parameters={BOXES: [[0, 0, width // 2, height // 2]]},
            ),
            Finding(What.BLOCKS, 0.99, 1.0, Action.CORRECTED, parameters=JPEG),
        ),
        nfe=12,
        rectified_fraction=float(moved.mean()),
        typicality_before=6e-9,
        typicality_after=1.0,
        consistency_psnr=31.4,
        message="" if outcome is Outcome.RESTORED else "it is " + "very " * 40 + "unlike",
    )
    return Anatomy("name.png", image, restoration, Trace(looks, moved, result), 1.25)


def colours(sheet: Image.Image) -> set[tuple[int, int, int]]:
    return set(map(tuple, np.unique(np.asarray(sheet).reshape(-1, 3), axis=0).tolist()))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_shows_before_after_difference_regions_and_mask(channels: int) -> None:
    seen = colours(draw(anatomy((120, 90, channels))))
    amplified = round(255 * (0.5 + AMPLIFIED * 0.1))
    assert {(102,) * 3, (128,) * 3, (amplified,) * 3, (0xFF, 0xB0, 0)} <= seen
    assert any(red > 2 * green for red, green, _ in seen)  # the mask


@pytest.mark.parametrize("shape", [(32, 32, 3), (33, 900, 1), (1000, 40, 3), (700, 1300, 3)])
def test_the_sheet_does_not_grow_with_the_image(shape: tuple[int, int, int]) -> None:
    sheet = draw(anatomy(shape))
    assert SHOWN < sheet.width < 4 * SHOWN
    assert sheet.height < 4 * SHOWN


def test_a_single_pixel_that_moved_is_seen_however_large_the_image() -> None:
    large = anatomy((1900, 1900, 1))
    assert large.trace.moved is not None
    large.trace.moved[:] = False
    without = draw(large)
    large.trace.moved[1700, 1700] = True
    assert np.abs(np.asarray(draw(large), int) - np.asarray(without)).max() > 20


def test_the_numbers_are_those_of_the_method() -> None:
    found = facts(anatomy((40, 60, 3)))
    assert found["image"] == "60 x 40, colour"
    assert found["replaced"] == "25.0% of the pixels"
    assert found["typicality"] == "6e-09, then 1"
    assert found["consistency"] == "31.4 dB"
    assert found["found"] == (
        "streaks corrected, 100 % sure, 10 % of the pixels in 1 place; "
        "blocks corrected, 99 % sure, 100 % of the pixels"
    )
    assert found["jpeg"] == "luma 0 1 2 3 4 5 ..., width 1.23"
    assert "message" not in found
    lines = p_values(anatomy((40, 60, 3)))
    assert lines[0] == ("streaks, bright lines: p = 1e-09, then 0.5", True)
    assert len(lines) == len(STATISTICS)
    assert not any(alarm for _, alarm in lines[1:])


def test_what_was_rejected_is_shown_and_long_messages_are_wrapped() -> None:
    rejected = anatomy((120, 90, 3), Outcome.REJECTED)
    assert facts(rejected)["message"].endswith("unlike")
    sheet = draw(rejected)
    assert (128,) * 3 in colours(sheet)
    assert sheet.width < 4 * SHOWN


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 700, 3)])
def test_images_too_small_to_test_have_a_sheet_too(shape: tuple[int, int, int]) -> None:
    image = np.full(shape, 0.5, np.float32)
    untested = Anatomy("dot", image, Restoration(Outcome.UNCHANGED, image), Trace(), 0.0)
    assert p_values(untested) == []
    assert facts(untested)["typicality"] == "none, then none"
    assert draw(untested).width > SHOWN


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_is_restored_as_a_run_would_and_its_mask_is_kept(
    tmp_path: Path, own_prior: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).normal(128, 40, (48, 40, 3)).clip(0, 255).astype(np.uint8)
    file, mask = tmp_path / f"a.{suffix}", Image.new("L", (40, 48))
    Image.fromarray(noise).save(file)
    mask.paste(255, (0, 0, 20, 48))
    mask.save(tmp_path / "mask.png")
    method = {"tile": 48, "overlap": 8, "forms": ["noise"]}
    settings = RunSettings.model_validate({"prior": str(own_prior), "method": method})
    seen = dissect(str(file), settings, str(tmp_path / "mask.png"))
    assert seen.name == file.name
    assert seen.trace.result is not None
    np.testing.assert_array_equal(seen.trace.result[:, :20], seen.image[:, :20])
    assert (seen.trace.result[:, 20:] != seen.image[:, 20:]).any()
    assert not math.isnan(seen.restoration.typicality_before)
    draw(seen)
    Image.new("L", (40, 40)).save(tmp_path / "small.png")
    with pytest.raises(SettingsError, match=r"small\.png is 40 x 40 pixels, its image 40 x 48"):
        dissect(str(file), settings, str(tmp_path / "small.png"))
