"""The benchmark of harm on small pictures: what counts as harm, what it does not measure twice, its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import clean_pictures, harm, harm_page
from benchmarks.drawn_pages import draw_page


def test_the_worst_window_is_found() -> None:
    error = np.zeros((200, 200))
    assert harm._worst_window(error) == harm.CEILING
    error[100:116, 100:116] = 1.0  # a sixteenth of a window
    assert harm._worst_window(error) == pytest.approx(10 * np.log10(16), abs=1e-6)
    assert harm._worst_window(np.full((31, 20), 0.01)) == pytest.approx(20)


def test_an_interrupted_benchmark_goes_on_and_shows_the_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_pictures, "KINDS", {"ramp": None})
    monkeypatch.setattr(harm, "QUALITY", tmp_path / "quality.json")
    rows = {"noise": {"typicality": [0.0, 2.0]}, "clean": {}}
    harm.QUALITY.write_text(json.dumps({"all": {"rows": rows}}))
    pictures = tmp_path / "pictures"
    for kind, name, picture in (
        ("noisy", "1", np.random.default_rng(0).normal(128, 40, (64, 64))),
        ("flat", "1", np.full((64, 64), 128.0)),
    ):
        (pictures / "choose" / kind).mkdir(parents=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(
            pictures / "choose" / kind / f"{name}.png"
        )
    out = tmp_path / "harm.json"
    command = ["--pictures", str(pictures), "--role", "choose", "--drawn", "1", "--out", str(out)]
    command += ["--set", "max_harm=0.25"]
    harm.main([*command, "--kinds", "flat"])
    harm.main(command)
    log = out.with_suffix(".jsonl").read_text()
    record = json.loads(out.read_text())
    assert [row["kind"] for row in record["pictures"]] == ["drawn ramp", "flat", "noisy"]
    noisy = record["pictures"][2]
    assert noisy["outcome"] == "restored"
    assert noisy["found"] == ["noise corrected"]
    assert noisy["worst_window"] < harm_page.RUINED_WINDOW
    page = out.with_suffix(".md").read_text()
    assert "| noisy | 1 | 1 | 1 | 100.0% (2.5% to 100.0%) | 1 | 1 |" in page
    assert "| flat | 1 | 0 | 0 | 0.0% (0.0% to 97.5%) | 0 | 0 |" in page
    assert "| noise | 0.500 | 0.500 |" in page
    with Image.open(tmp_path / "harm-worst.png") as sheet:
        assert sheet.size == (768, 256)
    harm.main(command)
    assert out.with_suffix(".jsonl").read_text() == log


def test_pages_are_given_as_they_are_drawn() -> None:
    page = clean_pictures.CleanPicture("drawn text", "5", seed=5)
    assert page.drawn
    assert not page.photograph
    assert np.array_equal(
        page.pixels()[..., 0], np.asarray(draw_page("text", 5), np.float32) / np.float32(255)
    )
