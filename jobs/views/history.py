"""`i2r history`: a table of the runs of a destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from jobs.views.progress import duration
from pipeline.records.lease import epochs, is_dead, read_holder
from pipeline.records.manifest import Status, manifest_files, read_batches
from pipeline.records.summary import RUNS, ExitStatus, read_record
from pipeline.records.verify import open_dataset
from pipeline.storage.store import Store

HEADS = ("run", "began", "took", *Status, "carried", "left", "exit")
UNDER_WAY, CUT_OFF, UNKNOWN = "under way", "cut off", "-"


def history_rows(dest: str) -> Iterator[tuple[str, ...]]:
    """Yield a line for each run, oldest first, with the columns of `HEADS`; also for runs without a record.

    Raises:
        SettingsError: no run has written to the destination.
    """
    store = open_dataset(dest)
    for run_id in sorted({name.removesuffix(".json") for name in store.names(RUNS)}):
        if record := read_record(store, run_id):
            counts = [str(record["counts"][name]) for name in (*Status, "carried", "left")]
            took, end = duration(record["seconds"]), str(int(exit_status(record)))
        else:
            found = _count(store, run_id)
            counts = [*(str(found[status]) for status in Status), UNKNOWN, UNKNOWN]
            took, end = UNKNOWN, UNDER_WAY if is_under_way(store, run_id) else CUT_OFF
        began = datetime.strptime(run_id.split("-")[0], "%Y%m%dT%H%M%S")
        yield run_id, f"{began:%Y-%m-%d %H:%M} UTC", took, *counts, end


def exit_status(record: Mapping[str, Any]) -> ExitStatus:
    """The exit status of a run, from its record."""
    if record["stopped"]:
        return ExitStatus.STOPPED
    failed = record["counts"][Status.FAILED] + record["carried_failed"]
    return ExitStatus.SOME_FAILED if failed else ExitStatus.DONE


def _count(store: Store, run_id: str) -> Counter[str]:
    """Number of rows of a run by status."""
    found: Counter[str] = Counter()
    for file in manifest_files(store, run_id):
        for batch in read_batches(store, file.key, ("status",)):
            found.update(batch["status"].to_pylist())
    return found


def is_under_way(store: Store, run_id: str) -> bool:
    """Whether a run without a record still writes, as far as its lease says."""
    held = epochs(store)
    holder = read_holder(store, held[-1]) if held else {}
    return holder.get("run_id") == run_id and not holder.get("released") and not is_dead(holder)
