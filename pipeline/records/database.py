"""Rows of the manifest in DuckDB: joins of more rows than fit in memory spill to this machine's disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from pipeline.errors import RunError
from pipeline.records.manifest import ROWS_PER_BATCH, SCHEMA, ManifestFile, conformed, read_batches
from pipeline.storage.store import Store

MEMORY = "128MB"
"""Buffers of DuckDB, beyond which it spills; with what it holds beside them it takes some 250 MiB."""

# One thread: each more takes memory of its own, and reading the parts takes longer than joining them.
_SETTINGS = """
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET threads = 1;
SET memory_limit = '{memory}'; SET TimeZone = 'UTC'
"""
_ORDER = ("epoch", "attempts", "finished_at")
_NEWEST = f"""
CREATE TABLE newest AS SELECT rowid AS number, * FROM rows
QUALIFY row_number() OVER (
    PARTITION BY source ORDER BY {", ".join(f"{name} DESC" for name in (*_ORDER, "rowid"))}
) = 1
"""


@contextmanager
def manifest_database(
    store: Store, files: Sequence[ManifestFile], columns: Sequence[str], select: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A temporary database of the manifest's rows.

    The table `rows` has the columns, those by which the newest row of a source is found, and `source`, the
    16-byte digest of its address. The table `newest` has the newest row of each source with its `number`,
    which counts in the order of the files.

    Args:
        store: the destination.
        files: parts of its manifest.
        columns: of the rows.
        select: SQL expressions that are kept in place of `columns`.
    """
    schema = pa.schema([field for field in SCHEMA if field.name in {"source_uri", *_ORDER, *columns}])
    kept = select or ", ".join(name for name in columns if name not in _ORDER)
    select = f"md5_number(source_uri) AS source, {', '.join(_ORDER)}, {kept}"
    rows = (batch for file in files for batch in _batches(store, file.key, schema))
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        try:
            with duckdb.connect(f"{folder}/rows.duckdb") as database:
                database.execute(_SETTINGS.format(memory=MEMORY))
                create_table(database, "rows", schema, rows, select)
                database.execute(_NEWEST)
                yield database
        except duckdb.Error as error:
            raise RunError(
                f"the rows of the manifest cannot be joined in {folder} ({str(error).splitlines()[0]}): "
                "free space there, or let TMPDIR name a larger disk"
            ) from error


def create_table(
    database: duckdb.DuckDBPyConnection,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    select: str = "*",
) -> None:
    """Create a table from batches; `select` is an SQL list of expressions over their columns.

    What the batches raise is raised as it is: DuckDB would make an error of its own of it.
    """
    raised: list[BaseException] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            raised.append(error)
            raise

    database.register("batches", pa.RecordBatchReader.from_batches(schema, watched()))
    try:
        database.execute(f"CREATE TABLE {name} AS SELECT {select} FROM batches")
    except duckdb.Error:
        if raised:
            raise raised[0] from None
        raise
    database.unregister("batches")


def query(database: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query in batches."""
    yield from database.sql(sql).to_arrow_reader(ROWS_PER_BATCH)


def _batches(store: Store, key: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a part; columns that it lacks are null."""
    for batch in read_batches(store, key, schema.names):
        yield conformed(batch, schema)
