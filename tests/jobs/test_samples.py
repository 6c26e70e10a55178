"""The sample photographs are what their list says."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from jobs.demo import DEGRADATION_OF


def test_each_sample_has_its_line_with_a_free_licence(samples: Path) -> None:
    lines = re.findall(
        r"^\| `(.+?)` \|.*\| (.+?) \|.*\|.*\|$", (samples / "SOURCES.md").read_text(), re.MULTILINE
    )
    assert {name for name, _ in lines} == {str(path.relative_to(samples)) for path in samples.glob("*/*")}
    assert {licence for _, licence in lines} <= {"public domain", "CC0 1.0", "CC BY 2.0", "CC BY 4.0"}


def test_samples_are_colour_and_large_enough(samples: Path) -> None:
    paths = list(samples.glob("*/*"))
    assert len(paths) >= 8
    for path in paths:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) >= 256


def test_each_clean_sample_is_degraded_in_its_own_way(samples: Path) -> None:
    assert {path.stem for path in (samples / "clean").iterdir()} == set(DEGRADATION_OF)
    assert len(set(DEGRADATION_OF.values())) == len(DEGRADATION_OF) == 6
