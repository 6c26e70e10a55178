"""An HTTP proxy before a storage endpoint that answers as storage does on a bad day."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_CONDITIONS = {"if-none-match", "if-match"}
_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>Try again later.</Message>'
    b"<RequestId>1</RequestId></Error>"
)


class Fault(StrEnum):
    """What becomes of a request."""

    NONE = "none"
    UNAVAILABLE = "503"
    INTERNAL = "500"
    THROTTLED = "throttled"
    SLOW = "slow"
    HALF = "half a body"
    DROPPED = "dropped"
    LOST = "done, and the answer lost"
    FORGOTTEN = "answered, and not done"
    UNCONDITIONAL = "done, whatever its conditions"
    DENIED = "403"


Plan = Callable[[str, str], Fault]
"""From the method and the path of a request to its fault."""


class FaultyProxy:
    """Hands requests on, as long as `plan` does not say otherwise.

    Attributes:
        address: of the proxy.
        plan: asked about every request, one at a time.
        seen: requests by the fault that they met.
        seconds: that a slow answer takes.
    """

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = no_fault
        self.seen: Counter[Fault] = Counter()
        self.seconds = 0.5
        self._upstream = urlsplit(upstream).netloc
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                proxy.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        if request.headers.get("Expect", "").lower() == "100-continue":
            request.send_response_only(http.HTTPStatus.CONTINUE)
            request.end_headers()
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            fault = self.plan(request.command, request.path)
            self.seen[fault] += 1
        match fault:
            case Fault.UNAVAILABLE:
                self._refuse(request, 503, b"ServiceUnavailable")
            case Fault.INTERNAL:
                self._refuse(request, 500, b"InternalError")
            case Fault.THROTTLED:
                self._refuse(request, 503, b"SlowDown")
            case Fault.DENIED:
                self._refuse(request, 403, b"AccessDenied")
            case Fault.DROPPED:
                request.close_connection = True
            case Fault.FORGOTTEN:
                request.send_response(200)
                request.send_header("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
                request.send_header("Content-Length", "0")
                request.end_headers()
            case _:
                if fault is Fault.SLOW:
                    time.sleep(self.seconds)
                self._hand_on(request, body, fault)

    def _refuse(self, request: http.server.BaseHTTPRequestHandler, status: int, code: bytes) -> None:
        body = b"" if request.command == "HEAD" else _BODY % code
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Content-Type", "application/xml")
        request.end_headers()
        request.wfile.write(body)

    def _hand_on(self, request: http.server.BaseHTTPRequestHandler, body: bytes, fault: Fault) -> None:
        upstream = http.client.HTTPConnection(self._upstream, timeout=60)
        upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            ignored = _CONDITIONS if fault is Fault.UNCONDITIONAL else set()
            if name.lower() not in _HOP_BY_HOP | ignored | {"expect"}:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        reply = upstream.getresponse()
        content = reply.read()
        upstream.close()
        if fault is Fault.LOST:
            request.close_connection = True
            return
        request.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                request.send_header(name, value)
        head = request.command == "HEAD"
        request.send_header("Content-Length", reply.headers["Content-Length"] if head else str(len(content)))
        request.end_headers()
        half = fault is Fault.HALF
        request.wfile.write(content[: len(content) // 2] if half else content)
        request.close_connection = half


def no_fault(_method: str, _path: str) -> Fault:
    """Hand everything on."""
    return Fault.NONE


def first(count: int, fault: Fault, method: str = "") -> Plan:
    """A fault for the first `count` requests, of one method if it is named; whoever comes then is served."""
    left = [count]

    def plan(asked: str, _path: str) -> Fault:
        if (method and asked != method) or left[0] <= 0:
            return Fault.NONE
        left[0] -= 1
        return fault

    return plan


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """A proxy that ends with the block."""
    proxy = FaultyProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
