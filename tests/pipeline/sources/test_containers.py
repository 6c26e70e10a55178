"""Images in shards, archives, tables and lists: what is found in them, and that their bytes come back."""

from __future__ import annotations

import gzip
import http.server
import io
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.records.keys import output_key
from pipeline.records.listing import Listing
from pipeline.settings import RunSettings
from pipeline.sources.fetcher import Fetcher
from pipeline.sources.walk import open_source
from pipeline.storage.store import open_store

FILES = {"a.jpg": b"first", "folder/b.png": b"second" * 1000, "c.json": b"{}", "d.webp": b""}
IMAGES = {name: data for name, data in FILES.items() if not name.endswith("json")}


def listed(address: str) -> dict[str, dict[str, Any]]:
    """Rows of the listing by key."""
    listing = Listing(open_store(f"memory://{id(address)}"), "listing")
    listing.fill(open_source(address, private=True), RunSettings())
    return {row["source_key"]: row for batch in listing.batches() for row in batch.to_pylist()}


def fetched(address: str) -> dict[str, bytes]:
    """The bytes of every input by key."""
    fetcher = Fetcher(open_source(address, private=True).store, 1 << 20)
    return {key: fetcher.fetch(row) for key, row in listed(address).items()}


def write_tar(path: Path, files: dict[str, bytes] = FILES) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_tar_gz(path: Path, files: dict[str, bytes] = FILES) -> None:
    write_tar(path, files)
    path.write_bytes(gzip.compress(path.read_bytes()))


def write_zip(path: Path, files: dict[str, bytes] = FILES) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [("tar", write_tar), ("tar.gz", write_tar_gz), ("tgz", write_tar_gz), ("zip", write_zip)],
)
def test_an_archive_is_read_member_by_member(tmp_path: Path, suffix: str, write: Any) -> None:
    write(tmp_path / f"shard.{suffix}")
    address = str(tmp_path / f"shard.{suffix}")
    assert fetched(address) == {f"shard.{suffix}/{name}": data for name, data in IMAGES.items()}
    row = listed(address)[f"shard.{suffix}/a.jpg"]
    assert row["source_uri"] == f"file://{address}/a.jpg"
    assert row == listed(str(tmp_path / "*"))[f"shard.{suffix}/a.jpg"]


def test_a_glob_names_shards_and_a_prefix_does_not(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar")
    assert len(listed(f"{tmp_path}/*.tar")) == 9
    assert listed(str(tmp_path)) == {}


def test_a_compressed_shard_is_unpacked_once_and_read_in_any_order(tmp_path: Path) -> None:
    files = {f"{number:03d}.jpg": bytes([number]) * 100_000 for number in range(40)}
    write_tar_gz(tmp_path / "shard.tar.gz", files)
    rows = listed(str(tmp_path / "shard.tar.gz"))
    fetcher = Fetcher(open_store(str(tmp_path)), 1 << 20)
    for name in sorted(files, key=lambda name: files[name][0] * 7 % 40):
        assert fetcher.fetch(rows[f"shard.tar.gz/{name}"]) == files[name]


def test_a_compressed_shard_that_is_cut_fails_what_lies_behind_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar.gz"
    write_tar_gz(path, {"a.jpg": b"a" * 10, "b.jpg": random.Random(0).randbytes(3 << 20)})
    rows = listed(str(path))
    path.write_bytes(path.read_bytes()[: 2 << 20])
    fetcher = Fetcher(open_store(str(tmp_path)), 4 << 20)
    assert fetcher.fetch(rows["shard.tar.gz/a.jpg"]) == b"a" * 10
    with pytest.raises(ItemError) as caught:
        fetcher.fetch(rows["shard.tar.gz/b.jpg"])
    assert caught.value.code is ErrorCode.UNREADABLE


def test_shards_on_s3(tmp_path: Path, bucket: str) -> None:
    write_tar(tmp_path / "shard.tar")
    write_zip(tmp_path / "shard.zip")
    for name in ("shard.tar", "shard.zip"):
        open_store(bucket).write(f"shards/{name}", (tmp_path / name).read_bytes())
    found = fetched(f"{bucket}/shards/*")
    assert found == {f"shard.{kind}/{name}": data for kind in ("tar", "zip") for name, data in IMAGES.items()}


@pytest.mark.parametrize("rows_per_group", [1, 2, 100])
def test_a_table_with_encoded_images(tmp_path: Path, rows_per_group: int) -> None:
    path = tmp_path / "data.parquet"
    images = [
        {"bytes": b"one", "path": "x.jpg"},
        {"bytes": b"two", "path": None},
        {"bytes": b"three", "path": "y.png"},
    ]
    pq.write_table(pa.table({"label": [1, 2, 3], "image": images}), path, row_group_size=rows_per_group)
    assert fetched(str(path)) == {
        "data.parquet/x.jpg": b"one",
        "data.parquet/1": b"two",
        "data.parquet/y.png": b"three",
    }
    pq.write_table(
        pa.table({"label": ["a", "b"], "jpeg": [b"one", b"two"]}), path, row_group_size=rows_per_group
    )
    assert fetched(str(path)) == {"data.parquet/0": b"one", "data.parquet/1": b"two"}


def test_a_row_without_an_image_is_one_failure(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"image": pa.array([None, b"two"], pa.binary())}), path)
    rows, fetcher = listed(str(path)), Fetcher(open_store(str(tmp_path)), 100)
    with pytest.raises(ItemError) as caught:
        fetcher.fetch(rows["data.parquet/0"])
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert fetcher.fetch(rows["data.parquet/1"]) == b"two"


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_list_of_addresses(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"a")
    (tmp_path / "b.png").write_bytes(b"b")
    addresses = [str(tmp_path / "in/a.jpg"), "b.png", "gone.jpg"]
    path = tmp_path / f"list.{kind}"
    if kind == "txt":
        path.write_text("\n# a comment\n" + "\n".join(addresses) + "\n\n")
    elif kind == "csv":
        path.write_text("label,url\n" + "".join(f'"x, y",{address}\n' for address in addresses))
    else:
        pq.write_table(pa.table({"label": [1, 2, 3], "url": addresses}), path)
    rows, fetcher = listed(str(path)), Fetcher(open_source(str(path)).store, 100)
    inside = f"{tmp_path}/in/a.jpg".strip("/")
    assert set(rows) == {inside, "b.png", "gone.jpg"}
    assert [fetcher.fetch(rows[key]) for key in (inside, "b.png")] == [b"a", b"b"]
    with pytest.raises(ItemError) as caught:
        fetcher.fetch(rows["gone.jpg"])
    assert caught.value.code is ErrorCode.NOT_FOUND


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that asks for a signature."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if "sig=secret" not in self.path:
                self.send_error(403)
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    (tmp_path / "web").mkdir()
    (tmp_path / "web/a.jpg").write_bytes(b"a")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_signature_is_used_and_never_stored(tmp_path: Path, web: str, kind: str) -> None:
    address, path = f"{web}/a.jpg?sig=secret", tmp_path / f"list.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"url": [address]}), path)
    else:
        path.write_text(("name,url\nx," if kind == "csv" else "# list\n") + address + "\n")
    rows = listed(str(path))
    assert [row["source_uri"] for row in rows.values()] == [f"{web}/a.jpg"]
    assert "secret" not in str(rows)
    assert list(fetched(str(path)).values()) == [b"a"]


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_list_may_spell_paths_as_find_does(tmp_path: Path, kind: str) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.jpg", "b/c.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    addresses = ["a.jpg", "./a.jpg", "./b//./c.jpg", f"{tmp_path}/./a.jpg", "../a.jpg", "b/../../a.jpg"]
    path = tmp_path / f"list.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"url": addresses}), path)
    else:
        path.write_text("\n".join(["url"] * (kind == "csv") + addresses))
    rows, fetcher = listed(str(path)), Fetcher(open_source(str(path)).store, 100)
    inside = f"{tmp_path}/a.jpg".strip("/")
    assert set(rows) == {"a.jpg", "b/c.jpg", inside, "../a.jpg", "b/../../a.jpg"}
    assert rows["a.jpg"]["source_uri"] == rows[inside]["source_uri"] == f"file://{tmp_path}/a.jpg"
    assert [fetcher.fetch(rows[key]) for key in ("a.jpg", "b/c.jpg")] == [b"a.jpg", b"b/c.jpg"]
    for key in ("../a.jpg", "b/../../a.jpg"):
        with pytest.raises(ItemError, match=r"'\.\.' in it"):
            output_key(key)


def test_a_csv_list_without_a_header_loses_nothing(tmp_path: Path, web: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"local")
    path = tmp_path / "list.csv"
    path.write_text(f"\ufeffcat,a.jpg\ndog,{web}/a.jpg?sig=secret\n")
    assert fetched(str(path)) == {"a.jpg": b"local", f"{web}/a.jpg".removeprefix("http://"): b"a"}
    path.write_text("cat,photo\nx,a.jpg\n")
    with pytest.raises(SettingsError, match="only cat, photo: rename"):
        listed(str(path))


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "bomb.zip", {"a.png": b"\0" * 100_000})
    row = listed(str(tmp_path / "bomb.zip"))["bomb.zip/a.png"]
    for size in (row["source_size"], -1):
        with pytest.raises(ItemError) as caught:
            Fetcher(open_store(str(tmp_path)), 1000).fetch(row | {"source_size": size})
        assert caught.value.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("name", ["broken.tar", "broken.tar.gz", "broken.zip", "broken.parquet"])
def test_a_container_that_is_none_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nonsense" * 100)
    with pytest.raises(RunError, match="cannot be read as its extension says"):
        listed(str(tmp_path / name))


def test_a_broken_container_among_many_is_one_failure(tmp_path: Path) -> None:
    write_tar(tmp_path / "cut.tar")
    write_zip(tmp_path / "good.zip")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:600])
    (tmp_path / "no.parquet").write_bytes(b"nonsense")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "labels.parquet")
    rows, fetcher = listed(f"{tmp_path}/*"), Fetcher(open_store(str(tmp_path)), 1 << 20)
    broken = {key for key, row in rows.items() if row["kind"] == "broken"}
    assert broken == {"cut.tar", "no.parquet", "labels.parquet"}
    assert {f"good.zip/{name}" for name in IMAGES} <= set(rows)
    for key in broken:
        with pytest.raises(ItemError) as caught:
            fetcher.fetch(rows[key])
        assert caught.value.code is ErrorCode.UNREADABLE
    with pytest.raises(RunError):  # what it held would pass for deleted
        Listing(open_store("memory://strict"), "listing").fill(
            open_source(f"{tmp_path}/*"), RunSettings(prune=True)
        )


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "parquet"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_told_apart(tmp_path: Path, kind: str) -> None:
    contents = [b"first", b"second", b"third"]
    path = tmp_path / f"shard.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"image": [{"bytes": data, "path": "a.jpg"} for data in contents]}), path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for data in contents:
                archive.writestr("a.jpg", data)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as shard:
            for data in contents:
                info = tarfile.TarInfo("a.jpg")
                info.size = len(data)
                shard.addfile(info, io.BytesIO(data))
    found = fetched(str(path))
    assert sorted(found.values()) == contents
    assert found[f"shard.{kind}/a.jpg"] == b"first"
    assert all(key.startswith(f"shard.{kind}/") and key.endswith("a.jpg") for key in found)
    assert len({row["source_uri"] for row in listed(str(path)).values()}) == 3


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_a_line_that_is_no_address_is_one_failure(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / f"list.{kind}").write_text(
        "\ufeff" + ("url\n" if kind == "csv" else "") + f"{tmp_path}/a.png\nnonsense://x/b.png\n"
    )
    rows, fetcher = listed(f"{tmp_path}/list.{kind}"), Fetcher(open_store(str(tmp_path)), 100)
    key = f"{tmp_path}/a.png".strip("/")
    assert set(rows) == {key, "x/b.png"}
    assert fetcher.fetch(rows[key]) == b"a"
    with pytest.raises(ItemError, match="cannot open nonsense") as caught:
        fetcher.fetch(rows["x/b.png"])
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_table_without_images_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1]}), tmp_path / "data.parquet")
    with pytest.raises(SettingsError, match="no column of encoded images"):
        listed(str(tmp_path / "data.parquet"))
