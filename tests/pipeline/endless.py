"""A web server that sends one object without end, and does not say how long it is."""

from __future__ import annotations

import contextlib
import http.server
import threading

CHUNK = 1 << 20


class Endless:
    """The server; a context manager, which waits for its last answer.

    Attributes:
        address: of the server.
        sent: bytes that it has sent so far.
    """

    def __init__(self) -> None:
        self.sent = 0
        endless = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # the end of the connection is the end of the object

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                with contextlib.suppress(OSError):  # the reader has had enough
                    while True:
                        endless.sent += self.wfile.write(bytes(CHUNK))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Endless:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
