"""The same on Google's storage, against an emulator over HTTP; skipped where it or gcsfs is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import fsspec
import pytest
from servers import answers, free_ports, fresh_bucket
from store_checks import check_denied, check_listing, check_objects
from test_run import restore, rows

from pipeline.errors import LeaseHeldError, SettingsError
from pipeline.records.cleaning import clean_dataset
from pipeline.records.lease import Lease
from pipeline.records.verify import verify_dataset
from pipeline.sources.walk import open_source
from pipeline.storage.store import open_store

pytest.importorskip("gcsfs")
pytest.importorskip("gcp_storage_emulator")

SERVER = Path(__file__).with_name("gcs_server.py")
PATIENCE = 30.0
"""Seconds in which the emulator may start."""


@pytest.fixture(scope="module")
def gcs_endpoint() -> Iterator[str]:
    """The address of a store that runs for these tests."""
    [port] = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert answers(port, server, PATIENCE)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def gcs_bucket(gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fresh bucket."""
    # part of a client's own arguments, so that it goes with it into Ray's workers
    options = {"endpoint_url": gcs_endpoint, "token": "anon", "project": "tests"}
    monkeypatch.setitem(fsspec.config.conf, "gs", options)
    with fresh_bucket("gs") as address:
        yield address


def test_objects_on_gcs(gcs_bucket: str) -> None:
    check_objects(open_store(f"{gcs_bucket}/dest"))


def test_every_key_on_gcs_is_listed(gcs_bucket: str, gcs_endpoint: str) -> None:
    def put(key: str) -> None:
        query = urlencode({"uploadType": "media", "name": key})
        url = f"{gcs_endpoint}/upload/storage/v1/b/{gcs_bucket.removeprefix('gs://')}/o?{query}"
        urlopen(Request(url, b"four", {"Content-Type": "image/jpeg"})).close()

    check_listing(gcs_bucket, put)


def test_one_of_many_creates_an_object_on_gcs(gcs_bucket: str) -> None:
    store = open_store(f"{gcs_bucket}/dest")
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: store.create("one", bytes([number])), range(8)))
    assert created.count(True) == 1
    assert store.read("one") == bytes([created.index(True)])


def test_a_second_run_on_gcs_is_refused(gcs_bucket: str) -> None:
    store = open_store(f"{gcs_bucket}/dest")
    with Lease(store, "first", 60), pytest.raises(LeaseHeldError, match="run first"):
        Lease(store, "second", 60).__enter__()
    with Lease(store, "second", 60) as lease:
        assert lease.epoch == 2


def test_what_gcs_denies_is_told_at_once(gcs_bucket: str) -> None:
    check_denied(open_store(f"{gcs_bucket}/dest"), "denied.png", patience=5)
    with pytest.raises(SettingsError, match="may not be read"):
        open_source(f"{gcs_bucket}/denied")


@pytest.mark.usefixtures("ray_here")
def test_a_run_from_gcs_to_gcs(source: Path, gcs_bucket: str) -> None:
    from_store, dest = open_store(f"{gcs_bucket}/source"), f"{gcs_bucket}/dest"
    for path in source.rglob("*.png"):
        from_store.write(path.relative_to(source).as_posix(), path.read_bytes())
    assert restore(f"{gcs_bucket}/source", dest, limit=4).counts["left"] == 2
    resumed = restore(f"{gcs_bucket}/source", dest)
    assert (resumed.counts["restored"], resumed.counts["carried"]) == (2, 4)
    assert restore(f"{gcs_bucket}/source", dest, format="webp", max_redo=1.0).counts["restored"] == 6
    open_store(dest).write("mine.png", b"not of a run")
    superfluous = {f"{dest}/{path.relative_to(source)}" for path in source.rglob("*.png")}
    assert set(clean_dataset(dest, delete=True)) == superfluous
    assert open_store(dest).names("") == ["_i2r", "album-0", "album-1", "mine.png"]
    checked = verify_dataset(dest)
    assert (checked.checked, checked.faults) == (6, [])
    assert {row["output_uri"].rpartition(".")[2] for row in rows(dest).values()} == {"webp"}
