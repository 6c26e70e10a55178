"""Removes superfluous objects that we wrote: objects that only superseded rows mention, and objects that a
killed run stored without a row.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.database import manifest_database, query
from pipeline.records.intents import unrecorded
from pipeline.records.lease import Lease
from pipeline.records.manifest import manifest_files
from pipeline.records.summary import OnProgress, Progress, silent
from pipeline.records.verify import open_dataset
from pipeline.storage.store import Store

LEASE_SECONDS = 60.0
_READS = 16
_SUPERSEDED = """
CREATE TABLE superseded AS SELECT output_uri AS uri, list(DISTINCT output_sha256) AS digests
FROM rows
WHERE output_uri IS NOT NULL
AND output_uri NOT IN (SELECT output_uri FROM newest WHERE output_uri IS NOT NULL)
GROUP BY output_uri ORDER BY min(rowid)
"""


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
    columns = ("output_uri", "output_sha256")
    with (
        manifest_database(store, manifest_files(store), columns) as database,
        ThreadPoolExecutor(_READS) as threads,
    ):
        database.execute(_SUPERSEDED)
        [(total,)] = database.sql("SELECT count(*) FROM superseded").fetchall()
        done, found, begun = 0, 0, time.monotonic()
        rows = (row for batch in query(database, "FROM superseded") for row in batch.to_pylist())
        while some := list(islice(rows, 4 * _READS)):
            for row, ours in zip(some, threads.map(lambda row: is_ours(store, **row), some), strict=True):
                if ours:
                    found += 1
                    yield row["uri"]
            done += len(some)
            on_progress(
                Progress(
                    done=done,
                    total=total,
                    seconds=time.monotonic() - begun,
                    stage="cleaning",
                    counts={"superfluous": found},
                )
            )
    yield from map(store.uri, sorted(unrecorded(store)))


def is_ours(store: Store, uri: str, digests: Container[str], *, absent: bool = False) -> bool:
    """Whether an object's content has one of the digests of its rows; `absent` if there is no object."""
    prefix = f"{store.uri()}/"
    if not uri.startswith(prefix):
        return False
    try:
        data = store.read(uri.removeprefix(prefix))
    except ItemError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return absent
        raise
    return hashlib.sha256(data).hexdigest() in digests
