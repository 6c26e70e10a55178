"""Servers that tests start: where they may listen, and when they do."""

from __future__ import annotations

import socket
import subprocess
import time


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
