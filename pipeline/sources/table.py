"""Reads images, or addresses of images, from the rows of a Parquet table."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ErrorCode, ItemError
from pipeline.sources.columns import address_column, image_column
from pipeline.storage.store import Store

ROWS_AT_ONCE = 8
"""Rows that are decoded at a time where many are read: each may be a scan."""
_BUFFER = 8 << 20


class OpenTable:
    """An open table.

    Args:
        source: the store of the table.
        container: its key.
        limit: most bytes of one image.
    """

    def __init__(self, source: Store, container: str, limit: int) -> None:
        self._limit = limit
        self._table = pq.ParquetFile(source.fs.open(source.path(container), "rb"), buffer_size=_BUFFER)
        schema = self._table.schema_arrow
        self._column = address_column(schema) or image_column(schema)
        groups = range(self._table.metadata.num_row_groups)
        self._starts = [0, *accumulate(self._table.metadata.row_group(group).num_rows for group in groups)]
        self._group, self._values = -1, pa.chunked_array([], pa.binary())

    def read(self, offset: int, _size: int) -> bytes:
        """The image or address in row number `offset`; keeps the row group for the next. Raises ItemError."""
        group = self._group_of(offset)
        if group != self._group:
            self._values = self._table.read_row_group(group, columns=[self._column]).column(0)
            self._group = group
        return self._bytes_of(offset, self._values[offset - self._starts[group]].as_py())

    def read_all(self, rows: Sequence[int]) -> Iterator[bytes | ItemError]:
        """The images in rows, given in ascending order: each row group is read once, some rows at a time."""
        for group, found in groupby(rows, self._group_of):
            wanted, start = deque(found), self._starts[group]
            for batch in self._table.iter_batches(
                ROWS_AT_ONCE, row_groups=[group], columns=[self._column], use_threads=False
            ):
                values = batch.column(0)
                while wanted and wanted[0] < start + len(values):
                    row = wanted.popleft()
                    try:
                        yield self._bytes_of(row, values[row - start].as_py())
                    except ItemError as error:
                        yield error
                start += len(values)
                if not wanted:
                    break

    def close(self) -> None:
        """Close the table."""
        self._table.close()

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _bytes_of(self, row: int, value: Any) -> bytes:
        value = value.get("bytes") if isinstance(value, dict) else value
        if value is None:
            raise ItemError(ErrorCode.NOT_FOUND, f"row {row} of the table has no image in it")
        if len(value) > self._limit:
            raise ItemError(ErrorCode.TOO_LARGE, f"row {row} of the table has more than {self._limit} bytes")
        return value.encode() if isinstance(value, str) else bytes(value)
