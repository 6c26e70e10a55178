"""The manifest: parts that are flushed within bounds, and merged at the end without losing a row."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from older_manifests import as_version_1

from i2r import Action, Finding, What
from pipeline.records import manifest
from pipeline.records.findings import to_column
from pipeline.records.manifest import (
    ManifestWriter,
    compact,
    folder_of,
    manifest_files,
    read_batches,
    to_table,
)
from pipeline.storage.store import Store, open_store


def row(number: int, **values: Any) -> dict[str, Any]:
    return {
        "run_id": "r",
        "source_uri": f"file:///s/{number}",
        "status": "restored",
        "timings": {"fetch": 0.5},
        "losses": ["alpha"],
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        **values,
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def rows_of(store: Store) -> list[dict[str, Any]]:
    return [
        row
        for file in manifest_files(store)
        for batch in read_batches(store, file.key)
        for row in batch.to_pylist()
    ]


def test_a_part_is_written_after_so_many_rows(store: Store) -> None:
    writer = ManifestWriter(store, "r", rows=3, seconds=60)
    for number in range(7):
        writer.add(to_table([row(number)]))
    assert [len(rows_of(store)), len(manifest_files(store))] == [6, 2]
    writer.flush()
    assert len(rows_of(store)) == 7
    assert rows_of(store)[0]["losses"] == ["alpha"]


def test_a_part_is_written_after_so_many_seconds(store: Store) -> None:
    writer = ManifestWriter(store, "r", rows=100, seconds=0.2)
    writer.add(to_table([row(1)]))
    writer.flush_if_due()
    assert rows_of(store) == []
    time.sleep(0.25)
    writer.flush_if_due()
    assert len(rows_of(store)) == 1


def test_compaction_keeps_every_row(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ROWS_PER_FILE", 4)
    writer = ManifestWriter(store, "r", rows=1, seconds=60)
    for number in range(10):
        writer.add(to_table([row(number)]))
    before = rows_of(store)
    compact(store, "r")
    assert len(manifest_files(store)) == 3
    assert sorted(map(str, rows_of(store))) == sorted(map(str, before))


def test_parts_of_a_long_run_are_merged_on_the_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "FANOUT", 4)
    monkeypatch.setattr(manifest, "ROWS_PER_FILE", 40)
    writer = ManifestWriter(store, "r", rows=1, seconds=60)
    most = 0
    for number in range(100):
        writer.add(to_table([row(number)]))
        most = max(most, len(store.names(folder_of("r"))))
        assert len(rows_of(store)) == number + 1
    assert most <= 20
    assert {found["source_uri"] for found in rows_of(store)} == {f"file:///s/{n}" for n in range(100)}


def test_parts_of_an_older_version_are_merged_with_newer_ones(store: Store) -> None:
    found = to_column([Finding(What.BLUR, 0.99, 1.0, Action.REMAINS)])
    older = as_version_1(to_table([row(0)]))
    for number, table in enumerate((older, to_table([row(1, findings=found)]))):
        store.write(f"{folder_of('r')}/part-{number:06d}.parquet", manifest.to_parquet(table))
    compact(store, "r")
    before, after = sorted(rows_of(store), key=lambda one: one["source_uri"])
    assert (before["findings"], after["findings"]) == (None, found)
    assert before["losses"] == ["alpha"]


@pytest.mark.parametrize("deleted", range(5))
def test_merging_on_the_way_may_die_at_any_point(store: Store, deleted: int) -> None:
    """A merged part counts in the place of those that it holds, also while some of them are still there."""
    keys = [f"{folder_of('r')}/part-{number:06d}.parquet" for number in range(6)]
    for number, key in enumerate(keys):
        store.write(key, manifest.to_parquet(to_table([row(number)])))
    together = manifest.to_parquet(to_table([row(number) for number in range(1, 5)]))
    store.write(f"{folder_of('r')}/part-000001-000004.parquet", together)
    for key in keys[1 : 1 + deleted]:
        store.delete(key)
    assert sorted(found["source_uri"] for found in rows_of(store)) == [f"file:///s/{n}" for n in range(6)]
    compact(store, "r")
    assert sorted(found["source_uri"] for found in rows_of(store)) == [f"file:///s/{n}" for n in range(6)]


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_compaction_may_die_at_any_point(store: Store, written: int) -> None:
    """Merged files count only once all are there; until then the parts do."""
    parts = [f"{folder_of('r')}/part-{number:06d}.parquet" for number in range(3)]
    for number, part in enumerate(parts):
        store.write(part, manifest.to_parquet(to_table([row(number)])))
    for number in range(written):
        merged = f"{folder_of('r')}/rows-{number:05d}-of-00003.parquet"
        store.write(merged, manifest.to_parquet(to_table([row(number)])))
    assert sorted(found["source_uri"] for found in rows_of(store)) == [f"file:///s/{n}" for n in range(3)]
    compact(store, "r")
    assert sorted(found["source_uri"] for found in rows_of(store)) == [f"file:///s/{n}" for n in range(3)]
