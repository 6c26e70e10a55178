"""What a list may name, and how long its lines may be."""

from __future__ import annotations

import csv
import io

import fsspec
import pytest

from pipeline.errors import SettingsError
from pipeline.sources.lists import MAX_LINE, address_store, addressed_lines
from pipeline.storage.store import Store, open_store

BUCKET = Store(fsspec.filesystem("s3"), "bucket/lists")
WEB = open_store("http://example.org/lists")
LOCAL = open_store("/lists")


@pytest.mark.parametrize(
    ("store", "address"),
    [
        *((LOCAL, address) for address in ("a.png", "/b/a.png", "file:///b/a.png", "s3://b/a.png")),
        *(
            (BUCKET, address)
            for address in ("a.png", "/b/a.png", "s3a://b/a.png", "https://example.org/a.png")
        ),
        *((WEB, address) for address in ("a.png", "https://example.org/a.png")),
    ],
)
def test_a_list_names_what_is_where_it_is_and_the_web(store: Store, address: str) -> None:
    place = address_store(store, "list.txt", address)
    assert place.root.endswith("a.png")
    assert place.private == store.private


@pytest.mark.parametrize(
    ("store", "address"),
    [
        *((LOCAL, address) for address in ("simplecache::http://10.0.0.1/a", "ftp://example.org/a.png")),
        *(
            (BUCKET, address)
            for address in ("file:///etc/passwd", "FILE:///etc/passwd", "local:///etc/passwd")
        ),
        *((BUCKET, address) for address in ("zip://a::file:///b.zip", "memory://a", "gs://b/a.png")),
        *((WEB, address) for address in ("file:///etc/passwd", "s3://b/a.png")),
    ],
)
def test_a_list_names_nothing_else(store: Store, address: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot open .*: the list .*list\.txt may name"):
        address_store(store, "list.txt", address)


def test_what_a_list_may_reach_is_handed_down() -> None:
    source = open_store("http://example.org/lists", private=False)
    for address in ("a.png", "http://example.org/a.png"):
        assert not address_store(source, "list.txt", address).private


@pytest.mark.parametrize("key", ["list.txt", "list.csv"])
def test_a_line_without_end_fills_no_memory(key: str) -> None:
    head = b"url\n" if key == "list.csv" else b""
    with pytest.raises(csv.Error, match=f"more than {MAX_LINE} bytes"):
        list(addressed_lines(io.BytesIO(head + b"a.png\n" + b"a" * (MAX_LINE + 2)), key))
    whole = head + (b"a.png\n" + b"b" * (MAX_LINE - 1) + b"\n") * 9 + b"c.png"
    lines = list(addressed_lines(io.BytesIO(whole), key))
    assert [len(address) for _, address in lines] == [5, MAX_LINE - 1] * 9 + [5]
    assert all(whole[offset:].startswith(address.encode()) for offset, address in lines)


def test_a_list_is_read_from_a_bucket_too(bucket: str) -> None:
    store = open_store(bucket)
    store.write("list.csv", b"label,url\nx,a.png\n\ny,b.png\n")
    with store.fs.open(store.path("list.csv"), "rb") as file:
        assert list(addressed_lines(file, "list.csv")) == [(10, "a.png"), (19, "b.png")]
