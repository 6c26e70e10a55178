"""The page about a run: whole, of one piece, and safe to open whatever the archive's keys are."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pictures import png
from PIL import Image

from i2r import Action, Finding, What
from jobs.cli import main
from jobs.views.report import FAILURES, PAIRS, SUSPECTED, Overview
from pipeline.records.findings import COLUMN, to_column
from pipeline.records.manifest import Status

BAR = (0x4A, 0x6F, 0xA5)
"""The colour of the charts."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NASTY = "<script>alert('x')</script>&.png".replace("/", "%")


class Page(HTMLParser):
    """Tags of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """A destination with three results and two failures, of a source that has lost an image since."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "in").mkdir()
    for name in ("a.png", "gone.png", NASTY):
        png(len(name)).save(folder / "in" / name)
    for name in ("x.png", f"b{NASTY}"):
        (folder / "in" / name).write_text("hello")
    result = CliRunner().invoke(main, ["restore", str(folder / "in"), str(folder / "out"), *flags])
    assert result.exit_code == 3, result.stderr
    (folder / "in" / "gone.png").unlink()
    return folder / "out"


def test_the_page_is_whole_and_of_one_piece(dest: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(dest)])
    assert result.exit_code == 0, result.stderr
    text = Path(result.stdout.strip().removeprefix("file://")).read_text()
    assert result.stdout.strip().startswith(f"file://{dest}/_i2r/report/")
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in [
        attributes for _, attributes in page.tags
    ]
    assert names.count("img") == 5  # two of three images before, all three after
    assert names.count("svg") >= 3
    assert all(str(attributes["src"]).startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert not any("href" in attributes for _, attributes in page.tags)
    assert "&lt;script&gt;alert(" in text
    assert "gone.png is not there" in text
    assert "unreadable" in text
    assert "What was found" in text


def test_the_history_has_a_line_for_a_run(dest: Path) -> None:
    result = CliRunner().invoke(main, ["history", str(dest)])
    heads, night = (line.split() for line in result.stdout.splitlines())
    assert heads[:3] == ["run", "began", "took"]
    assert night[-7:] == ["3", "0", "0", "2", "0", "0", "3"]


def test_a_run_that_is_not_there_is_an_error(dest: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(dest), "--run", "yesterday"])
    assert result.exit_code == 2
    assert "has no finished run yesterday" in result.stderr


def test_a_page_stays_small_however_many_rows_there_are() -> None:
    def row(number: int, status: Status) -> dict[str, object]:
        timings = dict.fromkeys(("fetch", "decode", "restore", "encode", "store"), 0.1)
        key = f"{number}.png"
        return {
            "source_uri": f"s3://b/{key}", "source_key": key, "status": status.value, "error_code": "timeout",
            "width": 10, "height": 10, "timings": timings,
        }  # fmt: skip

    def doubtful(number: int) -> dict[str, object]:
        marks = Finding(What.MARKS, number / 1000, 0.1, Action.SUSPECTED)
        return row(number, Status.UNCHANGED) | {COLUMN: to_column([marks])}

    overviews = [Overview(), Overview()]
    rows = [row(number, status) for status in Status for number in range(500) if status != "unchanged"]
    rows += [doubtful(number) for number in range(500)]
    for overview, order in zip(overviews, (rows, rows[::-1]), strict=True):
        for one in order:
            overview.add(one)
    for status, most in {**PAIRS, Status.FAILED: FAILURES}.items():
        assert len(overviews[0].chosen(status)) == most
        assert overviews[0].chosen(status) == overviews[1].chosen(status)
    assert overviews[0].counts == dict.fromkeys(Status, 500)
    assert overviews[0].findings == {("suspected", "marks"): 500}
    surest = [f"{number}.png" for number in range(499, 499 - SUSPECTED, -1)]
    assert [key for key, _ in overviews[0].suspected()] == surest
    assert overviews[0].suspected() == overviews[1].suspected()


def test_a_browser_shows_charts_and_pictures(dest: Path, tmp_path: Path) -> None:
    if (browser := shutil.which("chromium")) is None:
        pytest.skip("chromium is not installed: Debian has it in its package of that name")
    address = CliRunner().invoke(main, ["report", str(dest)]).stdout.strip()
    subprocess.run(
        [
            *(
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path / 'profile'}",
            ),
            *(f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,1600", address),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    with Image.open(tmp_path / "page.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (pixels == BAR).all(axis=1).sum() > 500
    assert len(np.unique(pixels, axis=0)) > 1000, "the pictures are not there: each is of noise"
