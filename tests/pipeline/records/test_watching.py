"""How far a run is, read from what it has recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.records.lease import FOLDER, identity
from pipeline.records.manifest import Status, compact, folder_of, to_parquet, to_table
from pipeline.records.summary import RunSummary, run_folder
from pipeline.records.watching import RunWatch
from pipeline.storage.store import Store, open_store

RUN, MARK = "20260101T000000-abc", "job/1"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def hold(store: Store, epoch: int, **holder: Any) -> None:
    content = {"run_id": RUN, "seconds": 60, "released": False, **identity(), "submission": MARK, **holder}
    store.write(f"{FOLDER}/{epoch:010d}", json.dumps(content).encode())


def put_pending(store: Store, count: int) -> None:
    table = pa.table({"source_uri": [str(number) for number in range(count)]})
    store.write(f"{run_folder(RUN)}/pending/1-000000.parquet", to_parquet(table))


def put_rows(store: Store, part: int, *statuses: Status) -> None:
    """A part whose rows took a second each, one after the other."""
    rows = [
        {
            "source_uri": f"{part}-{number}",
            "status": status.value,
            "timings": {"restore": 0.75, "store": 0.25},
            **({} if status is Status.FAILED else {"width": 1000, "height": 500}),
            "finished_at": START + timedelta(seconds=10 * part + number),
        }
        for number, status in enumerate(statuses)
    ]
    store.write(f"{folder_of(RUN)}/part-{part:06d}.parquet", to_parquet(to_table(rows)))


def test_there_may_be_no_such_run(store: Store) -> None:
    hold(store, 1, submission="job/another")
    watch = RunWatch(store, MARK)
    assert watch.look() is None
    assert watch.record() is None
    assert not watch.was_cut_off()


def test_it_is_told_by_its_rows_on_the_way(store: Store) -> None:
    hold(store, 3)
    hold(store, 4, submission="job/another", run_id="other")
    watch = RunWatch(store, MARK)
    before = watch.look()
    assert before is not None
    assert (before.stage, before.done, before.seconds_left) == ("listing", 0, None)
    put_pending(store, 8)
    waiting = watch.look()
    assert waiting is not None
    assert (waiting.stage, waiting.done, waiting.total) == ("restoring the first image", 0, 8)
    put_rows(store, 0, Status.RESTORED, Status.FAILED)
    put_rows(store, 1, Status.RESTORED)
    progress = watch.look()
    assert progress is not None
    assert (progress.done, progress.total, progress.failed, progress.stage) == (3, 8, 1, "restoring")
    assert progress.counts == {"restored": 2, "failed": 1}
    assert progress.slowest_stage == "restore"
    assert progress.megapixels == 1.0
    assert progress.seconds == pytest.approx(11.0)  # from the first one's start to the last one's end
    put_rows(store, 2, Status.UNCHANGED)
    assert (later := watch.look()) is not None
    assert later.done == 4


def test_merged_parts_are_not_counted_twice(store: Store) -> None:
    hold(store, 1)
    put_pending(store, 3)
    watch = RunWatch(store, MARK)
    for part in range(3):
        put_rows(store, part, Status.RESTORED)
    watch.look()
    compact(store, RUN)
    progress = watch.look()
    assert progress is not None
    assert (progress.done, progress.total, progress.megapixels) == (3, 3, 1.5)


def test_a_run_without_an_end_was_cut_off(store: Store) -> None:
    hold(store, 1)
    assert RunWatch(store, MARK).was_cut_off()
    hold(store, 1, released=True)
    assert not RunWatch(store, MARK).was_cut_off()


def test_its_record_says_what_it_came_to(store: Store) -> None:
    counts = {
        "restored": 5,
        "unchanged": 0,
        "rejected": 0,
        "failed": 1,
        "carried": 2,
        "left": 3,
        "ignored": 0,
    }
    details = {"submission": MARK, "stage_seconds": {"fetch": 9.0, "restore": 2.0}, "megapixels": 2.5}
    summary = RunSummary(RUN, store.uri(), counts, 0, {}, 60.0, stopped="it was told to", details=details)
    summary.store(store)  # whose lease is long gone
    watch = RunWatch(store, MARK)
    progress = watch.look()
    assert progress is not None
    assert (progress.done, progress.total, progress.failed, progress.stage) == (6, 9, 1, "stopped")
    assert progress.slowest_stage == "fetch"
    assert progress.megapixels == 2.5
    assert not watch.was_cut_off()
