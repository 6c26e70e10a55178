"""The benchmark of screening in proportion, on pictures of a size that costs nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import proportion


def test_every_case_is_of_as_many_pictures_as_any_other() -> None:
    shown = [proportion.shown(proportion.cases(), index, 3) for index in range(19)]
    assert all(cases[0] == proportion.CLEAN and len(set(cases)) == 4 for cases in shown)
    counts = Counter(case for cases in shown for case in cases[1:])
    assert counts == dict.fromkeys(proportion.cases()[1:], 3)
    assert proportion.shown(["rain 5 %"], 7, 20) == [proportion.CLEAN, "rain 5 %"]


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proportion, "LEAST", 0)
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        smooth = np.kron(rng.integers(40, 200, (4, 4, 3)), np.ones((16, 16, 1)))
        Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / f"{name}.png")
    out = tmp_path / "proportion.md"
    command = ["--pictures", str(tmp_path), "--out", str(out), "--threads", "1"]
    command += ["--a-picture", "1", "--cases", "noise 25/255"]
    proportion.main([*command, "--names", "other"])
    assert "| noise 25/255 | 1 |" in out.read_text()
    made = out.with_suffix(".jsonl").read_text()
    proportion.main(command)
    assert out.with_suffix(".jsonl").read_text().startswith(made)
    assert "| clean | 2 | 0.5000 | 0.5000 |" in out.read_text()
    assert "| noise 25/255 | 2 |" in out.read_text()
