"""Status of a destination: the newest row of every source, and whether its object matches the row."""

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
from pipeline.storage.store import Store, open_store

READS = 16
"""Objects that are checked at once."""

_STATUS = ("settings_sha256", "prior", "status", "error_code", "finished_at")
_CHECKED = ("run_id", "source_uri", "output_uri", "output_sha256", "status")
_ORDER = ("source_uri", "epoch", "attempts", "finished_at")
_ENTRY = np.dtype([*DIGEST, ("epoch", "<i8"), ("attempts", "<i4"), ("finished", "<i8"), ("index", "<i8")])


@dataclass(frozen=True, order=True)
class Group:
    """Settings, prior and status that rows are counted by."""

    settings_sha256: str
    prior: str
    status: str


@dataclass(frozen=True)
class Generation:
    """All rows made with one prior and settings, including rows that newer ones have replaced.

    Attributes:
        settings_sha256, prior: of the rows.
        inputs: sources whose newest row is of this generation.
        superseded: rows of this generation that newer rows have replaced.
        last: when its latest row was finished.
    """

    settings_sha256: str
    prior: str
    inputs: int
    superseded: int
    last: datetime


@dataclass(frozen=True)
class DatasetStatus:
    """Status of a destination.

    Attributes:
        dest: its public address.
        inputs: sources that have a row.
        groups: number of newest rows for each settings, prior and status.
        generations: in the order of their latest rows, oldest first.
        errors: number of newest rows that failed, by code.
        runs: records of finished runs, oldest first.
        holder: of the lease now, in words, or None.
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
    """An object that does not match its row.

    Attributes:
        uri: of the object.
        problem: `missing`, `changed`, `lies elsewhere`, or the code of the error when reading it.
        source_uri: of the source that it was made from.
        run_id: of the run that wrote the row.
    """

    uri: str
    problem: str
    source_uri: str
    run_id: str


@dataclass
class Verification:
    """Result of checking a destination.

    Attributes:
        checked: number of objects that were read.
        failed: number of sources whose newest row is a failure. Such a row has no object; an object that was
            restored before the source broke stays, as the last good one, until it is cleaned.
        faults: the objects that do not match their rows.
    """

    checked: int = 0
    failed: int = 0
    faults: list[Fault] = field(default_factory=list)


def open_dataset(dest: str) -> Store:
    """Open a destination. Raises SettingsError if no run has written to it."""
    store = open_store(dest)
    if not manifest_files(store) and not epochs(store):
        raise SettingsError(f"{store.uri()} holds no restored images: check the address")
    return store


def newest_rows(store: Store, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the newest row of every source, in batches with some of the columns, in bounded memory."""
    files = manifest_files(store)
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        yield from chosen_rows(store, files, newest_mask(store, files, Path(folder)), columns)


def chosen_rows(
    store: Store, files: Sequence[ManifestFile], mask: NDArray[np.bool_], columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the files that a mask selects, in batches with some of the columns."""
    for start, batch in numbered_batches(store, files, columns):
        yield batch.filter(pa.array(np.asarray(mask[start : start + batch.num_rows])))


def newest_mask(store: Store, files: Sequence[ManifestFile], folder: Path) -> NDArray[np.bool_]:
    """Mask of the rows of the files that are the newest of their source; kept on disk in `folder`."""
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
    """Yield all rows of the files in batches, each with the number of its first row."""
    start = 0
    for file in files:
        for batch in read_batches(store, file.key, columns):
            yield start, batch
            start += batch.num_rows


def read_status(dest: str) -> DatasetStatus:
    """Read the status of a destination. Raises SettingsError if no run has written to it."""
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
        sources: addresses; only objects made from these are checked. None for all.
        on_progress: called with the number of checked objects, and of faulty ones as `failed`.
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
