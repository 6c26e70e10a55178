"""`i2r priors`: what each command prints, and that what is wrong is one line and status 2."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from i2r.prior.folder import built_in_priors, digest_prior
from i2r.screening.calibration import Calibration
from jobs.cli import main
from pipeline.records.summary import ExitStatus

BUILT_IN = built_in_priors()["photo-64"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUILT_IN, tmp_path / "prior"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["priors", *(str(argument) for argument in arguments)])


def refused(result: Result) -> str:
    """The one line that says what is wrong."""
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_the_built_in_priors_are_listed() -> None:
    result = run("list")
    assert result.exit_code == 0
    header, line = result.stdout.splitlines()
    assert header.split() == ["name", "digest", "parameters", "timesteps", "predicts"]
    assert line.split() == ["photo-64", digest_prior(BUILT_IN)[:12], "5,940,675", "1000", "v_prediction"]


def test_a_good_prior_passes_every_check() -> None:
    result = run("check", "photo-64")
    assert result.exit_code == 0, result.stderr
    found = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert found["digest"] == digest_prior(BUILT_IN)
    shares = re.findall(r"([\d.]+)% of noise", found["denoises"])
    assert len(shares) == 3
    assert all(0 < float(share) < 5 for share in shares)
    assert {"network", "channels", "schedule", "prediction", "range", "weights", "calibration"} <= set(found)


def test_a_bad_prior_is_one_line(folder: Path) -> None:
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "epsilon"}))
    assert "does not denoise" in refused(run("check", folder))
    (folder / "calibration.json").unlink()
    shutil.copy(BUILT_IN / "scheduler" / "scheduler_config.json", scheduler)
    assert "i2r priors calibrate" in refused(run("check", folder))
    assert "no prior 'nothing'" in refused(run("check", "nothing"))


def test_a_prior_is_calibrated_in_its_folder(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in "ab":
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((420, 420), Image.Resampling.BICUBIC).save(
            tmp_path / "photos" / f"{name}.png"
        )
    before = Calibration.load(folder)
    (folder / "calibration.json").write_text("{}")  # as of another version
    assert "i2r priors calibrate" in refused(run("check", folder))
    command = ["calibrate", folder, "--data", tmp_path / "photos", "--side", "32"]
    assert run(*command, "--crops", "13").exit_code == 0
    measured = Calibration.load(folder)
    assert measured != before
    assert len(measured.alarms) == 2
    again = run("calibrate", folder, "--data", tmp_path / "photos", "--keep")
    assert "2 pictures; the smallest max_harm that it can promise is 0.33" in again.output
    assert Calibration.load(folder) == measured
    assert "crops are too few" in refused(run(*command, "--crops", "5"))
    assert "give 256 or less" in refused(run(*command[:-1], "300"))
    assert "no photograph" in refused(run(*command[:3], tmp_path / "prior" / "unet"))


def test_what_is_no_checkpoint_is_not_converted(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pt")
    assert "no unconditional network" in refused(run("convert", tmp_path / "model.pt", tmp_path / "prior"))
    assert "cannot be read" in refused(run("convert", tmp_path / "none.pt", tmp_path / "prior"))
    assert not (tmp_path / "prior").exists()
