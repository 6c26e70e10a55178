"""Notes on new objects that a run is about to store: written before the objects, removed after their rows.

A run that is killed between an object and its row leaves an object that no row mentions. The notes show that
we wrote such an object; an object of somebody else is never overwritten.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.manifest import manifest_files, read_batches
from pipeline.records.summary import RUNS, run_folder
from pipeline.storage.store import Store

DELETES = 16
"""Notes that are removed at once."""


def intents_folder(run_id: str) -> str:
    """Key of the folder with a run's notes."""
    return f"{run_folder(run_id)}/intents"


def announce(store: Store, run_id: str, keys: Sequence[str]) -> str:
    """Write a note that objects will be stored at these keys, which are free. Returns the note's key."""
    note = f"{intents_folder(run_id)}/{secrets.token_hex(8)}.json"
    store.write(note, json.dumps(list(keys)).encode())
    return note


def announced(store: Store, run_id: str | None = None) -> Iterator[list[str]]:
    """Keys in the notes of one run, or of all runs; some objects may be stored without a row."""
    return (keys for _, keys in _notes(store, run_id))


def unrecorded(store: Store) -> set[str]:
    """Keys in notes whose objects exist but have no row."""
    keys = {key for some in announced(store) for key in some}
    if not keys:  # the usual case: only a killed run leaves notes
        return keys
    uris = {store.uri(key): key for key in keys}
    wanted = pa.array(uris, pa.string())
    for file in manifest_files(store):
        for batch in read_batches(store, file.key, ("output_uri",)):
            found = batch["output_uri"]
            keys -= {uris[uri] for uri in found.filter(pc.is_in(found, wanted)).to_pylist()}
    return {key for key in keys if store.exists(key)}


def withdraw(store: Store, notes: Sequence[str]) -> None:
    """Remove notes after the rows of their objects were recorded."""
    with ThreadPoolExecutor(DELETES) as threads:
        list(threads.map(store.delete, notes))


class Notes:
    """Notes on objects whose rows are not recorded yet.

    Args:
        store: the destination, which holds the notes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: set[str] = set()

    def add(self, keys: Iterable[str]) -> None:
        """Add notes, by their keys."""
        self._keys.update(keys)

    def withdraw(self) -> None:
        """Remove the added notes from the store: the rows of their objects are recorded."""
        withdraw(self._store, sorted(self._keys))
        self._keys.clear()


def withdraw_settled(store: Store) -> None:
    """Remove notes of all runs whose objects each have a row or do not exist."""
    waiting = unrecorded(store)
    withdraw(store, [note for note, keys in _notes(store) if waiting.isdisjoint(keys)])


def _notes(store: Store, run_id: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Key and content of the notes of one run, or of all runs; skips notes that are removed meanwhile."""
    for name in [run_id] if run_id else _run_ids(store):
        folder = intents_folder(name)
        for note in store.names(folder):
            try:
                yield f"{folder}/{note}", json.loads(store.read(f"{folder}/{note}"))
            except ItemError as error:
                if error.code is not ErrorCode.NOT_FOUND:
                    raise


def _run_ids(store: Store) -> list[str]:
    return [name for name in store.names(RUNS) if not name.endswith(".json")]
