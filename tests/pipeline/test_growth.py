"""The pool of models on a cluster that grows under load and shrinks after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import NODE_CPUS, GrowingCluster
from small_images import write_image

from pipeline.records.summary import AWAITING_GPUS, STARTING
from pipeline.records.verify import verify_dataset

IMAGES = 1000
"""Far more than are restored before the cluster has grown: the run is stopped then."""
SECONDS = 0.25
PATIENCE = 150.0
DRIVER = """
import json
import signal
import sys
import threading

import ray.cloudpickle
import standin

from pipeline import load_settings, restore_dataset

if __name__ == "__main__":
    ray.cloudpickle.register_pickle_by_value(standin)  # the nodes do not have it
    source, dest, address, seconds, *pairs = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    flags = dict(pair.split("=") for pair in ["batch=4", "flush_seconds=0.5", *pairs])
    summary = restore_dataset(
        source, dest, load_settings(flags=flags),
        address=address, stop=stop, restorer_factory=standin.StandIn(seconds=float(seconds)),
        on_progress=lambda progress: print(progress.stage, flush=True),
    )
    print(json.dumps(summary.counts))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[GrowingCluster]:
    started = GrowingCluster()
    try:
        started.start()
        yield started
    finally:
        started.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.mark.timeout(600)
def test_models_come_with_the_nodes_and_go_with_them(cluster: GrowingCluster, tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    for number in range(IMAGES):
        write_image(source / f"{number:04d}.png", seed=number, side=16)
    run = subprocess.Popen(
        [sys.executable, "-c", DRIVER, source, dest, cluster.ray_address, str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ray Data asks for nodes every ten seconds otherwise.
        env={**os.environ, "RAY_DATA_MIN_GAP_BETWEEN_AUTOSCALING_REQUESTS": "1"},
    )
    try:
        wait_for(
            lambda: run.poll() is not None or cluster.count("actors", "RestoreItems") > NODE_CPUS,
            "no models came with new nodes",
        )
        assert run.poll() is None, run.communicate()[1]
        run.send_signal(signal.SIGTERM)
        output, error = run.communicate(timeout=PATIENCE)
    finally:
        run.kill()
    assert run.returncode == 0, error
    counts = json.loads(output.splitlines()[-1])
    assert counts["restored"] > 0
    assert counts["restored"] + counts["left"] == IMAGES
    verification = verify_dataset(str(dest))
    assert (verification.checked, verification.faults) == (counts["restored"], [])
    wait_for(lambda: cluster.count("nodes") == 1, "the cluster did not shrink")


def test_a_run_waits_for_the_gpus_that_it_asks_for(cluster: GrowingCluster, tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    for number in range(4):
        write_image(source / f"{number}.png", seed=number, side=16)
    command = [
        sys.executable,
        "-c",
        DRIVER,
        source,
        dest,
        cluster.ray_address,
        "0",
        "gpus=1",
        "gpu_minutes=2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    stages = done.stdout.splitlines()
    assert stages[:3] == ["listing", STARTING, AWAITING_GPUS]  # nobody pays for GPUs while it lists
    assert json.loads(stages[-1])["restored"] == 4
