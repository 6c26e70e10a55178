"""What a SOURCE can mean, and how it is listed, on disk and on S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_checks import check_listing

from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.records.listing import Listing
from pipeline.settings import RunSettings
from pipeline.sources import walk
from pipeline.sources.fetcher import Fetcher
from pipeline.sources.walk import matches, open_source
from pipeline.storage.store import Store, open_store

KEYS = ["a/1.jpg", "a/2.PNG", "a/b/3.tiff", "a/b/notes.txt", "c/4.webp", "c/README"]


@pytest.fixture(params=["local", "s3", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        address = str(tmp_path / "source")
    elif request.param == "s3":
        address = request.getfixturevalue("bucket") + "/source"
    else:
        address = f"memory://{tmp_path.name}"
    for key in KEYS:
        open_store(address).write(key, key.encode())
    return address


def keys(address: str, **settings: object) -> set[str]:
    listing = fill(address, **settings)
    return {row["source_key"] for batch in listing.batches() for row in batch.to_pylist()}


def fill(address: str, **settings: object) -> Listing:
    listing = Listing(open_store("memory://listing"), address.replace(":", "/"))
    listing.fill(open_source(address), RunSettings.model_validate(settings))
    return listing


def test_a_prefix_is_listed_in_depth_and_the_rest_is_counted(root: str) -> None:
    listing = fill(root)
    assert keys(root) == {"a/1.jpg", "a/2.PNG", "a/b/3.tiff", "c/4.webp"}
    assert listing.count == 4
    assert listing.ignored == {".txt": 1, "(none)": 1}


def test_pages_are_joined(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "PAGE", 2)
    assert len(keys(root)) == 4


@pytest.mark.parametrize("most_folders", [100, 0])
def test_keys_with_empty_parts_are_listed_once_and_refused_later(
    bucket: str, most_folders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", 2)
    monkeypatch.setattr(walk, "MOST_FOLDERS", most_folders)
    client, name = open_store(bucket).fs, bucket.removeprefix("s3://")
    check_listing(bucket, lambda key: client.call_s3("put_object", Bucket=name, Key=key, Body=b"four"))


@pytest.mark.parametrize("ignored", [False, True])
def test_a_flat_prefix_is_listed_in_parts_where_the_store_can_start_anywhere(
    bucket: str, ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", 2)
    last = chr(0x10FFFF)
    names = [f"scan-{number:03}.jpg" for number in range(0, 30, 3)]
    names += ["scan-0", f"scan-0{last}.jpg", f"scan-{last}", "s", "ü.jpg", "t/1.jpg", "t/2/3.jpg", "z"]
    client, starts = open_store(bucket).fs, []
    for name in names:
        client.call_s3("put_object", Bucket=bucket.removeprefix("s3://"), Key=f"in/{name}", Body=b"four")
    source = open_source(f"{bucket}/in")

    def watch(params: dict[str, object], **_: object) -> None:
        starts.append(params.pop("StartAfter", None) if ignored else params.get("StartAfter"))

    events = source.store.fs.s3.meta.events
    events.register("provide-client-params.s3.ListObjectsV2", watch)
    try:
        found = [found.key for found in source.objects()]
    finally:
        events.unregister("provide-client-params.s3.ListObjectsV2", watch)
    assert sorted(found) == sorted(names)
    parts = len(list(filter(None, starts))) - 1  # the first finds out whether it is heeded
    assert parts == 0 if ignored else parts > 2  # the first page alone leaves three


def test_a_single_object_is_an_input(root: str) -> None:
    assert keys(f"{root}/a/1.jpg") == {"1.jpg"}
    assert keys(f"{root}/c/README") == {"README"}


def test_a_glob_has_keys_relative_to_where_it_begins(root: str) -> None:
    assert keys(f"{root}/a/*") == {"1.jpg", "2.PNG"}
    assert keys(f"{root}/**/*.jpg") == {"a/1.jpg"}
    assert keys(f"{root}/*/4.*") == {"c/4.webp"}


def test_include_and_exclude(root: str) -> None:
    assert keys(root, include=["*.txt", "c/**"]) == {"a/b/notes.txt", "c/4.webp", "c/README"}
    assert keys(root, exclude=["a/**"]) == {"c/4.webp"}


def test_a_version_changes_with_the_object(root: str) -> None:
    first = versions(root)
    open_store(root).write("a/1.jpg", b"other content")
    second = versions(root)
    assert {key for key in first if first[key] != second[key]} == {"a/1.jpg"}


def versions(root: str) -> dict[str, str]:
    return {found.key: found.version for found in open_source(root).objects()}


def test_a_row_names_the_object_by_its_address(root: str) -> None:
    rows = [row for batch in fill(f"{root}/c").batches() for row in batch.to_pylist()]
    store = open_store(root)
    assert [(row["source_uri"], row["source_size"]) for row in rows] == [(store.uri("c/4.webp"), 8)]


def test_a_missing_source_is_a_wrong_setting(root: str) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        open_source(f"{root}/nowhere")


def test_a_name_that_is_not_text_is_listed_and_refused_later(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    Path(f"{tmp_path}/source/\udcff.jpg").touch()
    assert keys(str(tmp_path / "source")) == {"\\udcff.jpg"}


def test_what_is_deleted_while_it_is_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").touch()
        (tmp_path / f"{folder}.jpg").touch()
    scan = os.scandir

    def scan_and_delete(path: str) -> Iterator[os.DirEntry[str]]:
        entries = list(scan(path))
        for name in ("b.jpg", "b/1.jpg"):
            (tmp_path / name).unlink(missing_ok=True)
        if (tmp_path / "b").exists():
            (tmp_path / "b").rmdir()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", scan_and_delete)
    assert {found.key for found in open_source(str(tmp_path)).objects()} == {"a/1.jpg", "a.jpg"}


def test_links_are_told(tmp_path: Path) -> None:
    folder, away = tmp_path / "source", tmp_path / "away"
    (folder / "a").mkdir(parents=True)
    away.mkdir()
    (away / "1.jpg").write_bytes(b"1")
    (folder / "file.jpg").symlink_to(away / "1.jpg")
    (folder / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "a/up").symlink_to(folder)
    (folder / "shard.zip").symlink_to(away)
    for address in (str(folder), f"{folder}/**"):
        listing = fill(address)
        listed = {row["source_key"]: row for batch in listing.batches() for row in batch.to_pylist()}
        assert set(listed) == {"file.jpg", "broken.jpg", "loop.jpg"}
        assert listing.ignored == {"(link to a folder)": 2}
    with pytest.raises(ItemError) as caught:
        Fetcher(open_store(str(folder)), 100).fetch(listed["broken.jpg"])
    assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("key", "pattern", "expected"),
    [
        ("a/b/c.jpg", "*.jpg", True),
        ("a/b/c.jpg", "a/*.jpg", False),
        ("a/b/c.jpg", "a/**/*.jpg", True),
        ("a/c.jpg", "a/**/*.jpg", True),
        ("a/b/c.jpg", "**", True),
        ("a/b/c.jpg", "a/**", True),
        ("c.jpg", "**", True),
    ],
)
def test_matches(key: str, pattern: str, expected: bool) -> None:
    assert matches(key, pattern) is expected


def test_a_store_of_nothing_lists_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert list(open_source(str(tmp_path / "empty")).objects()) == []
    assert isinstance(open_source(str(tmp_path / "empty")).store, Store)
