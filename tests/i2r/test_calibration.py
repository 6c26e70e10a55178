"""Calibrating a prior on a few crops."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2r.calibration import calibrate, in_focus
from i2r.calibration_file import BANDS, STATISTICS, Calibration
from i2r.prior import Prior, load_prior


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """(26, 3, 32, 32) in [-1, 1]: smooth fields, two for every noise level."""
    rough = torch.rand(26, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, size=32, mode="bilinear") * 2 - 1


@pytest.fixture(scope="module")
def measured(tiny: Prior, crops: Tensor) -> Calibration:
    return calibrate(tiny, crops)


def test_everything_is_measured(measured: Calibration) -> None:
    assert set(measured.clean) == set(STATISTICS)
    assert all(spread.spread > 0 and math.isfinite(spread.middle) for spread in measured.clean.values())
    assert list(measured.entry_scale) == sorted(measured.entry_scale)
    assert all(math.isfinite(scale) for scale in measured.entry_scale.values())
    assert len(measured.spectrum) == BANDS
    assert np.isfinite(measured.block_entry).all()


def test_gray_images_have_a_calibration_of_their_own(measured: Calibration) -> None:
    assert measured.gray is not None
    assert measured.gray.gray is None
    assert measured.gray.clean != measured.clean


def test_calibration_repeats(tiny: Prior, crops: Tensor, measured: Calibration) -> None:
    assert calibrate(tiny, crops) == measured
    assert calibrate(tiny, crops, seed=1).entry_scale != measured.entry_scale


def test_calibration_survives_its_file(measured: Calibration, tmp_path: Path) -> None:
    measured.save(tmp_path)
    assert Calibration.load(tmp_path) == measured


def test_the_sharper_half_is_in_focus() -> None:
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    crops = torch.cat([contrast * noise for contrast in (0.1, 0.9, 0.3, 0.7)])
    assert torch.equal(in_focus(crops[:3]), crops[1:3])
    assert torch.equal(in_focus(crops[1:]), crops[[1, 3]])


def test_the_command_writes_into_the_priors_folder(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "prior"))
    before = load_prior(str(folder))
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in "ab":
        small = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(small).resize((420, 420), Image.Resampling.BICUBIC).save(
            tmp_path / "photos" / f"{name}.png"
        )
    command = [sys.executable, "-m", "i2r.calibration", "--prior", str(folder)]
    command += ["--data", str(tmp_path / "photos"), "--crops", "26", "--side", "32"]
    subprocess.run(command, check=True, capture_output=True)
    after = load_prior(str(folder))
    assert after.calibration != before.calibration
    assert after.sha256 != before.sha256
