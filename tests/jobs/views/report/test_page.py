"""The page as files: what it says of a run in any state, and where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from destinations import RUN, Made, make_destination

from jobs.cli import main
from jobs.views.report.page import write_report
from pipeline.errors import SettingsError
from pipeline.records.manifest import Status
from pipeline.storage.store import open_store

BAD = [Made("<b>.jpg", Status.FAILED, b"hello"), Made("same.jpg", Status.UNCHANGED, b"x", b"x")]


def index(address: str) -> str:
    return Path(address.removeprefix("file://")).read_text()


def test_a_page_says_why_pictures_failed_and_what_to_do(tmp_path: Path) -> None:
    dest = make_destination(tmp_path, BAD)
    result = CliRunner().invoke(main, ["report", str(dest)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == f"file://{dest}/_i2r/report/{RUN}/index.html"
    text = index(result.stdout.strip())
    assert "Of 2 pictures, 1 stays as it is, and 1 failed." in text
    assert "No picture, or a broken one." in text
    assert "script-src 'self'" in text
    folder = dest / "_i2r/report" / RUN
    assert {file.name for file in folder.iterdir()} == {
        *("index.html", "glossary.html", "page.css", "data-000.js"),
        *("words.js", "pictures.js", "grid.js", "stage.js", "card.js", "main.js"),
    }
    assert "cannot be read" not in text
    assert '"no_after"' in (folder / "data-000.js").read_text()  # it is no picture at all


@pytest.mark.parametrize(
    ("pictures", "ended", "said"),
    [
        ([], True, "Nothing was left to do: 3 pictures were done before."),
        ([], False, "Under way: no picture is done yet."),
        (BAD[1:], False, "Under way: of 1 picture so far, 1 stays as it is."),
    ],
)
def test_a_run_without_pictures_or_end_has_a_page(
    tmp_path: Path, pictures: list[Made], ended: bool, said: str
) -> None:
    text = index(write_report(str(make_destination(tmp_path, pictures, ended=ended, carried=3))))
    assert said in text.replace("&#39;", "'")
    assert ("no pictures" in text) == (not pictures)


def test_a_bucket_says_what_the_files_are(tmp_path: Path, bucket: str) -> None:
    dest = make_destination(tmp_path, BAD)
    address = write_report(str(dest), out=f"{bucket}/page")
    assert address == f"{bucket}/page/index.html"
    store = open_store(bucket)

    def kind(name: str) -> str:
        return str(store.fs.call_s3("head_object", Bucket=store.root, Key=f"page/{name}")["ContentType"])

    assert (kind("index.html"), kind("page.css")) == ("text/html", "text/css")
    assert "javascript" in kind("main.js")


def test_a_page_lies_where_somebody_wants_it_but_in_no_source_or_destination(tmp_path: Path) -> None:
    dest = make_destination(tmp_path, BAD)
    address = write_report(str(dest), out=str(tmp_path / "page"))
    assert address == f"file://{tmp_path}/page/index.html"
    assert not (tmp_path / "page" / "_i2r").exists()
    assert '"before":"../in/","after":"../out/"' in index(address)
    with pytest.raises(SettingsError, match="is a destination of runs"):
        write_report(str(dest), out=str(dest))
    with pytest.raises(SettingsError, match="lies in the source"):
        write_report(str(dest), out=str(tmp_path / "in" / "page"))
    with pytest.raises(SettingsError, match="has no run yesterday"):
        write_report(str(dest), "yesterday")
