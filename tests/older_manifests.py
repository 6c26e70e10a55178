"""Manifests and run records as schema version 1 had them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def as_version_1(table: pa.Table) -> pa.Table:
    """Rows with `parameters` in place of `findings`."""
    place = table.schema.get_field_index("findings")
    parameters = pa.array([None] * table.num_rows, pa.string())
    older = table.set_column(place, pa.field("parameters", pa.string()), parameters)
    version = pa.array([1] * table.num_rows, pa.int32())
    return older.set_column(0, pa.field("schema_version", pa.int32()), version)


def make_older(dest: Path) -> None:
    """Rewrite what lies at a destination as the older version would have left it."""
    for part in (dest / "_i2r/manifest").rglob("*.parquet"):
        pq.write_table(as_version_1(pq.ParquetFile(part).read()), part, compression="zstd")
    for file in (dest / "_i2r/runs").glob("*.json"):
        record = json.loads(file.read_text())
        del record["findings"]
        file.write_text(json.dumps(record))
