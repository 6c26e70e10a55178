"""A destination of an older version: whatever reads it does, and nothing is restored again."""

from __future__ import annotations

from pathlib import Path

import pytest
from older_manifests import make_older
from small_images import write_image
from standin import BROKEN, CLEAN, DOUBTFUL
from test_run import restore, rows

from jobs.views.history import history_rows
from jobs.views.report import write_report
from jobs.views.tables import print_status
from pipeline.records.cleaning import clean_dataset
from pipeline.records.verify import read_status, verify_dataset

pytestmark = pytest.mark.usefixtures("ray_here")


def test_a_destination_of_an_older_version_goes_on(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "dest"
    write_image(source / "broken.png", 52, mark=BROKEN)
    write_image(source / "clean.png", 53, mark=CLEAN)
    assert restore(source, dest).findings == {"corrected": {"noise": 6}}
    make_older(dest)

    older = rows(dest)
    assert {row["schema_version"] for row in older.values()} == {1}
    assert {row["findings"] for row in older.values()} == {None}
    status = read_status(str(dest))
    assert (status.inputs, status.findings) == (8, {})
    print_status(status)
    assert "found" not in capsys.readouterr().out
    assert len(list(history_rows(str(dest)))) == 1
    page = Path(write_report(str(dest)).removeprefix("file://")).read_text()
    assert "What was found" not in page
    assert verify_dataset(str(dest)).faults == []
    assert list(clean_dataset(str(dest), delete=True)) == []

    write_image(source / "doubtful.png", 54, mark=DOUBTFUL)
    (source / "album-0/0.png").unlink()
    summary = restore(source, dest, prune=True, retry_failed=True)
    assert (summary.counts["carried"], summary.counts["failed"], summary.pruned) == (6, 1, 1)
    assert summary.findings == {"suspected": {"marks": 1}}
    newest = rows(dest)
    assert newest["doubtful.png"]["status"] == "unchanged"
    assert (dest / "doubtful.png").read_bytes() == (source / "doubtful.png").read_bytes()
    [marks] = newest["doubtful.png"]["findings"]
    assert (marks["what"], marks["action"], marks["gain"]) == ("marks", "suspected", None)
    assert newest["clean.png"]["schema_version"] == 1
    assert newest["broken.png"]["findings"] is None

    print_status(read_status(str(dest)))
    assert "found: 1 marks suspected\n" in capsys.readouterr().out
    page = Path(write_report(str(dest)).removeprefix("file://")).read_text()
    assert "Suspected, and left as it is: 1 of 1" in page
    assert "marks suspected, 97 % sure, 25 % of the pixels in 1 place" in page
    assert verify_dataset(str(dest)).faults == []
