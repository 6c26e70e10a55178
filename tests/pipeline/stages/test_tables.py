"""How often row groups are read: by the stage alone, and by a run with several decoders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import counted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counted import bytes_read
from small_images import write_image

from pipeline.records.listing import to_batch
from pipeline.runs.selection import with_whole_row_groups
from pipeline.settings import RunSettings
from pipeline.sources.walk import open_source
from pipeline.stages import tables
from pipeline.stages.batches import Job
from pipeline.stages.tables import ReadTables

ONCE = 1.5
"""Bytes read for a byte of a table whose row groups are read once: its end is read when it is opened."""
DECODERS = """
import json
import sys

import counted
import ray
from standin import StandIn

from pipeline import RunSettings, restore_dataset

ray.init("local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False)
summary = restore_dataset(*sys.argv[1:], RunSettings(batch=4, workers=1), restorer_factory=StandIn())
print(json.dumps(summary.counts))
"""


def write_table(path: Path, images: list[bytes | None], rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"jpg": images}), path, row_group_size=rows, compression="none")


def read(path: Path, limit: int = 1) -> list[dict[str, Any]]:
    """The rows that the stage makes of a table."""
    source = open_source(f"{counted.CountedFiles.protocol}://{path}")
    listed = pa.Table.from_batches([to_batch(list(source.inputs()))])
    job = Job(source.store, source.store, RunSettings(decode_memory_mib=limit), {}, None)
    return [row for table in ReadTables(job)(listed) for row in table.to_pylist()]


def test_a_row_group_is_read_once_and_every_row_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK_BYTES", 3000)
    images = [number.to_bytes(2, "big") * 500 for number in range(100)]
    write_table(tmp_path / "a.parquet", [*images[:50], None, bytes(2 << 20), *images[50:]], rows=30)
    found = read(tmp_path / "a.parquet")
    assert [row["data"] for row in found] == [*images[:50], None, None, *images[50:]]
    assert [row["refused"] for row in found[50:52]] == ["not_found", "too_large"]
    assert "row 51 of the table has more than" in found[51]["reason"]
    assert bytes_read(tmp_path / "a.parquet") < ONCE * (tmp_path / "a.parquet").stat().st_size


def test_what_cannot_be_read_is_left_to_the_fetcher(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", [bytes(1000)] * 20, rows=10)
    source = open_source(str(tmp_path / "a.parquet"))
    listed = pa.Table.from_batches([to_batch(list(source.inputs()))])
    (tmp_path / "a.parquet").write_bytes(b"something else")
    job = Job(source.store, source.store, RunSettings(), {}, None)
    (table,) = ReadTables(job)(listed)
    assert table["data"].null_count == table["refused"].null_count == 20


@pytest.mark.parametrize(
    ("rows", "most", "sizes"), [(3, 9, [6, 6, 6, 2]), (3, 1, [7, 7, 6]), (20, 9, [14, 6])]
)
def test_parts_end_where_row_groups_do(tmp_path: Path, rows: int, most: int, sizes: list[int]) -> None:
    write_table(tmp_path / "a.parquet", [b"x"] * 20, rows)
    inputs = to_batch(list(open_source(str(tmp_path / "a.parquet")).inputs()))
    batches = (inputs.slice(start, 7) for start in range(0, 20, 7))
    found = list(with_whole_row_groups(batches, most))
    assert [number for batch in found for number in batch["offset"].to_pylist()] == list(range(20))
    assert [batch.num_rows for batch in found] == sizes


@pytest.mark.timeout(300)
def test_several_decoders_read_a_table_once(tmp_path: Path) -> None:
    images = []
    for number in range(320):
        write_image(tmp_path / "one.png", seed=number)
        images.append((tmp_path / "one.png").read_bytes())
    table = tmp_path / "source" / "a.parquet"
    write_table(table, images, rows=80)
    done = subprocess.run(
        [sys.executable, "-c", DECODERS, f"counted://{table}", tmp_path / "dest"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_raylet_start_wait_time_s": "120"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["restored"] == 320
    assert bytes_read(table) < ONCE * table.stat().st_size
