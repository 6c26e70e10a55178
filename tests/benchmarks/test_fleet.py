"""That the benchmark of ten million keys feeds a run what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fleet
from benchmarks.synthetic import Fetched, Restored, Stored
from pipeline.records.listing import Listing
from pipeline.settings import RunSettings
from pipeline.sources.walk import open_source
from pipeline.stages.batches import ROWS, Job
from pipeline.storage.store import open_store

RESULTS = Path(fleet.__file__).with_suffix(".json")


def test_keys_become_rows_as_objects_do(tmp_path: Path) -> None:
    dest = open_store(str(tmp_path))
    listing, source = Listing(dest, "listing"), open_source("synthetic://2500")
    listing.fill(source, RunSettings())
    assert listing.count == 2500
    [batch, *_] = listing.batches()
    columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in batch.schema.names}
    columns["failed_before"] = np.zeros(batch.num_rows, bool)
    job = Job(source.store, dest, RunSettings(), {"run_id": "a", "epoch": 1, "attempts": 1}, None)
    [handed_on] = Fetched(job)(columns)
    rows = Stored(job)(Restored(None)(handed_on))
    assert rows.schema.equals(ROWS)
    assert set(rows["status"].to_pylist()) == {"restored"}
    assert rows["source_key"].to_pylist() == batch["source_key"].to_pylist()
    assert len(set(rows["output_uri"].to_pylist())) == batch.num_rows


def test_the_page_is_made_of_the_record() -> None:
    if not RESULTS.exists():
        pytest.skip(f"{RESULTS.name} is not there")
    page = fleet.as_markdown(json.loads(RESULTS.read_text()))
    assert page == RESULTS.with_suffix(".md").read_text()
