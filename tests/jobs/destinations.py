"""Destinations as a run leaves them, made without one: small pictures, their rows, a listing and a record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from i2r import Finding
from pipeline.records.findings import to_column
from pipeline.records.lease import FOLDER, identity
from pipeline.records.listing import SCHEMA
from pipeline.records.manifest import Status, folder_of, to_parquet, to_table
from pipeline.records.summary import record_key, run_folder

RUN = "20260101T020000-a"


@dataclass(frozen=True)
class Made:
    """A picture of such a destination: its key, its bytes before and after, and what its row says."""

    key: str
    status: Status
    before: bytes = b""
    after: bytes = b""
    findings: Sequence[Finding] = ()
    row: dict[str, Any] = field(default_factory=dict)


def make_destination(folder: Path, pictures: Sequence[Made], *, ended: bool = True, carried: int = 0) -> Path:
    """Leave `in` and `out` in a folder, and return the latter; a run that has not ended is this process's."""
    source, dest = folder / "in", folder / "out"
    rows = [_row(source, dest, picture) for picture in pictures]
    listed = [
        {name: row.get(name) for name in SCHEMA.names} | {"kind": "object", "container": "", "offset": 0}
        for row in rows
    ]
    for picture in pictures:
        _write(source / picture.key, picture.before)
        if picture.status != Status.FAILED:
            _write(dest / picture.key, picture.after)
    holder = {"run_id": RUN, "seconds": 60, "released": ended, **identity()}
    _write(dest / f"{FOLDER}/{1:010d}", json.dumps(holder).encode())
    _write(
        dest / run_folder(RUN) / "listing/part-000000.parquet",
        to_parquet(pa.Table.from_pylist(listed, SCHEMA)),
    )
    if rows:
        _write(dest / folder_of(RUN) / "part-000000.parquet", to_parquet(to_table(rows)))
    if ended:
        counts = Counter({status.value: 0 for status in Status}) + Counter(row["status"] for row in rows)
        record = {
            "run_id": RUN,
            "dest": f"file://{dest}",
            "counts": {status.value: counts[status] for status in Status} | {"carried": carried, "left": 0},
            "seconds": 61.0,
            "stopped": None,
            "details": {
                "source": f"file://{source}",
                "prior": "own",
                "settings": {},
                "finished_at": "2026-01-01T03:00:00+00:00",
            },
        }
        _write(dest / record_key(RUN), json.dumps(record).encode())
    return dest


def _row(source: Path, dest: Path, picture: Made) -> dict[str, Any]:
    failed = picture.status == Status.FAILED
    return {
        "source_uri": f"file://{source}/{picture.key}",
        "source_key": picture.key,
        "source_size": len(picture.before),
        "source_version": "1",
        "content_sha256": hashlib.sha256(picture.before).hexdigest(),
        "output_uri": None if failed else f"file://{dest}/{picture.key}",
        "output_sha256": None if failed else hashlib.sha256(picture.after).hexdigest(),
        "status": picture.status.value,
        "error_code": "unreadable" if failed else None,
        "error_message": "the JPEG file is damaged" if failed else None,
        "findings": None if failed else to_column(picture.findings),
        "timings": {"restore": 0.5},
        "epoch": 1,
        "attempts": 1,
        **picture.row,
    }


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
