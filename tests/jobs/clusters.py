"""Ray clusters as an operator starts them: a head and workers from the command line, each a child process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

_PATIENCE = 150.0


class LocalCluster:
    """A head and two workers on this machine. The same ports serve every head that it starts."""

    def __init__(self) -> None:
        self._port, dashboard, self._client_port = _free_ports(3)
        self._folder = Path(tempfile.mkdtemp(prefix="i2r-ray-"))  # its sockets' paths must stay short
        self._dashboard = dashboard
        self._log = (self._folder / "nodes.log").open("ab")
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.address = f"http://127.0.0.1:{dashboard}"
        self.ray_address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the head and the workers, and wait until all of them are there."""
        self._launch(
            *("--head", f"--port={self._port}", f"--dashboard-port={self._dashboard}"),
            *(f"--ray-client-server-port={self._client_port}", f"--temp-dir={self._folder}"),
        )
        self._wait_for(lambda: _answers(f"{self.address}/api/version"))
        # One after the other: two that start at once on one machine choose the same names for their sockets.
        for nodes in (2, 3):
            self._launch(f"--address={self.ray_address}")
            self._wait_for(lambda: _answers(f"{self.address}/api/v0/nodes").count('"ALIVE"') == nodes)  # noqa: B023

    def kill(self) -> None:
        """Kill the head, as when its machine is switched off, and then the workers."""
        for node in self._nodes:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        self._nodes.clear()

    def close(self) -> None:
        """End every node, and remove what they left."""
        self.kill()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            said = (self._folder / "nodes.log").read_text()
            assert time.monotonic() < deadline, f"the cluster did not come up: {said[-2000:]}"
            time.sleep(0.2)

    def _launch(self, *options: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", "--block", "--num-cpus=2", "--object-store-memory=100000000"]
        binaries = f"{ray.parent}{os.pathsep}{os.environ['PATH']}"
        self._nodes.append(
            subprocess.Popen(
                [*command, "--dashboard-agent-listen-port=0", *options],
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Without PYTHONPATH: what runs there must have travelled.
                env={
                    **os.environ,
                    "PATH": binaries,
                    "PYTHONPATH": "",
                    "RAY_worker_niceness": "0",
                },
            )
        )


def _answers(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return str(answer.read())
    except OSError:
        return ""


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
