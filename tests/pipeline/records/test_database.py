"""The database of the manifest's rows: what goes wrong in it ends in one error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import ErrorCode, ItemError, RunError
from pipeline.records import database
from pipeline.records.database import create_table, manifest_database, query
from pipeline.storage.store import Store, open_store

SCHEMA = pa.schema([("number", pa.int64())])


@pytest.fixture
def dest(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.mark.parametrize(
    "error", [ItemError(ErrorCode.STORAGE, "gone"), KeyboardInterrupt(), PermissionError("denied")]
)
def test_what_the_rows_raise_is_raised(dest: Store, error: BaseException) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([[1, 2]], schema=SCHEMA)
        raise error

    with pytest.raises(type(error)) as caught, manifest_database(dest, [], ["status"]) as rows:
        create_table(rows, "numbers", SCHEMA, batches())
    assert caught.value is error


def test_too_little_room_is_one_line(dest: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MEMORY", "1MB")
    with (
        pytest.raises(RunError, match=r"cannot be joined.*TMPDIR"),
        manifest_database(dest, [], ["status"]) as rows,
    ):
        rows.execute("CREATE TABLE big AS SELECT list(range) AS all FROM range(10_000_000)")


def test_nothing_is_loaded_from_outside(dest: Store) -> None:
    with manifest_database(dest, [], ["status"]) as rows:
        [settings] = query(rows, "SELECT value FROM duckdb_settings() WHERE name LIKE 'auto%extensions'")
        assert set(settings["value"].to_pylist()) == {"false"}
