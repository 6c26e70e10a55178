"""Status of a destination: the newest row of every source, and whether its object matches the row."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.records.database import manifest_database, query
from pipeline.records.findings import COLUMN, Counts, by_action
from pipeline.records.lease import describe, epochs, is_dead, read_holder
from pipeline.records.manifest import Status, manifest_files
from pipeline.records.summary import OnProgress, Progress, read_records, silent
from pipeline.storage.store import Store, open_store

READS = 16
"""Objects that are checked at once."""

_STATUS = ("settings_sha256", "prior", "status", "error_code")
_MESSAGE = ("source_key", "error_message")
_NAMED = f"list_transform({COLUMN}, lambda found: {{'action': found.action, 'what': found.what}}) AS {COLUMN}"
_FAILED_KEPT = (
    "CASE WHEN status = 'failed' THEN source_key END AS key, "
    "CASE WHEN status = 'failed' THEN error_message END AS message"
)
_CHECKED = ("run_id", "source_uri", "output_uri", "output_sha256", "status")
_GENERATIONS = """
SELECT
    settings_sha256, prior,
    count(*) FILTER (rowid IN (SELECT number FROM newest)),
    count(*) FILTER (rowid NOT IN (SELECT number FROM newest)),
    max(finished_at) AS last
FROM rows GROUP BY ALL ORDER BY last
"""
_FINDINGS = f"""
SELECT found.action, found.what, count(*) AS number
FROM (SELECT unnest({COLUMN}) AS found FROM newest) GROUP BY ALL ORDER BY number DESC
"""
_FAILURES = "SELECT key, error_code, message FROM newest WHERE status = 'failed' ORDER BY key"
MOST_FAILURES = 20
"""Failures that a status names; the others are only counted."""
_GROUPS = "SELECT settings_sha256, prior, status, error_code, count(*) FROM newest GROUP BY ALL"


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
class Failure:
    """A failed input: its key, and the code and the message of its error."""

    key: str
    code: str
    message: str


@dataclass(frozen=True)
class DatasetStatus:
    """Status of a destination.

    Attributes:
        dest: its public address.
        inputs: sources that have a row.
        groups: number of newest rows for each settings, prior and status.
        generations: in the order of their latest rows, oldest first.
        errors: number of newest rows that failed, by code.
        failures: the first of them, by key.
        findings: number of newest rows by what came of a finding, and by what was found.
        runs: records of finished runs, oldest first.
        holder: of the lease now, in words, or None.
    """

    dest: str
    inputs: int
    groups: Mapping[Group, int]
    generations: Sequence[Generation]
    errors: Mapping[str, int]
    failures: Sequence[Failure]
    findings: Counts
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
        failed: number of sources whose newest row is a failure without a copy. Such a row has no object; an
            object that was restored before the source broke stays, as the last good one, until it is cleaned.
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
    with manifest_database(store, manifest_files(store), columns) as database:
        yield from query(database, f"SELECT {', '.join(columns)} FROM newest ORDER BY number")


def read_status(dest: str, most_failures: int | None = MOST_FAILURES) -> DatasetStatus:
    """Read the status of a destination. Raises SettingsError if no run has written to it.

    Args:
        dest: a destination.
        most_failures: how many failures are named; None for all.
    """
    store = open_dataset(dest)
    groups: Counter[Group] = Counter()
    errors: Counter[str] = Counter()
    generations = []
    kept, read = ", ".join((*_STATUS, _NAMED, _FAILED_KEPT)), (*_STATUS, *_MESSAGE, COLUMN)
    with manifest_database(store, manifest_files(store), read, kept) as database:
        for settings, prior, inputs, superseded, last in database.sql(_GENERATIONS).fetchall():
            generations.append(Generation(settings, prior, inputs, superseded, last))
        for settings, prior, status, code, number in database.sql(_GROUPS).fetchall():
            groups[Group(settings, prior, status)] += number
            if status == Status.FAILED:
                errors[code] += number
        limit = "" if most_failures is None else f" LIMIT {most_failures}"
        failures = [Failure(*row) for row in database.sql(_FAILURES + limit).fetchall()]
        findings = Counter({(action, what): n for action, what, n in database.sql(_FINDINGS).fetchall()})
    held = epochs(store)
    holder = read_holder(store, held[-1]) if held else {"released": True}
    free = holder.get("released") or is_dead(holder)
    return DatasetStatus(
        store.uri(),
        groups.total(),
        groups,
        generations,
        dict(errors),
        failures,
        by_action(findings),
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
    found, start = Verification(), time.monotonic()
    with (
        manifest_database(store, manifest_files(store), _CHECKED) as database,
        ThreadPoolExecutor(READS) as threads,
    ):
        total = database.sql("FROM newest").count("*").fetchall()[0][0] if sources is None else len(sources)
        for batch in query(database, f"SELECT {', '.join(_CHECKED)} FROM newest ORDER BY number"):
            wanted = [row for row in batch.to_pylist() if sources is None or row["source_uri"] in sources]
            good = [row for row in wanted if row["status"] != Status.FAILED or row["output_uri"]]
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
