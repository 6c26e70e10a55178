"""The pool of models on a cluster that grows under load and shrinks after it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import NODE_CPUS, GrowingCluster
from pictures import png

from pipeline.inspection import verify_dataset

IMAGES = 150
PATIENCE = 150.0


@pytest.fixture
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
    source.mkdir()
    for number in range(IMAGES):
        png(number).save(source / f"{number:03d}.png")
    run = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("i2r"), "restore", source, dest),
            *("--address", cluster.ray_address, "--set=method.tile=32", "--set=method.overlap=8"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )
    try:
        wait_for(lambda: cluster.count("actors", "RestoreItems") > NODE_CPUS, "no models came with new nodes")
        assert run.poll() is None, "the run was over before the cluster had grown"
        error = run.communicate(timeout=PATIENCE)[1]
    finally:
        run.kill()
    assert run.returncode == 0, error
    verification = verify_dataset(str(dest))
    assert (verification.checked, verification.faults) == (IMAGES, [])
    wait_for(lambda: cluster.count("nodes") == 1, "the cluster did not shrink")
