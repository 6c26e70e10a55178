"""Objects under one address: whole or absent, created only once, with no secrets in their names."""

from __future__ import annotations

import errno
import os
import pickle
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import ClientResponseError, RequestInfo
from azure.core.exceptions import HttpResponseError
from gcsfs.retry import HttpError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.storage import retries
from pipeline.storage.redaction import public_uri, without_secrets
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


@pytest.mark.parametrize(
    ("status", "code"), [(401, "forbidden"), (403, "forbidden"), (404, "not_found"), (410, "not_found")]
)
def test_what_the_web_refuses_is_not_asked_for_again(status: int, code: str) -> None:
    asked = []

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        Thread(target=server.serve_forever).start()
        with pytest.raises(ItemError) as caught:
            open_store(f"http://127.0.0.1:{server.server_port}/a.png?sig=secret").read("")
        server.shutdown()
    assert (caught.value.code, len(asked)) == (code, 1)
    assert "secret" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("status", "code"), [(507, "XMinioStorageFull"), (507, None), (403, "QuotaExceeded")]
)
def test_a_full_bucket_stops_the_run_at_once(status: int, code: str | None) -> None:
    asked = []

    class Full(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which asks for the body: S3's client waits for that

        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = f"<Error><Code>{code}</Code><Message>full</Message></Error>".encode() if code else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Full) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        store = open_store("s3://bucket/dest", endpoint_url=address, key="testing", secret="testing")
        try:
            for put in (store.write, store.create):
                with pytest.raises(RunError, match=r"bucket/dest takes no more .* make room"):
                    put("a.bin", b"x")
        finally:
            server.shutdown()
    assert len(asked) == 2


def answers_of_full_stores() -> list[Exception]:
    azure = HttpResponseError("full")
    azure.status_code = 507
    request = RequestInfo(URL("http://host/a"), "PUT", CIMultiDictProxy(CIMultiDict()))
    return [HttpError({"code": 507}), azure, ClientResponseError(request, (), status=507)]


@pytest.mark.parametrize("answer", answers_of_full_stores(), ids=lambda answer: type(answer).__name__)
def test_a_full_store_of_any_client_stops_the_run(answer: Exception) -> None:
    def put() -> None:
        raise answer

    with pytest.raises(RunError, match="make room"):
        open_store("/dev")._store("full", put)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_denied_write_stops_the_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="denies writing"):
        open_store(str(tmp_path)).write("a", b"")


def test_a_protocol_that_is_not_known_is_an_error() -> None:
    with pytest.raises(SettingsError, match="cannot open"):
        open_store("nonsense://bucket/prefix")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://u:p@host/a.jpg?X-Amz-Signature=abc", "https://host/a.jpg"),
        ("https://token@host/it's here.jpg?sig=abc", "https://host/it's here.jpg"),
        ("HTTP://u:p@ss@host/a.jpg#abc", "HTTP://host/a.jpg"),
        ("zip://a.png::https://token@host/a.zip?sig=abc", "zip://a.png::https://host/a.zip"),
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        (
            "abfs://container@account.dfs.core.windows.net/a.jpg",
            "abfs://container@account.dfs.core.windows.net/a.jpg",
        ),
    ],
)
def test_a_public_address_has_no_secret_and_nothing_else_missing(text: str, clean: str) -> None:
    assert public_uri(text) == clean


def test_a_text_has_no_secrets() -> None:
    text = without_secrets(
        "GET https://u:p@host/a?sig=abc failed: X-Amz-Security-Token=xyz "
        "X-Goog-Signature=xyz AccountKey=xyz==; "
        "GET https://token@host/it's here?access_token=xyz of https://host/it's?a=xyz"
    )
    assert "abc" not in text
    assert "xyz" not in text
    assert "@" not in text
    assert "sigma=0.3" in without_secrets("sigma=0.3")
