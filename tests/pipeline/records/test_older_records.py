"""A destination with rows of an older and of this version, and what reads it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from older_manifests import make_older
from small_images import write_image

from i2r import Action, Finding, What
from jobs.views.history import history_rows
from jobs.views.report.page import write_report
from jobs.views.tables import print_status
from pipeline.records.cleaning import clean_dataset
from pipeline.records.findings import to_column
from pipeline.records.manifest import folder_of, to_parquet, to_table
from pipeline.records.summary import RunSummary, read_records
from pipeline.records.verify import newest_rows, read_status, verify_dataset
from pipeline.records.watching import progress_of
from pipeline.settings import RunSettings
from pipeline.storage.store import Store, open_store

MARKS = Finding(What.MARKS, 0.97, 0.25, Action.SUSPECTED, parameters={"boxes": [[0, 0, 12, 12]]})
NOISE = Finding(What.NOISE, 1.0, 1.0, Action.CORRECTED)
OLD, NEW = "20260101T000000-old", "20260102T000000-new"


def record(dest: Store, run_id: str, found: dict[str, tuple[str, list[Finding]]]) -> None:
    """A finished run with rows and objects, given the status and the findings of each key."""
    now, epoch = datetime(2026, 1, 1, tzinfo=UTC), 1 + (run_id == NEW)
    rows: list[dict[str, Any]] = [
        {
            "schema_version": 2,
            "run_id": run_id,
            "source_uri": f"file:///gone/{key}",
            "source_key": key,
            "settings_sha256": "settings",
            "prior": "photo-64",
            "status": status,
            "output_uri": dest.uri(key),
            "output_sha256": hashlib.sha256(dest.read(key)).hexdigest(),
            "findings": to_column(findings),
            "timings": {},
            "epoch": epoch,
            "attempts": 1,
            "finished_at": now,
        }
        for key, (status, findings) in found.items()
    ]
    dest.write(f"{folder_of(run_id)}/rows-00000-of-00001.parquet", to_parquet(to_table(rows)))
    counts = dict.fromkeys(("restored", "unchanged", "rejected", "failed", "carried", "left", "ignored"), 0)
    details = {
        "source": "file:///gone",
        "prior": "photo-64",
        "settings": RunSettings().model_dump(mode="json"),
        "finished_at": now.isoformat(),
    }
    summary = RunSummary(run_id, dest.uri(), counts | {"unchanged": len(rows)}, 0, {}, 1.0, details=details)
    summary.store(dest)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    for number, key in enumerate("abc"):
        write_image(tmp_path / f"{key}.png", number)
    store = open_store(str(tmp_path))
    record(store, OLD, {"a.png": ("restored", [NOISE]), "b.png": ("restored", [NOISE])})
    make_older(tmp_path)
    return tmp_path


def test_rows_without_findings_are_read_as_before(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(dest))
    [batch] = newest_rows(store, ("schema_version", "source_key", "findings"))
    assert batch.column("findings").to_pylist() == [None, None]
    assert batch.column("schema_version").to_pylist() == [1, 1]
    status = read_status(str(dest))
    assert (status.inputs, status.findings) == (2, {})
    print_status(status)
    assert "found" not in capsys.readouterr().out
    assert [row[0] for row in history_rows(str(dest))] == [OLD]
    assert [progress_of(one).done for one in read_records(store)] == [2]
    assert "Found:" not in Path(write_report(str(dest)).removeprefix("file://")).read_text()
    assert verify_dataset(str(dest)).faults == []
    assert list(clean_dataset(str(dest), delete=False)) == []


def test_they_are_joined_with_newer_ones(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(open_store(str(dest)), NEW, {"b.png": ("unchanged", [MARKS]), "c.png": ("restored", [NOISE])})
    status = read_status(str(dest))
    assert (status.inputs, status.generations[0].superseded) == (3, 1)
    assert status.findings == {"corrected": {"noise": 1}, "suspected": {"marks": 1}}
    print_status(status)
    assert "found: 1 noise corrected; 1 marks suspected\n" in capsys.readouterr().out
    verification = verify_dataset(str(dest))
    assert (verification.checked, verification.faults) == (3, [])
    assert list(clean_dataset(str(dest), delete=True)) == []
    page = Path(write_report(str(dest)).removeprefix("file://"))
    assert "Found: 1 noise corrected; 1 marks suspected." in page.read_text()
    assert "97 % sure, 25 % of the pixels in 1 place" in (page.parent / "data-000.js").read_text()
    assert json.loads((dest / f"_i2r/runs/{NEW}.json").read_text())["findings"] == {}
