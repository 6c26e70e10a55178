"""Every kind of SOURCE, from its address to the last row."""

from __future__ import annotations

import csv
import gzip
import http.server
import io
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
from endless import Endless
from test_run import images, restore, rows

from pipeline import restore_dataset
from pipeline.records.verify import verify_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture
def web(source: Path) -> Iterator[str]:
    """The address of a web server with the source's images, one of which asks for a signature."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if "/album-1/5.png" in self.path and "sig=secret" not in self.path:
                self.send_error(403)
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(source)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def as_tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_images_in_containers_of_every_kind(source: Path, tmp_path: Path) -> None:
    shards, dest = tmp_path / "shards", tmp_path / "dest"
    shards.mkdir()
    files = {path.name: path.read_bytes() for path in sorted(source.rglob("*.png"))}
    sample = {f"{Path(name).stem}.{kind}": data for name, data in files.items() for kind in ("png", "json")}
    (shards / "a.tar").write_bytes(as_tar(sample))
    (shards / "b.tar.gz").write_bytes(gzip.compress(as_tar(files)))
    with zipfile.ZipFile(shards / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    structs = [{"bytes": data, "path": name} for name, data in files.items()]
    pq.write_table(pa.table({"image": structs, "label": range(6)}), shards / "d.parquet", row_group_size=2)
    pq.write_table(pa.table({"jpg": list(files.values())}), shards / "e.parquet")

    summary = restore(f"{shards}/*", dest)
    assert (summary.counts["restored"], summary.counts["ignored"]) == (30, 6)
    expected = {f"{shard}/{name}" for shard in ("a.tar", "b.tar.gz", "c.zip", "d.parquet") for name in files}
    assert set(rows(dest)) == images(dest) == expected | {f"e.parquet/{number}" for number in range(6)}
    assert len({row["output_sha256"] for row in rows(dest).values()}) == 6
    assert restore(f"{shards}/*", dest).counts["carried"] == 30
    assert verify_dataset(str(dest)).faults == []


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_images_that_a_list_names(
    source: Path, tmp_path: Path, web: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    addresses = [
        str(source / "album-0/0.png"),
        "source/album-0/2.png",
        f"{web}/album-1/1.png",
        f"{web}/album-1/5.png?sig=secret",
        f"{web}/album-1/5.png?sig=wrong-secret",
        f"{web}/gone.png",
    ]
    path, dest = tmp_path / f"list.{kind}", tmp_path / "dest"
    if kind == "txt":
        path.write_text("\n".join(addresses))
    elif kind == "csv":
        with path.open("w") as file:
            csv.writer(file).writerows([["label", "url"], *(["x, y", address] for address in addresses)])
    else:
        pq.write_table(pa.table({"url": addresses}), path)
    reach = RunSettings(private_addresses=True)
    preview = restore_dataset(str(path), str(dest), reach, dry_run=True)
    summary = restore(path, dest, private_addresses=True)
    for seen in (preview, summary):
        assert seen.counts["repeated"] == 1
    told = [record.getMessage() for record in caplog.records if "differ in more than" in record.getMessage()]
    assert [message.split()[0] for message in told] == ["1", "1"]
    assert summary.counts["restored"] + summary.counts["failed"] == 5
    host = web.removeprefix("http://")
    codes = {key: row["error_code"] for key, row in rows(dest).items()}
    assert codes == {
        str(source / "album-0/0.png").strip("/"): None,
        "source/album-0/2.png": None,
        f"{host}/album-1/1.png": None,
        f"{host}/album-1/5.png": None,
        f"{host}/gone.png": "not_found",
    }
    assert not any(b"secret" in path.read_bytes() for path in (dest / "_i2r").rglob("*") if path.is_file())


def test_a_folder_of_a_web_server(source: Path, tmp_path: Path, web: str) -> None:
    (source / "album-1/5.png").unlink()
    summary = restore(f"{web}/", tmp_path / "dest", private_addresses=True)
    assert summary.counts["restored"] == 5
    assert images(tmp_path / "dest") == {f"album-{n % 2}/{n}.png" for n in range(5)}
    assert restore(f"{web}/", tmp_path / "dest", private_addresses=True).counts["carried"] == 5


def test_one_signed_address(tmp_path: Path, web: str) -> None:
    dest = tmp_path / "dest"
    signed = f"{web}/album-1/5.png?sig=secret"
    assert restore(signed, dest, private_addresses=True).counts["restored"] == 1
    assert images(dest) == {"5.png"}
    assert not any(b"secret" in path.read_bytes() for path in (dest / "_i2r").rglob("*") if path.is_file())


def test_a_list_reaches_neither_this_machine_nor_its_files(
    source: Path, tmp_path: Path, web: str, bucket: str
) -> None:
    """In a bucket: what it names there is restored, a file of the machine and its own network are refused."""
    store, secret, dest = open_store(bucket), source / "album-0/0.png", tmp_path / "dest"
    store.write("in/a.png", secret.read_bytes())
    store.write("list.txt", f"in/a.png\n{web}/album-1/1.png\nfile://{secret}\n".encode())
    assert restore(f"{bucket}/list.txt", dest).counts["restored"] == 1
    told = rows(dest)
    assert told.pop("in/a.png")["status"] == "restored"
    assert {row["error_code"] for row in told.values()} == {"unsupported"}
    assert "private_addresses=true" in told[f"{web.removeprefix('http://')}/album-1/1.png"]["error_message"]
    at_file = told[str(secret).strip("/")]["error_message"]
    assert at_file.startswith(f"cannot open file://{secret}: the list {bucket}/list.txt may name only")
    assert (
        restore(f"{bucket}/list.txt", dest, private_addresses=True, retry_failed=True).counts["restored"] == 1
    )


def test_what_a_server_sends_without_end_is_read_no_further_than_the_limit(
    tmp_path: Path, endless: Endless
) -> None:
    (tmp_path / "list.txt").write_text(f"{endless.address}/a.png\n")
    restore(tmp_path / "list.txt", tmp_path / "dest", private_addresses=True, decode_memory_mib=8)
    row = rows(tmp_path / "dest")[f"{endless.address.removeprefix('http://')}/a.png"]
    assert row["error_code"] == "too_large"
    assert f"more bytes than the limit of {8 << 20}" in row["error_message"]
