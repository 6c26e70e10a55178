"""What is said of objects that are no inputs."""

from __future__ import annotations

import pytest

from pipeline.records import ignored
from pipeline.records.ignored import in_words


def test_files_that_people_take_for_images_get_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ignored, "SUPPORTED_EXTENSIONS", {".jpg": "JPEG"})
    counts = {".txt": 4, ".heic": 3, ".gif": 1, ".cr2": 2, ".nef": 1}
    first, *advice = in_words(counts)
    assert first == "ignored: 2 .cr2, 1 .gif, 3 .heic, 1 .nef, 4 .txt"
    assert [line.partition(":")[0].strip() for line in advice] == [".heic", ".cr2, .nef", ".gif"]
    assert "pip install 'invert2restore[heif]'" in advice[0]


def test_what_can_be_read_gets_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ignored, "SUPPORTED_EXTENSIONS", {".heic": "HEIF"})
    assert list(in_words({".heic": 3})) == ["ignored: 3 .heic"]  # excluded
    assert list(in_words({})) == []
