"""An archive as an older version left it, made without restoring: its rows, objects and record of a run."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.records.lease import Lease
from pipeline.records.listing import Listing
from pipeline.records.manifest import folder_of, to_parquet, to_table
from pipeline.records.summary import RunSummary
from pipeline.settings import RunSettings
from pipeline.sources.walk import open_source
from pipeline.storage.store import open_store

RUN = "20260101T000000-00000000"


def finish(source: str, dest: str, settings: RunSettings, prior_sha256: str) -> None:
    """Finish every image of a source, as version 1 of the method did; records did not hold the version."""
    store, made_by = open_store(dest), hashlib.sha256(b"made by version 1").hexdigest()
    rows = []
    with TemporaryDirectory() as folder, Lease(store, RUN, 60.0) as lease:
        listing = Listing(open_store(folder), "listing")
        listing.fill(open_source(source), settings)
        for number, found in enumerate(row for batch in listing.batches() for row in batch.to_pylist()):
            key = found["source_key"]
            store.write(key, b"made by version 1")
            rows.append(
                {
                    **{name: found[name] for name in ("source_uri", "source_key", "source_version")},
                    "run_id": RUN,
                    "status": ("restored", "unchanged", "rejected")[number % 3],
                    "output_uri": store.uri(key),
                    "output_sha256": made_by,
                    "settings_sha256": made_by,
                    "prior_sha256": prior_sha256,
                    "width": 1000,
                    "height": 2000,
                    "timings": {"decode": 1.0, "restore": 58.0, "encode": 1.0},
                    "epoch": lease.epoch,
                    "attempts": 1,
                    "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
                }
            )
    store.write(f"{folder_of(RUN)}/part-000000.parquet", to_parquet(to_table(rows)))
    details = {"settings": settings.model_dump(mode="json"), "prior_sha256": prior_sha256, "source": source}
    RunSummary(RUN, store.uri(), {}, 0, {}, 1.0, settings_sha256=made_by, details=details).store(store)


def contents(dest: str | Path) -> dict[str, bytes]:
    """Everything at a destination but its lease."""
    store = open_store(str(dest))
    return {path: store.fs.cat_file(path) for path in store.fs.find(store.root) if "/_i2r/lease/" not in path}
