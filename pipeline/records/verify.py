"""What lies at a destination: the newest row of every source, and whether its object is as the row says."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.records.buckets import DIGEST, Buckets, bucket_count, digests, newest
from pipeline.records.lease import describe, epochs, is_dead, read_holder
from pipeline.records.manifest import ManifestFile, Status, manifest_files, read_batches, total_rows
from pipeline.records.summary import OnProgress, Progress, read_records, silent
from pipeline.storage import Store, open_store

READS = 16
"""Objects that are checked at once."""

_STATUS = ("settings_sha256", "prior", "status", "error_code", "finished_at")
_CHECKED = ("run_id", "source_uri", "output_uri", "output_sha256", "status")
_ORDER = ("source_uri", "epoch", "attempts", "finished_at")
_ENTRY = np.dtype([*DIGEST, ("epoch", "<i8"), ("attempts", "<i4"), ("finished", "<i8"), ("index", "<i8")])


@dataclass(frozen=True, order=True)
class Group:
    """Inputs that share settings, prior and status."""

    settings_sha256: str
    prior: str
    status: str


@dataclass(frozen=True)
class Generation:
    """All that was done with one prior and settings, whether or not something newer took its place.

    Attributes:
        settings_sha256, prior: which they were.
        inputs: whose newest row is of this generation.
        superseded: rows that newer ones took the place of.
        last: when its latest row was finished.
    """

    settings_sha256: str
    prior: str
    inputs: int
    superseded: int
    last: datetime


@dataclass(frozen=True)
class DatasetStatus:
    """What lies at a destination.

    Attributes:
        dest: its public address.
        inputs: sources that have a row.
        groups: how many newest rows there are of each settings, prior and status.
        generations: by when they were last worked on, oldest first.
        errors: newest rows that failed, by code.
        runs: records of the runs that ended, oldest first.
        holder: who writes there now, or None.
    """

    dest: str
    inputs: int
    groups: Mapping[Group, int]
    generations: Sequence[Generation]
    errors: Mapping[str, int]
    runs: Sequence[Mapping[str, Any]]
    holder: str | None


@dataclass(frozen=True)
class Fault:
    """An object that is not as its row says.

    Attributes:
        uri: of the object.
        problem: `missing`, `changed`, `lies elsewhere`, or the code of the error in reading it.
        source_uri: what it was made from.
        run_id: the run whose row it is.
    """

    uri: str
    problem: str
    source_uri: str
    run_id: str


@dataclass
class Verification:
    """What was checked, and what was found wrong.

    Attributes:
        checked: objects that were read.
        failed: sources whose newest row is a failure. It speaks of no object: one that was restored from the
            source before it broke stays, as the last good one, until it is cleaned.
        faults: what is wrong.
    """

    checked: int = 0
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)


def open_dataset(dest: str) -> Store:
    """The store of a destination that has been written to. Raises SettingsError if there is none."""
    store = open_store(dest)
    if not manifest_files(store) and not epochs(store):
        raise SettingsError(f"{store.uri()} holds no restored images: check the address")
    return store


def newest_rows(store: Store, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The newest row of every source, in batches with some of the columns; flat in memory."""
    files = manifest_files(store)
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        yield from chosen_rows(store, files, newest_mask(store, files, Path(folder)), columns)


def chosen_rows(
    store: Store, files: Sequence[ManifestFile], mask: NDArray[np.bool_], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Those of all rows of the files that a mask chooses, in batches with some of the columns."""
    for start, batch in numbered_batches(store, files, columns):
        yield batch.filter(pa.array(np.asarray(mask[start : start + batch.num_rows])))


def newest_mask(store: Store, files: Sequence[ManifestFile], folder: Path) -> NDArray[np.bool_]:
    """For every row of the files, whether it is the newest of its source; on disk, in a folder of its own."""
    total = total_rows(store, [file.key for file in files])
    buckets = Buckets(folder / "rows", _ENTRY, bucket_count(total))
    mask = np.memmap(folder / "newest", dtype=np.bool_, mode="w+", shape=max(total, 1))
    for start, batch in numbered_batches(store, files, _ORDER):
        entries = np.zeros(batch.num_rows, _ENTRY)
        pairs = digests(batch["source_uri"].to_pylist())
        entries["hi"], entries["lo"] = pairs[:, 0], pairs[:, 1]
        entries["epoch"] = batch["epoch"].to_numpy()
        entries["attempts"] = batch["attempts"].to_numpy()
        entries["finished"] = batch["finished_at"].cast(pa.int64()).to_numpy()
        entries["index"] = np.arange(start, start + batch.num_rows)
        buckets.add(entries)
    for entries in buckets:
        mask[entries["index"]] = newest(entries)
    return mask


def numbered_batches(
    store: Store, files: Sequence[ManifestFile], columns: Sequence[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of all rows of the files, each with the number of its first row."""
    start = 0
    for file in files:
        for batch in read_batches(store, file.key, columns):
            yield start, batch
            start += batch.num_rows


def read_status(dest: str) -> DatasetStatus:
    """What lies at a destination. Raises SettingsError if nothing does."""
    store = open_dataset(dest)
    groups: Counter[Group] = Counter()
    errors: Counter[str] = Counter()
    superseded: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], datetime] = {}
    files = manifest_files(store)
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        newest = newest_mask(store, files, Path(folder))
        for start, batch in numbered_batches(store, files, _STATUS):
            for number, row in enumerate(batch.to_pylist(), start):
                settings = row["settings_sha256"], row["prior"]
                last[settings] = max(last.get(settings, row["finished_at"]), row["finished_at"])
                if not newest[number]:
                    superseded[settings] += 1
                    continue
                groups[Group(*settings, row["status"])] += 1
                if row["status"] == Status.FAILED:
                    errors[row["error_code"]] += 1
    inputs: Counter[tuple[str, str]] = Counter()
    for group, number in groups.items():
        inputs[group.settings_sha256, group.prior] += number
    generations = [
        Generation(*settings, inputs[settings], superseded[settings], when)
        for settings, when in sorted(last.items(), key=lambda item: item[1])
    ]
    held = epochs(store)
    holder = read_holder(store, held[-1]) if held else {"released": True}
    free = holder.get("released") or is_dead(holder)
    return DatasetStatus(
        store.uri(),
        groups.total(),
        groups,
        generations,
        errors,
        read_records(store),
        None if free else describe(holder),
    )


def verify_dataset(
    dest: str, sources: frozenset[str] | None = None, *, on_progress: OnProgress = silent
) -> Verification:
    """Read every object that a newest row mentions, and compare it with the row. Raises SettingsError.

    Args:
        dest: a destination.
        sources: addresses; only what was made from these is checked.
        on_progress: told how many of them were checked, and, as `failed`, how many of those are faulty.
    """
    store = open_dataset(dest)
    found, files = Verification(), manifest_files(store)
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder, ThreadPoolExecutor(READS) as threads:
        mask = newest_mask(store, files, Path(folder))
        total = int(mask.sum()) if sources is None else len(sources)
        start = time.monotonic()
        for batch in chosen_rows(store, files, mask, _CHECKED):
            wanted = [row for row in batch.to_pylist() if sources is None or row["source_uri"] in sources]
            good = [row for row in wanted if row["status"] != Status.FAILED]
            found.failed += len(wanted) - len(good)
            rows = iter(good)
            while some := list(islice(rows, 4 * READS)):
                for fault in threads.map(lambda row: _check(store, row), some):
                    found.checked += 1
                    if fault:
                        found.faults.append(fault)
                on_progress(
                    Progress(
                        done=found.checked + found.failed,
                        total=total,
                        failed=len(found.faults),
                        seconds=time.monotonic() - start,
                        stage="verifying",
                    )
                )
    return found


def _check(store: Store, row: Mapping[str, Any]) -> Fault | None:
    problem = _problem(store, str(row["output_uri"]), row["output_sha256"])
    return Fault(row["output_uri"], problem, row["source_uri"], row["run_id"]) if problem else None


def _problem(store: Store, uri: str, sha256: str) -> str | None:
    prefix = f"{store.uri()}/"
    if not uri.startswith(prefix):
        return "lies elsewhere"
    try:
        data = store.read(uri.removeprefix(prefix))
    except ItemError as error:
        return "missing" if error.code is ErrorCode.NOT_FOUND else str(error.code)
    return None if hashlib.sha256(data).hexdigest() == sha256 else "changed"
