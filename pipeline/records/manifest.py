"""The manifest: one row per input that a run handled, in Parquet under `DEST/_i2r/manifest/run=<run id>/`.

The manifest is also the checkpoint: an input that its newest row records as done is skipped.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.records import findings
from pipeline.storage.store import PRIVATE, Store

SCHEMA_VERSION = 2
FOLDER = f"{PRIVATE}/manifest"
MERGED = "rows"
"""Name of the parts that compaction writes; parts of an unfinished run are named `part`."""
ROWS_PER_FILE = 200_000
ROWS_PER_BATCH = 16_384
ROWS_PER_GROUP = 4_096
"""Rows of a row group in a merged file, and the most that merging holds: more do not make files smaller."""
FOOTERS = 16
"""Parquet footers that are read at once to count rows."""
FANOUT = 64
"""Parts of one level that are merged into one part of the next: a run of a year keeps some hundred parts."""

METRICS = ("psnr", "ssim", "noise_level", "sharpness", "blockiness")
"""Scores of an image, each before and after; `psnr` and `ssim` only with a reference."""
STAGES = ("fetch", "decode", "restore", "encode", "store")


class Status(StrEnum):
    """Result of an input. A failed input stores no object, and an object of an earlier row stays."""

    RESTORED = "restored"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


def _struct(names: Sequence[str]) -> pa.DataType:
    return pa.struct([pa.field(name, pa.float64()) for name in names])


SCHEMA = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("run_id", pa.string()),
        ("source_uri", pa.string()),
        ("source_key", pa.string()),
        ("source_size", pa.int64()),
        ("source_version", pa.string()),
        ("content_sha256", pa.string()),
        ("output_uri", pa.string()),
        ("output_sha256", pa.string()),
        ("output_size", pa.int64()),
        ("status", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("losses", pa.list_(pa.string())),
        ("prior", pa.string()),
        ("prior_sha256", pa.string()),
        ("settings_sha256", pa.string()),
        ("seed", pa.int64()),
        ("nfe", pa.int32()),
        ("inversion_psnr", pa.float64()),
        ("rectified_fraction", pa.float64()),
        ("typicality_before", pa.float64()),
        ("typicality_after", pa.float64()),
        ("consistency_psnr", pa.float64()),
        (findings.COLUMN, findings.TYPE),
        ("metrics", _struct([f"{name}_{when}" for name in METRICS for when in ("before", "after")])),
        ("timings", _struct(STAGES)),
        ("epoch", pa.int64()),
        ("attempts", pa.int32()),
        ("node", pa.string()),
        ("device", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Columns of a row. A part of an older version may lack some, which are read as null, and have others, which
are left out: version 1 had `parameters` in place of `findings`."""


def to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Convert rows to a table of `SCHEMA`; a missing column of a row is null."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)


def finite(measures: Mapping[str, float]) -> dict[str, float | None]:
    """Measures as a row holds them: null where there is no value, such as the PSNR of two equal images."""
    return {name: value if math.isfinite(value) else None for name, value in measures.items()}


def seconds_by_stage(rows: pa.Table | pa.RecordBatch) -> dict[str, float]:
    """Seconds that images spent in each stage, summed over rows."""
    return {name: pc.sum(pc.struct_field(rows["timings"], name)).as_py() or 0.0 for name in STAGES}


def megapixels(rows: pa.Table | pa.RecordBatch) -> float:
    """Megapixels of images, summed over rows; an image that was not decoded counts as none."""
    sides = (rows[name].cast(pa.float64()) for name in ("width", "height"))
    return (pc.sum(pc.multiply(*sides)).as_py() or 0.0) / 1e6


def _nothing() -> None:
    """Do nothing."""


class ManifestWriter:
    """Appends the rows of one run, in parts written after a number of rows or seconds.

    It merges parts as it goes: `FANOUT` parts of a level into one of the next, up to `ROWS_PER_FILE` rows. As
    soon as `part-a-b` exists, it replaces all parts from `a` to `b`.

    Args:
        store: the destination.
        run_id: of the run.
        rows: write a part when this many rows wait.
        seconds: write a part when the oldest row has waited this long.
        on_flush: called after a part is written.
        check: called before a part is written; raises if none may be.
    """

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        rows: int,
        seconds: float,
        on_flush: Callable[[], None] = _nothing,
        check: Callable[[], None] = _nothing,
    ) -> None:
        self._store, self._run_id = store, run_id
        self._rows, self._seconds = rows, seconds
        self._waiting: list[pa.Table] = []
        self._count = 0
        self._oldest = 0.0
        self._part = 0
        self._levels: list[list[_Part]] = [[]]
        self._covered: list[str] = []
        self._on_flush, self._check = on_flush, check

    def add(self, table: pa.Table) -> None:
        """Add rows of `SCHEMA`; writes a part if one is due."""
        if not self._waiting:
            self._oldest = time.monotonic()
        self._waiting.append(table)
        self._count += table.num_rows
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write a part if enough rows wait, or one has waited long enough."""
        if self._waiting and (self._count >= self._rows or time.monotonic() - self._oldest >= self._seconds):
            self.flush()

    def flush(self) -> None:
        """Write all waiting rows. Raises RunError or ItemError, and keeps the rows then."""
        if not self._waiting:
            return
        self._check()
        part = _Part(self._part, self._part, self._count)
        self._store.write(part.key(self._run_id), to_parquet(pa.concat_tables(self._waiting)))
        self._part += 1
        self._waiting, self._count = [], 0
        self._on_flush()
        self._levels[0].append(part)
        self._merge(0)

    def _merge(self, level: int) -> None:
        """Merge a full level into a part of the next; if that exceeded `ROWS_PER_FILE`, its parts stay."""
        parts = self._levels[level]
        if len(parts) < FANOUT:
            return
        self._levels[level] = []
        if (rows := sum(part.rows for part in parts)) > ROWS_PER_FILE:
            return
        keys = [part.key(self._run_id) for part in parts]
        merged = _Part(parts[0].first, parts[-1].last, rows)
        batches = (batch for key in keys for batch in read_batches(self._store, key, rows=ROWS_PER_GROUP))
        self._store.write(merged.key(self._run_id), _merged_file(batches, rows))
        for key in self._covered:  # parts of the merge before; a reader may still be at the ones merged now
            self._store.delete(key)
        self._covered = keys
        self._levels += [[]] if len(self._levels) == level + 1 else []
        self._levels[level + 1].append(merged)
        self._merge(level + 1)


class _Part(NamedTuple):
    """A part of an unfinished run: numbers of its first and last flush, and its row count."""

    first: int
    last: int
    rows: int

    @classmethod
    def of(cls, name: str) -> _Part:
        """The part with this file name; its row count is unknown and set to 0."""
        numbers = [int(number) for number in name.removesuffix(".parquet").split("-")[1:]]
        return cls(numbers[0], numbers[-1], 0)

    def key(self, run_id: str) -> str:
        """Its key at the destination."""
        last = f"-{self.last:06d}" if self.last > self.first else ""
        return f"{folder_of(run_id)}/part-{self.first:06d}{last}.parquet"


def folder_of(run_id: str) -> str:
    """Key of the folder with a run's rows."""
    return f"{FOLDER}/run={run_id}"


def to_parquet(table: pa.Table) -> bytes:
    """The bytes of a table as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


@dataclass(frozen=True)
class ManifestFile:
    """One part of the manifest."""

    key: str
    run_id: str


def manifest_files(store: Store, run_id: str | None = None) -> list[ManifestFile]:
    """The parts of all runs, or of one. If a run's merged files are complete, its other parts are ignored."""
    found = []
    for name in [f"run={run_id}"] if run_id else store.names(FOLDER):
        parts = [part for part in store.names(f"{FOLDER}/{name}") if part.endswith(".parquet")]
        merged = [part for part in parts if part.startswith(MERGED)]
        chosen = _complete(merged) or _uncovered([part for part in parts if not part.startswith(MERGED)])
        found += [ManifestFile(f"{FOLDER}/{name}/{part}", name.removeprefix("run=")) for part in chosen]
    return found


def read_batches(
    store: Store, key: str, columns: Sequence[str] | None = None, *, rows: int = ROWS_PER_BATCH
) -> Iterator[pa.RecordBatch]:
    """Read a Parquet object in batches of at most `rows` rows, in bounded memory.

    It reads in one thread: Arrow has a thread for each core, and each keeps the memory that it has freed.
    """
    with store.fs.open(store.path(key), "rb") as file, pq.ParquetFile(file) as parquet:
        known = set(parquet.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in known]
        yield from parquet.iter_batches(batch_size=rows, columns=wanted, use_threads=False)


def compact(store: Store, run_id: str) -> None:
    """Merge a run's parts into few files. After a crash, either the parts or the files are valid.

    Merged files are named `rows-<number>-of-<total>`, and are ignored until all of them exist.
    """
    parts = [file.key for file in manifest_files(store, run_id)]
    if len(parts) < 2:
        return
    rows = total_rows(store, parts)
    total = -(-rows // ROWS_PER_FILE)
    batches = (batch for part in parts for batch in read_batches(store, part, rows=ROWS_PER_GROUP))
    for number in range(total):
        name = f"{folder_of(run_id)}/{MERGED}-{number:05d}-of-{total:05d}.parquet"
        store.write(name, _merged_file(batches, ROWS_PER_FILE))
    kept = {file.key for file in manifest_files(store, run_id)}
    for name in store.names(folder_of(run_id)):
        if (key := f"{folder_of(run_id)}/{name}") not in kept:
            store.delete(key)


def _merged_file(batches: Iterator[pa.RecordBatch], rows: int) -> bytes:
    """The bytes of a Parquet file with about `rows` rows, taken from the front of `batches`."""
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
        written = 0
        waiting: list[pa.RecordBatch] = []
        for batch in batches:
            waiting.append(batch)
            written += batch.num_rows
            if written >= rows or sum(waited.num_rows for waited in waiting) >= ROWS_PER_GROUP:
                writer.write_table(_of_schema(waiting))
                waiting = []
            if written >= rows:
                break
        if waiting:
            writer.write_table(_of_schema(waiting))
    return stream.getvalue()


def _of_schema(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Combine batches into one table of `SCHEMA`."""
    return pa.Table.from_batches([conformed(batch, SCHEMA) for batch in batches])


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of a batch of any version with the columns of a schema; what they lack is null."""
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def total_rows(store: Store, keys: Sequence[str]) -> int:
    """Number of rows in Parquet objects; reads many footers at once."""
    with ThreadPoolExecutor(FOOTERS) as threads:
        return sum(threads.map(lambda key: row_count(store, key), keys))


def row_count(store: Store, key: str) -> int:
    """Number of rows in a Parquet object, from its footer."""
    with store.fs.open(store.path(key), "rb") as file:
        return int(pq.read_metadata(file).num_rows)


def _uncovered(parts: Sequence[str]) -> list[str]:
    """The parts that no merged part has replaced."""
    spans = sorted(
        ((_Part.of(name), name) for name in parts), key=lambda span: (span[0].first, -span[0].last)
    )
    kept, end = [], -1
    for part, name in spans:
        if part.last > end:
            kept.append(name)
            end = part.last
    return kept


def _complete(merged: Sequence[str]) -> list[str]:
    """The merged files if all are there, by the total in their names; otherwise none."""
    for total in {name.removesuffix(".parquet").rsplit("-", 1)[1] for name in merged}:
        together = [name for name in merged if name.endswith(f"-of-{total}.parquet")]
        if len(together) == int(total):
            return together
    return []
