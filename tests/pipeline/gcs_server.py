"""A store like Google's over HTTP: the emulator from PyPI, which knows no conditions, taught the one of ours.

    python gcs_server.py PORT

A write with `ifGenerationMatch=0` is refused where there is an object; what a name marks as denied, as Google
does where the credentials lack the right.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

DENIED = "denied"
"""In the name of an object that may be neither read nor written."""
_NAME = re.compile(rb'"name": "((?:[^"\\]|\\.)*)"')
_TURN = threading.Lock()  # the emulator's dictionaries are written out whole with every object


class Handler(RequestHandler):
    """The emulator's, one request at a time, behind conditions and rights."""

    def do_GET(self) -> None:
        self._answer(super().do_GET, unquote(self.path))

    def do_DELETE(self) -> None:
        self._answer(super().do_DELETE, unquote(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.rfile = io.BytesIO(body)
        name = json.loads(b'"' + found[1] + b'"') if (found := _NAME.search(body)) else ""
        self._answer(super().do_POST, name)

    def _answer(self, answer: Callable[[], None], name: str) -> None:
        url = urlparse(self.path)
        with _TURN:
            if DENIED in name:
                self._refuse(403, "the caller does not have access")
            elif parse_qs(url.query).get("ifGenerationMatch") == ["0"] and self._is_there(url.path, name):
                self._refuse(412, "at least one of the pre-conditions did not hold")
            else:
                answer()

    def _is_there(self, path: str, name: str) -> bool:
        bucket = path.split("/b/")[1].split("/")[0]
        try:
            self.storage.get_file_obj(bucket, name)
        except NotFound:
            return False
        return True

    def _refuse(self, status: int, message: str) -> None:
        content = json.dumps({"error": {"code": status, "message": message}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    handler = partial(Handler, Storage(use_memory_fs=True))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
