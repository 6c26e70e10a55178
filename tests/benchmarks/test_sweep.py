"""A tuned number is swept wherever it is read, and put back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.scenes import photographs
from i2r.correction.denoising import DENOISING
from i2r.screening.graininess import GRAIN, starts
from i2r.training.degradation import FloatImage


@pytest.fixture
def images() -> dict[str, FloatImage]:
    return {name: image[:64, :64] for name, image in list(photographs().items())[:1]}


def test_a_field_is_swept(
    images: dict[str, FloatImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = DENOISING.entry
    monkeypatch.setattr(sweep, "photographs", lambda: images)
    field = "correction.denoising.DENOISING.entry"
    sweep.main([field, "0.1", "1.05", "--rows", "noise 25/255", "clean", f"--out={tmp_path}"])
    assert before == DENOISING.entry
    page = (tmp_path / f"{field}.md").read_text()
    little, usual = (float(line.split(" | ")[1].removesuffix(" dB")) for line in page.splitlines()[6:8])
    assert usual > little + 2
    assert "of 1 changed" in page


def test_a_changed_field_is_put_back_after_an_error() -> None:
    before = GRAIN.step, len(starts(320))
    with suppress(ZeroDivisionError), sweep.changed("screening.graininess.GRAIN.step", 8):
        assert len(starts(320)) > before[1]
        raise ZeroDivisionError
    assert (GRAIN.step, len(starts(320))) == before


@pytest.mark.parametrize("field", ["screening.graininess.GRAIN.steps", "screening.graininess.GRAINS.step"])
def test_an_unknown_field_is_refused(field: str) -> None:
    with pytest.raises(AttributeError, match="no attribute"), sweep.changed(field, 8):
        raise AssertionError
