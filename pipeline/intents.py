"""What a run is about to store where nothing lay: written before the objects, and gone once their rows are
there.

A run that is killed between an object and its row leaves an object that no row mentions. These notes tell
such an object of ours from somebody else's, which is never overwritten.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.storage import Store
from pipeline.summary import RUNS, run_folder

DELETES = 16
"""Notes that are removed at once."""


def intents_folder(run_id: str) -> str:
    """Key of the folder with a run's notes."""
    return f"{run_folder(run_id)}/intents"


def announce(store: Store, run_id: str, keys: Sequence[str]) -> str:
    """Note that objects of these keys, which are absent, will be stored; the note's key."""
    note = f"{intents_folder(run_id)}/{secrets.token_hex(8)}.json"
    store.write(note, json.dumps(list(keys)).encode())
    return note


def announced(store: Store, run_id: str | None = None) -> Iterator[list[str]]:
    """Keys of objects that a run, or any run, announced; some of them may be stored without a row."""
    for name in [run_id] if run_id else _run_ids(store):
        folder = intents_folder(name)
        for note in store.names(folder):
            yield json.loads(store.read(f"{folder}/{note}"))


def withdraw(store: Store, notes: Sequence[str]) -> None:
    """Remove notes, whose objects have their rows."""
    with ThreadPoolExecutor(DELETES) as threads:
        list(threads.map(store.delete, notes))


def withdraw_all(store: Store) -> None:
    """Remove every run's notes: all inputs have their rows."""
    for run_id in _run_ids(store):
        store.delete_folder(intents_folder(run_id))


def _run_ids(store: Store) -> list[str]:
    return [name for name in store.names(RUNS) if not name.endswith(".json")]
