"""Which failed requests are repeated, and which stop a run at once."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from aiohttp import ClientResponseError, RequestInfo
from azure.core.exceptions import HttpResponseError
from gcsfs.retry import HttpError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from pipeline.errors import ItemError, RunError
from pipeline.storage.store import open_store


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
