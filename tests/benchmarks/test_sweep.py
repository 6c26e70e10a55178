"""A constant is swept where it is read, and put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.scenes import photographs
from i2r.correction import rectification
from i2r.training.degradation import FloatImage


@pytest.fixture
def images() -> dict[str, FloatImage]:
    return {name: image[:64, :64] for name, image in list(photographs().items())[:1]}


def test_a_constant_is_swept(
    images: dict[str, FloatImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rectification.ENTRY
    monkeypatch.setattr(sweep, "photographs", lambda: images)
    constant = "i2r.correction.rectification.ENTRY"
    sweep.main([constant, "0.1", "1.05", "--rows", "noise 25/255", "clean", f"--out={tmp_path}"])
    assert before == rectification.ENTRY
    page = (tmp_path / f"{constant}.md").read_text()
    little, usual = (float(line.split(" | ")[1].removesuffix(" dB")) for line in page.splitlines()[6:8])
    assert usual > little + 2
    assert "of 1 changed" in page
