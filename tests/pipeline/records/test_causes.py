"""Why finished inputs are pending again: by rows and records as runs leave them, of older versions too."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from i2r.settings import METHOD_VERSION
from pipeline.records.causes import NO_RECORD, SOURCE_CHANGED, difference, find_outdated
from pipeline.records.listing import Listing, to_batch
from pipeline.records.manifest import folder_of, manifest_files, to_parquet, to_table
from pipeline.records.outdated import Cause
from pipeline.records.pending import Tally, Wanted, pending_batches
from pipeline.settings import RunSettings
from pipeline.sources.containers import Found
from pipeline.storage.store import Store, open_store

TIMES = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
NOW = RunSettings().decisive("weights")


def row(key: str, made_by: str, seconds: float | None = 2.0, version: str = "1") -> dict[str, Any]:
    timings = {"fetch": 9.0, "decode": 0.5, "restore": seconds, "encode": None, "store": 9.0}
    return {
        "source_uri": f"file:///s/{key}",
        "source_version": version,
        "settings_sha256": made_by,
        "status": "restored",
        "width": 2000,
        "height": 1000,
        "timings": timings,
    }


def counted(dest: Store, rows: list[dict[str, Any]]) -> Tally:
    """The counts of a listing of the rows' inputs, all of version 1."""
    dest.write(f"{folder_of('r')}/part-000000.parquet", to_parquet(to_table([each | TIMES for each in rows])))
    listing, tally = Listing(dest, "_i2r/runs/r/listing"), Tally()
    uris = [each["source_uri"] for each in rows]
    listing.store_part([to_batch([Found(uri[10:], uri[7:], 1, "1", uri) for uri in uris])])
    wanted = Wanted("now")
    list(pending_batches(dest, listing, manifest_files(dest), wanted, tally=tally, extension=None))
    return tally


def made(settings_sha256: str, prior_sha256: str = "weights", **details: Any) -> dict[str, Any]:
    """The record of a run, as far as it says what made its outputs."""
    settings = RunSettings().model_dump(mode="json")
    details = {"settings": settings, "prior_sha256": prior_sha256, **details}
    return {"settings_sha256": settings_sha256, "details": details}


def test_causes_are_told_apart_with_their_costs(tmp_path: Path) -> None:
    dest = open_store(str(tmp_path))
    rows = [row(f"a{number}", "method") for number in range(3)]
    rows += [row(f"b{number}", "weights", None) for number in range(2)]
    rows += [row("c", "forgotten"), row("d", "now"), row("e", "now", version="0")]
    records = [made("method"), made("weights", "0123456789abcdef", method_version=METHOD_VERSION)]
    found = find_outdated(dest, counted(dest, rows), NOW, records, max_redo=0.05)
    assert found.finished == 8
    assert found.redone == [
        Cause(f"version of the method 1 -> {METHOD_VERSION}", 3, 6.0, 7.5),
        Cause("weights or calibration of the prior 0123456789ab -> weights", 2, 4.0, None),
        Cause(NO_RECORD, 1, 2.0, 2.5),
    ]
    assert found.changed == Cause(SOURCE_CHANGED, 1, 2.0, pytest.approx(2.5))
    assert found.is_refused


def test_nothing_is_read_where_nothing_is_outdated(tmp_path: Path) -> None:
    found = find_outdated(open_store(str(tmp_path / "none")), Tally(pending=3, finished=2), NOW, [], 0.05)
    assert (found.finished, list(found.lines())) == (2, [])


def test_settings_that_differ_are_named_also_those_that_one_version_lacks() -> None:
    before = NOW | {"format": "PNG", "method": {**NOW["method"], "steps": 9, "gone": 0.1}}
    del before["method"]["strength"]
    assert difference(before, NOW) == (
        "method.steps 9 -> 5, method.gone 0.1 -> unset, format PNG -> None, method.strength unset -> 1.0"
    )
