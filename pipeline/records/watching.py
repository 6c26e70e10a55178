"""Progress of a run, from what it has recorded at its destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records.lease import epochs, read_holder
from pipeline.records.manifest import (
    STAGES,
    ManifestFile,
    Status,
    manifest_files,
    megapixels,
    read_batches,
    row_count,
    seconds_by_stage,
)
from pipeline.records.summary import (
    DONE,
    FIRST_IMAGE,
    RESTORING,
    STOPPED,
    Progress,
    read_record,
    read_records,
    run_folder,
)
from pipeline.storage.store import Store

_COLUMNS = ("status", "timings", "finished_at", "width", "height")


class RunWatch:
    """Reads the progress of a run repeatedly, each part of the manifest once.

    Args:
        store: the destination.
        submission: value of `I2R_SUBMISSION` in the run's process.
    """

    def __init__(self, store: Store, submission: str) -> None:
        self._store, self._submission = store, submission
        self._run_id, self._epoch = "", 0
        self._total = 0
        self._forget()

    def look(self) -> Progress | None:
        """The current progress; None while there is no such run.

        Raises:
            ItemError: the destination cannot be read.
        """
        if not self._find():
            return None
        if record := read_record(self._store, self._run_id):
            return progress_of(record)
        if not self._counts:
            self._total = self._count_pending()
        self._read(manifest_files(self._store, self._run_id))
        done = self._counts.total()
        return Progress(
            done=done,
            total=max(self._total, done),
            failed=self._counts[Status.FAILED],
            seconds=max(self._last - self._first, 0.0) if done else 0.0,
            stage=RESTORING if done else FIRST_IMAGE if self._total else "listing",
            counts=dict(self._counts),
            stage_seconds=dict(self._stage_seconds),
            megapixels=self._megapixels,
        )

    def was_cut_off(self) -> bool:
        """Whether the run has neither a record nor released its lease: then its process died."""
        if not self._find() or read_record(self._store, self._run_id):
            return False
        return not read_holder(self._store, self._epoch).get("released")

    def record(self) -> dict[str, Any] | None:
        """The run's record, which it writes at its end; None before that."""
        return read_record(self._store, self._run_id) if self._find() else None

    def _find(self) -> bool:
        """Find the run of the submission. Returns whether there is one."""
        if self._run_id:
            return True
        for epoch in reversed(epochs(self._store)):
            holder = read_holder(self._store, epoch)
            if holder.get("submission") == self._submission:
                self._run_id, self._epoch = str(holder["run_id"]), epoch
                return True
        for record in reversed(read_records(self._store)):  # only the last leases are kept
            if record["details"].get("submission") == self._submission:
                self._run_id = str(record["run_id"])
                return True
        return False

    def _count_pending(self) -> int:
        folder = f"{run_folder(self._run_id)}/pending"
        names = [name for name in self._store.names(folder) if name.startswith("1-")]
        try:
            return sum(row_count(self._store, f"{folder}/{name}") for name in names)
        except FileNotFoundError:
            return 0  # the run has just ended

    def _forget(self) -> None:
        self._known: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._stage_seconds: Counter[str] = Counter()
        self._megapixels = 0.0
        self._first, self._last = float("inf"), 0.0

    def _read(self, files: Sequence[ManifestFile]) -> None:
        """Add rows of new parts; start again from zero when parts were merged."""
        if not self._known <= {file.key for file in files}:
            self._forget()
        for file in files:
            if file.key in self._known:
                continue
            try:
                for batch in read_batches(self._store, file.key, _COLUMNS):
                    self._add(batch)
            except FileNotFoundError:
                return  # the parts are just being merged
            self._known.add(file.key)

    def _add(self, rows: pa.RecordBatch) -> None:
        self._counts.update(rows["status"].to_pylist())
        self._stage_seconds.update(seconds_by_stage(rows))
        self._megapixels += megapixels(rows)
        ended = rows["finished_at"].cast(pa.int64()).to_numpy() / 1e6
        taken = sum(pc.fill_null(pc.struct_field(rows["timings"], name), 0.0).to_numpy() for name in STAGES)
        if len(ended):
            self._first = min(self._first, float(np.min(ended - taken)))
            self._last = max(self._last, float(np.max(ended)))


def progress_of(record: Mapping[str, Any]) -> Progress:
    """The final progress of a run, from its record."""
    counts = {name: number for name, number in record["counts"].items() if name in set(Status)}
    done = sum(counts.values())
    return Progress(
        done=done,
        total=done + record["counts"]["left"],
        failed=counts.get(Status.FAILED, 0),
        seconds=record["seconds"],
        stage=STOPPED if record["stopped"] else DONE,
        counts=counts,
        stage_seconds=record["details"].get("stage_seconds", {}),
        megapixels=record["details"].get("megapixels", 0.0),
    )
