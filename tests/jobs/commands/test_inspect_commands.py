"""`i2r inspect`: it writes one picture, and what is wrong is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.cli import main
from pipeline.records.summary import ExitStatus


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).normal(128, 40, (40, 40)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    return tmp_path / "noisy.png"


def test_one_picture_and_its_numbers(
    noisy: Path, own_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [f"--prior={own_prior}", "--set=method.tile=40", "--set=method.overlap=8", "--strength=0.5"]
    result = CliRunner().invoke(main, ["inspect", str(noisy), *options])
    assert result.exit_code == ExitStatus.DONE, result.output
    assert "* " in result.stdout
    assert "outcome      restored" in result.stdout
    assert result.stdout.endswith("picture      noisy-inspected.png\n")
    with Image.open("noisy-inspected.png") as picture:
        assert picture.width > 3 * 480


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{tmp}/nowhere.png"], "does not exist"),
        (["{tmp}"], "is not one image"),
        (["{tmp}/text.png"], "cannot be inspected"),
        (["{tmp}/cut.png"], "breaks off"),
        (["{tmp}/noisy.png", "--prior=none-such"], "no prior 'none-such'"),
        (["{tmp}/noisy.png", "--strength=0"], "'method.strength'"),
        (["{tmp}/noisy.png", "--set=method.tiles=40"], "did you mean"),
        (["{tmp}/noisy.png", "--mask={tmp}/text.png"], "text.png cannot be inspected"),
        (["{tmp}/noisy.png", "--out={tmp}/a.jpg"], "name it a.png"),
        (["{tmp}/noisy.png", "--out={tmp}/none/a.png"], "there is no folder"),
        (["{tmp}/noisy.png", "--out={tmp}/noisy.png"], "is the image itself"),
    ],
)
def test_what_is_wrong_is_one_line(noisy: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(noisy.read_bytes()[:500])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = CliRunner().invoke(main, ["inspect", *(text.format(tmp=tmp_path) for text in arguments)])
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
