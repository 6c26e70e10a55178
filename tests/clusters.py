"""Ray clusters as an operator starts them: a head and workers from the command line, each a child process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from servers import free_ports

_PATIENCE = 150.0
NODE_CPUS = 2
"""Of every node: as many models of one thread as it holds."""
NODE_STORE = 100_000_000
"""Bytes of every node's object store."""


class LocalCluster:
    """A head and two workers on this machine. The same ports serve every head that it starts."""

    def __init__(self) -> None:
        self._port, dashboard, self._client_port = free_ports(3)
        self._folder = Path(tempfile.mkdtemp(prefix="i2r-ray-"))  # its sockets' paths must stay short
        self._dashboard = dashboard
        self._log = (self._folder / "nodes.log").open("ab")
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.address = f"http://127.0.0.1:{dashboard}"
        self.ray_address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the head and the workers, and wait until all of them are there."""
        self._launch_head()
        # One after the other: two that start at once on one machine choose the same names for their sockets.
        for nodes in (2, 3):
            self._join(nodes)

    def _join(self, nodes: int) -> None:
        """Start a worker, and wait until so many nodes are there."""
        self._launch(f"--address={self.ray_address}")

        def there() -> bool:
            if self._nodes[-1].poll() is not None:  # `ray start` gives up on a busy machine after 30 seconds
                self._nodes.pop()
                self._launch(f"--address={self.ray_address}")
            return self.count("nodes") == nodes

        self._wait_for(there)

    def count(self, kind: str, name: str = "") -> int:
        """How many `nodes`, or `actors` of a class whose name holds ``name``, are alive; 0 of no answer."""
        try:
            answer = json.loads(_answers(f"{self.address}/api/v0/{kind}?detail=0&limit=1000"))
        except ValueError:
            return 0
        found = answer["data"]["result"]["result"]
        return sum(each["state"] == "ALIVE" and name in each.get("class_name", "") for each in found)

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

    def _launch_head(self, *options: str, switches: Mapping[str, str] | None = None) -> None:
        self._launch(
            *("--head", f"--port={self._port}", f"--dashboard-port={self._dashboard}"),
            *(f"--ray-client-server-port={self._client_port}", f"--temp-dir={self._folder}"),
            *options,
            switches=switches,
        )
        self._wait_for(lambda: _answers(f"{self.address}/api/version"))

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            said = (self._folder / "nodes.log").read_text()
            assert time.monotonic() < deadline, f"the cluster did not come up: {said[-2000:]}"
            time.sleep(0.2)

    def _launch(self, *options: str, switches: Mapping[str, str] | None = None) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", "--block", f"--num-cpus={NODE_CPUS}"]
        command += [f"--object-store-memory={NODE_STORE}", "--dashboard-agent-listen-port=0", *options]
        # Without PYTHONPATH: what runs there must have travelled.
        environment = {
            "PATH": f"{ray.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            "RAY_worker_niceness": "0",
        }
        self._nodes.append(
            subprocess.Popen(
                command,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment, **(switches or {})},
            )
        )


class GrowingCluster(LocalCluster):
    """A head whose autoscaler starts up to two workers on this machine, and ends those that idle.

    It can also start one that says that it has a GPU.

    Ray's own `AutoscalingCluster` wants a file that its wheel lacks, and ends every Ray of the machine first.
    """

    def start(self) -> None:
        """Start the head, and wait until it answers."""
        config = self._folder / "autoscaling.yaml"
        config.write_text(json.dumps(_autoscaling(self.ray_address)))
        switches = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        self._launch_head(f"--autoscaling-config={config}", switches=switches)
        self._wait_for(lambda: self.count("nodes") == 1)


def _autoscaling(gcs_address: str) -> dict[str, object]:
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    worker = {"CPU": NODE_CPUS, "object_store_memory": NODE_STORE}
    return {
        "cluster_name": "growing",
        "max_workers": 3,
        "idle_timeout_minutes": 0.1,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": gcs_address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "head": {"resources": {"CPU": NODE_CPUS}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
            "gpu": {"resources": worker | {"GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        },
        "head_node_type": "head",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{kind}_commands": [] for kind in commands},
    }


def _answers(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bytes(answer.read()).decode()
    except OSError:
        return ""
