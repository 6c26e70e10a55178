"""The demo: its inputs, what it measures, and the whole of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.demo import DEGRADATION_OF, SAMPLES, judge, measure, prepare, read_image, run_demo
from pipeline import SettingsError

ROW = {"status": "restored", "error_code": None, "timings": {"decode": 0.5, "restore": 2.0, "store": None}}


def test_inputs_are_degraded_samples_and_the_historical_ones(tmp_path: Path) -> None:
    specimens = prepare(tmp_path / "in")
    assert {path.name for path in (tmp_path / "in").iterdir()} == {one.degraded.name for one in specimens}
    assert [one.title.split(", ")[1] for one in specimens] == [*DEGRADATION_OF.values(), *["as found"] * 3]
    for one in specimens:
        if one.original:
            assert read_image(one.degraded).shape == read_image(one.original).shape
            assert not np.array_equal(read_image(one.degraded), read_image(one.original))
        else:
            assert one.degraded.read_bytes() == (SAMPLES / "historical" / one.degraded.name).read_bytes()


def test_inputs_are_the_same_every_time(tmp_path: Path) -> None:
    for one, other in zip(prepare(tmp_path / "a"), prepare(tmp_path / "b"), strict=True):
        assert one.degraded.read_bytes() == other.degraded.read_bytes()


def test_measures_against_the_original_or_else_the_noise(tmp_path: Path) -> None:
    specimens = prepare(tmp_path / "in")
    assert measure(specimens[0].degraded, specimens[0].original).startswith("20.5 dB SSIM 0.3")
    assert specimens[-1].original is None
    assert measure(specimens[-1].degraded, None).endswith("/255")


def test_judges_a_restored_image(tmp_path: Path) -> None:
    specimen = prepare(tmp_path / "in")[0]
    (tmp_path / "out").mkdir()
    assert specimen.original
    (tmp_path / "out" / specimen.degraded.name).write_bytes(specimen.original.read_bytes())
    result = judge(specimen, ROW, tmp_path / "out")
    assert (result.status, result.after, result.seconds) == ("restored", "inf dB SSIM 1.00", 2.5)


def test_a_failed_image_has_its_code_and_no_result(tmp_path: Path) -> None:
    specimen = prepare(tmp_path / "in")[0]
    row = {**ROW, "status": "failed", "error_code": "out_of_memory"}
    result = judge(specimen, row, tmp_path / "out")
    assert (result.status, result.restored, result.after) == ("failed: out_of_memory", None, "")


def test_refuses_a_destination_that_exists(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists"):
        run_demo(tmp_path)


def test_the_whole_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert run_demo(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    for place in ("restored", "restored/_i2r/manifest", "contact-sheet.png"):
        assert (folder / place).exists()
        assert any(line.rstrip("/").endswith(f"demo/{place}") for line in lines)
    gains = {
        name: _psnr(next((folder / "restored").glob(f"{name}.*")), name)
        - _psnr(next((folder / "degraded").glob(f"{name}.*")), name)
        for name in DEGRADATION_OF
    }
    assert gains["honey-bee"] > 8
    assert gains["portrait"] > 4
    assert min(gains.values()) > -0.2
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.width > 3 * 320
        assert sheet.height > 9 * 256


def _psnr(path: Path, name: str) -> float:
    error = read_image(path) - read_image(SAMPLES / "clean" / f"{name}.png")
    return float(-10 * np.log10(np.mean(error**2)))
