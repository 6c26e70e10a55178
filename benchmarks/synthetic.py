"""Images that are nowhere: keys that a file system makes up, and stages that neither read nor store an image.

What is left of a run is what it does for each image besides the image: listing, joining, sending rows through
the stages, recording.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from pipeline.records.listing import SOURCE_COLUMNS
from pipeline.records.manifest import METRICS, STAGES, read_batches
from pipeline.runs import attempts, run
from pipeline.stages import ray_data
from pipeline.stages.batches import ROWS, Job
from pipeline.stages.ray_data import Pass
from pipeline.stages.session import Machines

FOLDER_KEYS = 1000
PROTOCOL = "synthetic"


class Keys(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """Objects that only a listing names: `synthetic://1000000` has a million, in folders of a thousand."""

    protocol = PROTOCOL
    cachable = False

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What is at a path."""
        return {"name": self._strip_protocol(path), "size": 0, "type": "directory"}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[dict[str, Any]]:
        """A folder's entries: a root's folders, or a folder's objects."""
        root, _, folder = self._strip_protocol(path).partition("/")
        if not folder:
            folders = range(-(-int(root) // FOLDER_KEYS))
            return [{"name": f"{root}/{n:05d}", "size": 0, "type": "directory"} for n in folders]
        start = int(folder) * FOLDER_KEYS
        return [_entry(root, folder, n) for n in range(start, min(int(root), start + FOLDER_KEYS))]


fsspec.register_implementation(PROTOCOL, Keys, clobber=True)


def _entry(root: str, folder: str, number: int) -> dict[str, Any]:
    name = f"{root}/{folder}/scan-{number:08d}.jpg"
    etag = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return {"name": name, "size": 4_000_000 + number, "type": "file", "ETag": etag}


class Fetched:
    """In place of `FetchAndDecode`: hands on the rows of the listing."""

    def __init__(self, job: Job) -> None:
        """Nothing to load."""

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        """What the other stages need of the rows."""
        yield pa.table({name: pa.array(batch[name]) for name in (*SOURCE_COLUMNS, "failed_before")})


class Restored:
    """In place of `RestoreItems`."""

    def __init__(self, factory: object) -> None:
        """Nothing to load."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The same rows."""
        return batch


class Stored:
    """In place of `EncodeAndStore`: rows as of restored photographs, whose objects are stored nowhere."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of `ROWS`. What is random in those of photographs is random here: it decides their size."""
        return pa.Table.from_pylist([self._row(row) for row in batch.to_pylist()], schema=ROWS)

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        digests, values = os.urandom(64).hex(), np.random.default_rng().random(32).tolist()
        scores = [f"{name}_{when}" for name in METRICS for when in ("before", "after")]
        return {
            **self._job.common,
            **row,
            "content_sha256": digests[:64],
            "output_sha256": digests[64:],
            "output_uri": self._job.dest.uri(row["source_key"]),
            "status": "restored",
            "format": "JPEG",
            "mode": "RGB",
            "width": 4000,
            "height": 3000,
            "seed": int(digests[:15], 16),
            "nfe": 12,
            "typicality_before": values[0],
            "typicality_after": values[1],
            "consistency_psnr": values[2],
            "metrics": dict(zip(scores, values[3:], strict=False)),
            "timings": dict(zip(STAGES, values[20:], strict=False)),
            "places": [],
            "finished_at": datetime.now(UTC),
        }


def stand_in() -> None:
    """Let the runs of this process use these stages."""
    vars(ray_data).update(FetchAndDecode=Fetched, RestoreItems=Restored, EncodeAndStore=Stored)


def stand_in_for_ray() -> None:
    """Let the runs of this process make their rows in this process, without Ray."""
    vars(attempts).update(restored_rows=_rows)
    vars(run).update(ray_session=_machines)


def _rows(job: Job, work: Pass, factory: object, machines: Machines) -> Iterator[pa.Table]:
    stage = Stored(job)
    for part in work.parts:
        for batch in read_batches(job.dest, part, (*SOURCE_COLUMNS, "failed_before"), rows=work.group):
            yield stage(pa.Table.from_batches([batch]))


@contextmanager
def _machines(*_: object) -> Iterator[Machines]:
    yield Machines(2, 2, 1, 0.0)
