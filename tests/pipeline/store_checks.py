"""What holds of every store, whoever runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import islice

import pytest

from pipeline.errors import ErrorCode, ItemError, RunError
from pipeline.records.keys import output_key
from pipeline.sources.walk import open_source
from pipeline.storage.store import Store, open_store


def check_objects(store: Store) -> None:
    """Objects are written, created only where there is none, found, read and removed."""
    store.write("a/b.bin", b"first")
    store.write("a/b.bin", b"second")
    assert store.create("a/ü #%20.bin", b"third")
    assert not store.create("a/ü #%20.bin", b"fourth")
    assert (store.read("a/b.bin"), store.read("a/ü #%20.bin")) == (b"second", b"third")
    assert store.read_path(store.path("a/b.bin"), 1, 4) == b"eco"
    store.write("empty.bin", b"")
    assert (store.read("empty.bin", 6), store.read("a/b.bin", 6)) == (b"", b"second")
    with pytest.raises(ItemError, match="more bytes than the limit of 5"):
        store.read("a/b.bin", 5)
    store.delete("empty.bin")
    assert (store.exists("a/b.bin"), store.exists("a"), store.exists("x")) == (True, False, False)
    assert store.names("a") == ["b.bin", "ü #%20.bin"]
    assert abs(store.modified("a/b.bin") - time.time()) < 60
    _check_refused(lambda: store.read("nothing.bin"), ErrorCode.NOT_FOUND)
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    store.delete_folder("a")
    assert store.names("a") == []


def check_listing(bucket: str, put: Callable[[str], object]) -> None:
    """Every key is listed once, with its size and version, also one with empty parts, which is refused later.

    Args:
        bucket: address of an empty one.
        put: stores four bytes under a key of it.
    """
    names = ["//top.jpg", "/top.jpg", "a///3.jpg", "a//2.jpg", "a//b/4.jpg", "a/1.jpg", "a/b/5.jpg"]
    for folder in ("", "source/", "source-2/"):
        for name in names:
            put(folder + name)
    within = list(islice(open_source(f"{bucket}/source").objects(), 50))
    assert sorted(found.key for found in within) == names
    assert {found.uri for found in within} == {f"{bucket}/source/{name}" for name in names}
    store = open_store(f"{bucket}/source")
    [first] = [found for found in within if found.key == "a/1.jpg"]
    assert (first.size, first.version) == store.describe(store.path("a/1.jpg"))
    everything = sorted(found.key for found in islice(open_source(bucket).objects(), 50))
    assert everything == sorted(folder + name for folder in ("", "source/", "source-2/") for name in names)
    for name in names[:5]:
        _check_refused(partial(output_key, name), ErrorCode.BAD_KEY)


def check_denied(store: Store, key: str, patience: float) -> None:
    """A key that may be neither read nor written is told so within `patience` seconds, not repeated."""
    start = time.monotonic()
    _check_refused(lambda: store.read(key), ErrorCode.FORBIDDEN)
    for write in (store.write, store.create):
        with pytest.raises(RunError, match="denies writing"):
            write(key, b"content")
    assert time.monotonic() - start < patience


def _check_refused(action: Callable[[], object], code: ErrorCode) -> None:
    with pytest.raises(ItemError) as caught:
        action()
    assert caught.value.code is code
