"""Servers that tests start: where they may listen, and when they do."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback on which nothing listens."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def answers(port: int, server: subprocess.Popen[bytes], patience: float) -> bool:
    """Whether a server that was started listens within `patience` seconds; False at once if it has ended."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


@contextmanager
def fresh_bucket(protocol: str) -> Iterator[str]:
    """The address of a new bucket, or container, of a store that fsspec's settings lead to a server."""
    import fsspec

    fs = fsspec.filesystem(protocol)
    name = f"bucket-{secrets.token_hex(8)}"
    fs.mkdir(name)
    yield f"{protocol}://{name}"
    fs.clear_instance_cache()
