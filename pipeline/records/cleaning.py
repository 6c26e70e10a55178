"""Removes superfluous objects that we wrote: objects that only superseded rows mention, and objects that a
killed run stored without a row.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.buckets import DIGEST, Buckets, bucket_count, digests, group_ids
from pipeline.records.intents import unrecorded
from pipeline.records.lease import Lease
from pipeline.records.manifest import manifest_files
from pipeline.records.summary import OnProgress, Progress, silent
from pipeline.records.verify import chosen_rows, newest_mask, numbered_batches, open_dataset
from pipeline.storage.store import Store

LEASE_SECONDS = 60.0
_READS = 16
_OUTPUT = np.dtype([*DIGEST, ("index", "<i8"), ("current", "?")])


def clean_dataset(dest: str, *, delete: bool, on_progress: OnProgress = silent) -> Iterator[str]:
    """Find our objects that no newest row mentions, delete them on request, and yield their addresses.

    An object whose content does not match its row is somebody else's, and stays. An object without a row is
    ours if a run that was killed announced it.

    Args:
        dest: a destination.
        delete: delete the objects, holding the lease; otherwise only yield them.
        on_progress: called with the number of candidates that were checked.

    Raises:
        SettingsError: no run has written to the destination.
        LeaseHeldError: another run writes there.
    """
    store = open_dataset(dest)
    if not delete:
        yield from _superfluous(store, on_progress)
        return
    with Lease(store, f"clean-{secrets.token_hex(4)}", LEASE_SECONDS) as lease:
        for uri in _superfluous(store, on_progress):
            lease.check()
            store.delete(uri.removeprefix(f"{store.uri()}/"))
            yield uri


def _superfluous(store: Store, on_progress: OnProgress) -> Iterator[str]:
    files = manifest_files(store)
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder, ThreadPoolExecutor(_READS) as threads:
        current = newest_mask(store, files, Path(folder))
        buckets = Buckets(Path(folder, "outputs"), _OUTPUT, bucket_count(len(current)))
        for start, batch in numbered_batches(store, files, ("output_uri",)):
            rows = [(start + n, uri) for n, uri in enumerate(batch["output_uri"].to_pylist()) if uri]
            outputs = np.zeros(len(rows), _OUTPUT)
            pairs = digests(uri for _, uri in rows)
            outputs["hi"], outputs["lo"] = pairs[:, 0], pairs[:, 1]
            outputs["index"] = [number for number, _ in rows]
            outputs["current"] = current[outputs["index"]]
            buckets.add(outputs)
        chosen = np.memmap(Path(folder, "chosen"), dtype=np.bool_, mode="w+", shape=len(current))
        for outputs in buckets:
            if len(outputs):
                (groups,) = group_ids(outputs)
                used = np.isin(groups, groups[outputs["current"]])
                chosen[outputs["index"][~used]] = True
        told: set[str] = set()
        done, total, begun = 0, int(chosen.sum()), time.monotonic()
        for batch in chosen_rows(store, files, chosen, ("output_uri", "output_sha256")):
            rows_left = iter(batch.to_pylist())
            while some := list(islice(rows_left, 4 * _READS)):
                for row, ours in zip(some, threads.map(lambda row: is_ours(store, row), some), strict=True):
                    if ours and row["output_uri"] not in told:
                        told.add(row["output_uri"])
                        yield row["output_uri"]
                done += len(some)
                on_progress(
                    Progress(
                        done=done,
                        total=total,
                        seconds=time.monotonic() - begun,
                        stage="cleaning",
                        counts={"superfluous": len(told)},
                    )
                )
    yield from map(store.uri, sorted(unrecorded(store)))


def is_ours(store: Store, row: Mapping[str, Any], *, absent: bool = False) -> bool:
    """Whether an object's content matches the digest in its row; `absent` if there is no object."""
    prefix = f"{store.uri()}/"
    if not row["output_uri"].startswith(prefix):
        return False
    try:
        data = store.read(row["output_uri"].removeprefix(prefix))
    except ItemError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return absent
        raise
    return hashlib.sha256(data).hexdigest() == row["output_sha256"]
