"""Objects of web servers, over real HTTP: read as they stream, and no further than they may be."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from endless import CHUNK, Endless

from pipeline.errors import ErrorCode, ItemError, RunError
from pipeline.sources.walk import walk
from pipeline.storage import reach, web
from pipeline.storage.store import open_store

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(params=["ranges", "whole"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server of one object; `whole` ignores that a part is asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted, content = self.headers["Range"], CONTENT
            if partial := bool(wanted) and request.param == "ranges":
                start, _, last = wanted.removeprefix("bytes=").partition("-")
                content = CONTENT[int(start) : int(last) + 1]
            if self.path != "/a.bin":
                self.send_error(404)
                return
            self.send_response(206 if partial else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_an_object_is_read_whole_or_in_part_whatever_the_server_makes_of_ranges(server: str) -> None:
    store = open_store(server)
    assert store.read("a.bin", len(CONTENT)) == store.read("a.bin") == CONTENT
    assert store.read_path(store.path("a.bin"), 300_000, 900_000) == CONTENT[300_000:900_000]
    with pytest.raises(ItemError) as caught:
        store.read("a.bin", len(CONTENT) - 1)
    assert caught.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(ItemError) as caught:
        store.read("b.bin", 10)
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_server_that_does_not_end_is_left(endless: Endless) -> None:
    with pytest.raises(ItemError, match=r"a\.png has more bytes than the limit of 4194304") as caught:
        open_store(endless.address).read("a.png", 4 * CHUNK)
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert endless.sent < 64 * CHUNK  # what the buffers on the way hold


def test_a_page_that_does_not_end_is_left(endless: Endless, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_OF_A_PAGE", 4 * CHUNK)
    with pytest.raises(RunError, match="more than 4194304 bytes, so it is no page that lists images"):
        list(walk(open_store(endless.address)))
    assert endless.sent < 64 * CHUNK


def test_a_private_address_is_refused_where_it_is_connected_to(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server.rpartition(":")[2]
    for address in (server, f"http://localhost:{port}"):
        with pytest.raises(ItemError, match=r"is refused, .* --set private_addresses=true") as caught:
            open_store(address, private=False).read("a.bin", 10)
        assert caught.value.code is ErrorCode.UNSUPPORTED
    monkeypatch.setattr(reach, "is_private", lambda address: False)
    assert open_store(server, private=False).read("a.bin", len(CONTENT)) == CONTENT


def test_a_redirect_leads_to_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 127.0.0.2 were a host of the web, and 127.0.0.1 the metadata service of a cloud."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Host"])
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/credentials")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    monkeypatch.setattr(reach, "is_private", lambda address: address != "127.0.0.2")
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(ItemError, match="is refused"):
            open_store(f"http://127.0.0.2:{server.server_port}", private=False).read("a.bin", 10)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert asked == [f"127.0.0.2:{server.server_port}"]
