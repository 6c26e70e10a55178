"""What a run says of its end: to a person, to whatever retries it, and in its record."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from standin import StandIn

from pipeline.records.summary import ExitStatus, RunSummary, read_record
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store


@pytest.mark.parametrize(
    ("values", "status", "for_retries"),
    [
        ({}, ExitStatus.DONE, ExitStatus.DONE),
        ({"counts": {"failed": 1}}, ExitStatus.SOME_FAILED, ExitStatus.DONE),
        ({"carried_failed": 1}, ExitStatus.SOME_FAILED, ExitStatus.DONE),
        ({"stopped": "its 6 hours are over"}, ExitStatus.STOPPED, ExitStatus.DONE),
        ({"stopped": "it was asked to", "interrupted": True}, ExitStatus.STOPPED, ExitStatus.STOPPED),
    ],
)
def test_only_an_interrupted_run_is_worth_another_attempt(
    values: dict[str, Any], status: ExitStatus, for_retries: ExitStatus
) -> None:
    summary = RunSummary(
        **{"counts": {}, "carried_failed": 0, **values}, run_id="", dest="", ignored={}, seconds=0
    )
    assert (summary.exit_status, summary.status_for_retries) == (status, for_retries)


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_run_knows_whether_it_was_interrupted_and_records_its_status(
    source: Path, tmp_path: Path, interrupted: bool
) -> None:
    stop, settings = threading.Event(), RunSettings(max_hours=1 if interrupted else 1e-9)
    if interrupted:
        stop.set()
    dest = tmp_path / "dest"
    summary = restore_dataset(str(source), str(dest), settings, restorer_factory=StandIn(), stop=stop)
    assert (summary.exit_status, summary.interrupted) == (ExitStatus.STOPPED, interrupted)
    record = read_record(open_store(str(dest)), summary.run_id)
    assert record is not None
    assert (record["exit_status"], record["interrupted"]) == (5, interrupted)
