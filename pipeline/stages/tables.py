"""The stage that reads the images in rows of tables, before they are given to decoders.

A row group can only be read as a whole. If decoders did that, each one that is given a row of it would.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.errors import ItemError
from pipeline.sources.containers import Kind
from pipeline.sources.table import OpenTable
from pipeline.stages.batches import BLOCK_BYTES, Job

READ = pa.schema([("data", pa.large_binary()), ("refused", pa.string()), ("reason", pa.string())])
"""Columns beside those of the listing: the file of an image, or the code and message of its error. Both are
null where the fetcher has yet to read it: it is in no table, or its table cannot be read."""


class ReadTables:
    """Stage that adds the columns of `READ` to rows of the listing; reads each row group once."""

    def __init__(self, job: Job) -> None:
        self._source, self._limit = job.source, job.settings.decode_memory_mib << 20

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows in order, in tables of little more than `BLOCK_BYTES`."""
        found: list[dict[str, Any]] = []
        start, room = 0, BLOCK_BYTES
        for data in self._images(batch):
            if isinstance(data, ItemError):
                found.append({"refused": data.code.value, "reason": data.message})
            else:
                found.append({"data": data})
                room -= len(data or b"")
            if room <= 0:
                yield _with(batch.slice(start, len(found)), found)
                start, found, room = start + len(found), [], BLOCK_BYTES
        if found:
            yield _with(batch.slice(start), found)

    def _images(self, batch: pa.Table) -> Iterator[bytes | ItemError | None]:
        """The image of each row, None where it is left to the fetcher."""
        columns = (batch[name].to_pylist() for name in ("kind", "container", "offset"))
        for (kind, container), rows in groupby(zip(*columns, strict=True), lambda row: row[:2]):
            offsets = [row[2] for row in rows]
            read = self._read(container, offsets) if kind == Kind.TABLE else iter(())
            for _ in offsets:
                yield next(read, None)

    def _read(self, container: str, offsets: list[int]) -> Iterator[bytes | ItemError]:
        """The images in rows of a table, as many as can be read: the fetcher says of each other why not."""
        try:
            table = OpenTable(self._source, container, self._limit)
        except Exception:
            return
        try:
            yield from table.read_all(offsets)
        except Exception:
            return
        finally:
            table.close()


def _with(rows: pa.Table, found: list[dict[str, Any]]) -> pa.Table:
    read = pa.Table.from_pylist(found, schema=READ)
    for name in READ.names:
        rows = rows.append_column(name, read[name])
    return rows
