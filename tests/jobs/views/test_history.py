"""The runs in a table: those that ended, those that were cut off, and the one that is under way."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner

from jobs.cli import main
from jobs.views.history import CUT_OFF, HEADS, UNDER_WAY, history_rows
from pipeline.records.lease import FOLDER, identity
from pipeline.records.manifest import Status, folder_of, to_parquet, to_table
from pipeline.records.summary import RunSummary, run_folder
from pipeline.storage.store import Store, open_store

ENDED, DEAD, ALIVE = "20260101T020000-a", "20260102T020000-b", "20260103T020000-c"


def write_run(store: Store, epoch: int, run_id: str, *statuses: Status) -> None:
    """Leave behind what a run under way leaves."""
    holder = {"run_id": run_id, "seconds": 60, "released": False, **identity()}
    store.write(f"{FOLDER}/{epoch:010d}", json.dumps(holder).encode())
    rows = to_table([{"source_uri": str(n), "status": status.value} for n, status in enumerate(statuses)])
    store.write(f"{folder_of(run_id)}/part-000000.parquet", to_parquet(rows))
    store.write(f"{run_folder(run_id)}/listing/part-000000.parquet", b"")


def test_every_night_has_its_line(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    counts = {
        "restored": 5,
        "unchanged": 2,
        "rejected": 0,
        "failed": 1,
        "carried": 9,
        "left": 3,
        "ignored": 0,
    }
    write_run(store, 1, ENDED, Status.RESTORED)
    RunSummary(ENDED, store.uri(), counts, 0, {}, 75.0, stopped="its 2 hours are over").store(store)
    write_run(store, 2, DEAD, Status.RESTORED, Status.RESTORED, Status.FAILED)
    write_run(store, 3, ALIVE, Status.UNCHANGED)
    ended, dead, alive = history_rows(str(tmp_path))
    assert ended == (ENDED, "2026-01-01 02:00 UTC", "1m 15s", "5", "2", "0", "1", "9", "3", "5")
    assert dead[2:] == ("-", "2", "0", "0", "1", "-", "-", CUT_OFF)
    assert alive[2:] == ("-", "0", "1", "0", "0", "-", "-", UNDER_WAY)

    # a process of that number, but not that one
    holder = {"run_id": ALIVE, "seconds": 60, "released": False, **identity(), "pid": os.getppid()}
    store.write(f"{FOLDER}/0000000003", json.dumps(holder).encode())
    assert list(history_rows(str(tmp_path)))[-1][-1] == CUT_OFF

    table = CliRunner().invoke(main, ["history", str(tmp_path)]).stdout.splitlines()
    assert table[0].split() == list(HEADS)
    assert [line.split()[0] for line in table[1:]] == [ENDED, DEAD, ALIVE]


def test_a_destination_without_anything_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["history", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no restored images" in result.stderr
