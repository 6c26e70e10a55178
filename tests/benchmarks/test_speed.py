"""The benchmark of speed on small images: its laws, what it does not measure twice, its page and picture."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import torch
from PIL import Image, ImageColor, ImageDraw

from benchmarks import baselines, chart, dreamclean, machine, pace, speed, speed_page
from benchmarks.baselines import Attempt
from benchmarks.scenes import CEILING, Case
from i2r.metrics import psnr

NOISE = "noise 25/255"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A measurement sets how many it takes."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and tiles that cost little, and optimisers that stop soon."""
    monkeypatch.setattr(speed, "SIZES", {"256": (48, 48), "24mp": (64, 96)})
    monkeypatch.setattr(speed, "REPEATS", {})
    monkeypatch.setattr(pace, "SIDES", (32, 64))
    monkeypatch.setattr(baselines, "BIRD_STOPS", (1, 2))
    monkeypatch.setattr(baselines, "UNTRAINED_STOPS", (2, 4))
    monkeypatch.setattr(dreamclean, "STEPS", 3)


def test_an_interrupted_benchmark_goes_on_where_it_stopped(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "speed.json"
    command = ["--threads", "1", "--kinds", "clean", NOISE, "--out", str(out)]
    speed.main([*command, "--kinds", "clean"])
    assert not out.with_suffix(".png").exists()  # there is nothing to compare yet
    speed.main(command)
    log = out.with_suffix(".jsonl")
    measured, page = log.read_text(), out.with_suffix(".md").read_text()
    record = json.loads(out.read_text())

    rows = record["measured"]["256"]
    assert set(rows[NOISE]) == set(rows["clean"]) == set(record["columns"])
    for row in rows.values():
        for name, cell in row.items():
            assert cell["seconds"] > 0
            if name == speed_page.OURS:
                assert cell["evaluated_over_image"] >= 1
                network = cell["nfe"] * 48 * 48 * record["network"]["seconds_a_pixel"]
                assert cell["seconds"] == pytest.approx(cell["ratio"] * network)
                assert record["network"]["seconds_a_pixel"] <= cell["network"]["seconds_a_pixel"]
    ours = rows[NOISE][speed_page.OURS]
    assert ours["psnr"] > rows[NOISE]["wavelet"]["psnr"] > ours["input"] + 3
    assert rows[NOISE]["BIRD"]["nfe"] in (10, 20)
    assert rows[NOISE]["BIRD"]["picked_of"] == 2
    assert rows["clean"][speed_page.OURS]["outcome"] == "unchanged"
    assert record["measured"]["24mp"] == {kind: {} for kind in speed.OF_LARGEST}

    assert f"| 48x48 | {NOISE} | restored | {ours['input']:.2f} -> {ours['psnr']:.2f} |" in page
    assert "| 96x64 | clean | not measured |" in page
    with Image.open(out.with_suffix(".png")) as picture:
        assert (
            ImageColor.getrgb(chart.MARKS[speed_page.OURS].colour)
            in picture.convert("RGB").get_flattened_data()
        )

    speed.main(command)
    assert (log.read_text(), out.with_suffix(".md").read_text()) == (measured, page)
    log.write_text(measured[:-7])  # killed while it wrote the last cell
    speed.main(command)
    whole = measured.rstrip().rfind("\n") + 1
    assert log.read_text()[:whole] == measured[:whole]
    assert _keys(log.read_text()) == _keys(measured)

    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2_VNNI")  # which makes another machine of it
    speed.main([*command, "--columns", "wavelet"])
    assert _keys(log.read_text())[-2:] == [("clean", "256", "wavelet"), (NOISE, "256", "wavelet")]
    assert "oneDNN held to AVX2" in out.with_suffix(".md").read_text()
    assert set(json.loads(out.read_text())["measured"]["256"][NOISE]) == {"wavelet"}


def _keys(log: str) -> list[tuple[str, str, str]]:
    cells = [json.loads(line) for line in log.splitlines()]
    return [(cell["row"], cell["photograph"], cell["column"]) for cell in cells]


def test_a_column_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(["--columns", "wavelets", "--out", str(tmp_path / "speed.json")])
    assert "no column wavelets: give some of ours, blind, " in capsys.readouterr().err


def test_a_page_can_be_made_before_anything_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    speed.main(["--threads", "1", "--columns", "--out", str(out)])
    page = out.with_suffix(".md").read_text()
    assert page.count("not measured") == 5 * len(speed.KINDS) + len(speed.OF_LARGEST) + 2
    assert not out.with_suffix(".png").exists()


def test_what_a_size_measures() -> None:
    quick, slow = speed.Column(baselines.wavelet, ""), speed.Column(baselines.wavelet, "", slow=True)
    assert [size for size in speed.SIZES if slow.fits(size, "clean")] == ["128", "256"]
    assert [kind for kind in speed.KINDS if quick.fits("24mp", kind)] == ["clean", NOISE, "JPEG quality 10"]
    assert all(quick.fits("2048", kind) for kind in speed.KINDS)


def test_the_photograph_is_cut_where_it_is_larger_and_mirrored_where_it_is_smaller() -> None:
    whole = np.float32(skimage.data.coffee()) / 255
    assert np.array_equal(speed.photograph(400, 600), whole)
    assert np.array_equal(speed.photograph(100, 200), whole[150:250, 200:400])
    large = speed.photograph(1000, 512)
    assert np.array_equal(large[:400], whole[:, 44:556])
    assert np.array_equal(large[400:800], large[399::-1])
    assert np.array_equal(large[800:], large[:200])


def test_of_several_images_the_best_counts_and_what_it_took(photograph: npt.NDArray[np.float32]) -> None:
    case, pauses = Case(NOISE, "honey-bee", photograph), iter([0.2, 0.0, 0.1])

    def method(case: Case) -> Attempt:
        time.sleep(next(pauses))
        return Attempt([case.clean, case.degraded], 8, {"outcome": "restored"}, [0.25, 1.0])

    found = speed.measure(method, case, 3)
    assert found.pop("seconds") < 0.25 * 0.1
    assert found == {
        "psnr": CEILING,
        "input": psnr(case.degraded, case.clean),
        "nfe": 2,
        "picked_of": 2,
        "outcome": "restored",
    }


def test_every_tile_that_a_network_is_shown_counts_and_what_pads_its_batch() -> None:
    evaluator = SimpleNamespace(eps=lambda tiles, sigmas: tiles, batch=lambda height, width: 4)
    before, restorer = evaluator.eps, SimpleNamespace(evaluator=evaluator)
    with pace.watched(restorer) as asked:  # type: ignore[arg-type]
        for count in (2, 3):
            evaluator.eps(torch.zeros(count, 3, 16, 24), torch.ones(count))
    assert asked.pixels == 8 * 16 * 24
    assert evaluator.eps is before


def test_the_best_pace_is_that_of_the_fastest_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    def eps(tile: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05 if tile.shape[-1] == 32 else 0.08)
        return tile

    monkeypatch.setattr(pace, "SIDES", (32, 64))
    best = pace.best_pace(SimpleNamespace(eps=eps, device=torch.device("cpu")))  # type: ignore[arg-type]
    assert best.tile == 64
    assert best.seconds_a_pixel >= 0.08 / 64**2


def test_opencv_takes_noise_out_and_keeps_the_colours(photograph: npt.NDArray[np.float32]) -> None:
    case = Case(NOISE, "honey-bee", photograph)
    attempt = baselines.fast_non_local_means(case)
    best = max(attempt.images, key=lambda image: psnr(image, case.clean))
    assert psnr(best, case.clean) > psnr(case.degraded, case.clean) + 3
    assert math.isclose(sum(attempt.shares), 1)
    assert len(attempt.shares) == len(attempt.images)


def test_a_machine_is_told_in_a_line() -> None:
    found = {
        "cpu": "Processor 7",
        "instructions": ["AVX2", "AVX-512"],
        "onednn_max_cpu_isa": "AVX2",
        "device": "cpu/float32",
        "threads": 1,
        "torch": "2.13.0",
    }
    line = machine.in_words(found)
    assert line == "Processor 7, AVX2/AVX-512, oneDNN held to AVX2, cpu/float32, 1 thread, torch 2.13.0"
    bare = machine.in_words(found | {"instructions": [], "onednn_max_cpu_isa": "", "threads": 2})
    assert bare == "Processor 7, cpu/float32, 2 threads, torch 2.13.0"


def test_better_is_up_and_to_the_left() -> None:
    sheet = Image.new("RGB", (10, 10))
    panel = chart.Panel(ImageDraw.Draw(sheet), 0, 0, (-2, 3), (20.0, 30.0))
    assert panel.up(30) < panel.up(20)
    assert panel.across(0.1) < panel.across(10)
    assert panel.across(1) - panel.across(0.1) == pytest.approx(panel.across(100) - panel.across(10))
    assert (panel.across(0.01), panel.across(1000)) == (panel.left, panel.right)
