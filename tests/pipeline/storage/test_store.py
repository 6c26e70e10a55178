"""Objects under one address: whole or absent, and created only once."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.storage import retries
from pipeline.storage.store import Store, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(
        str(tmp_path / "dest") if request.param == "local" else request.getfixturevalue("bucket") + "/dest"
    )


def test_what_is_written_is_read_back_and_replaced(store: Store) -> None:
    store.write("a/b.bin", b"first")
    store.write("a/b.bin", b"second")
    assert store.read("a/b.bin") == b"second"
    assert store.exists("a/b.bin")
    assert store.names("a") == ["b.bin"]


def test_an_object_is_read_no_further_than_its_limit(store: Store) -> None:
    for size in (0, 1, 10):
        store.write("a.bin", bytes(size))
        assert store.read("a.bin", 10) == bytes(size)
    store.write("a.bin", bytes(11))
    with pytest.raises(ItemError, match=r"a\.bin has more bytes than the limit of 10") as caught:
        store.read("a.bin", 10)
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_an_object_is_created_only_once(store: Store) -> None:
    assert store.create("a/b.bin", b"first")
    assert not store.create("a/b.bin", b"second")
    assert store.read("a/b.bin") == b"first"


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete("nothing.bin")
    store.delete_folder("no/folder")
    assert store.names("no/folder") == []


def test_a_missing_object_is_not_found(store: Store) -> None:
    with pytest.raises(ItemError) as caught:
        store.read("nothing.bin")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_the_time_of_an_object_is_the_stores(store: Store) -> None:
    store.write("a.bin", b"")
    first = store.modified("a.bin")
    store.write("b.bin", b"")
    assert 0 <= store.modified("b.bin") - first < 60


def test_a_store_can_be_pickled(store: Store) -> None:
    store.write("a.bin", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a.bin") == b"x"  # noqa: S301 - our own bytes


def test_a_local_write_leaves_no_temporary_name(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("x/a.bin", b"1")
    store.create("x/a.bin", b"2")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.bin"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_an_object_is_created_only_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    def replace(*_: object) -> None:
        raise OSError(errno.ENAMETOOLONG, "no")

    monkeypatch.setattr(os, "link", link)
    store = open_store(str(tmp_path))
    assert store.create("x/a.bin", b"first")
    assert not store.create("x/a.bin", b"second")
    assert store.read("x/a.bin") == b"first"
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.0)
    with pytest.raises(ItemError, match=r"b\.bin: .*no"):
        store.create("x/b.bin", b"third")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.bin"]


def test_a_full_disk_stops_the_run() -> None:
    with pytest.raises(RunError, match="make room"):
        open_store("/dev")._store("full", lambda: Path("/dev/full").write_bytes(b"x" * 10))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_denied_write_stops_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="denies writing"):
        open_store(str(tmp_path)).write("a", b"")


def test_a_protocol_that_is_not_known_is_an_error() -> None:
    with pytest.raises(SettingsError, match="cannot open"):
        open_store("nonsense://bucket/prefix")
