"""Nodes whose GPU does not work, on real Ray processes, and images that break one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kills import ThreeNodes, three_nodes
from small_images import write_image
from standin import CURSED, StandIn
from test_run import restore, rows

from pipeline.records.verify import verify_dataset

PATIENCE = 240.0
ON_A_GPU = """
import sys, warnings
import ray
from pipeline import RunSettings, restore_dataset
from pipeline.errors import PipelineError

if __name__ == "__main__":
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        print(restore_dataset(sys.argv[1], sys.argv[2], RunSettings(gpus=1)).counts)
    except PipelineError as error:
        sys.exit(str(error))
"""
ON_NODES = """
import json, logging, sys
from standin import StandIn
from pipeline import RunSettings, restore_dataset
from pipeline.errors import PipelineError

if __name__ == "__main__":
    source, dest, address, sick, mark, log = sys.argv[1:]
    logging.basicConfig(format="%(message)s")
    try:
        summary = restore_dataset(
            source, dest, RunSettings(batch=4, flush_seconds=0.5), address=address,
            restorer_factory=StandIn(seconds=6.0, sick=sick, mark=mark, log=log),
        )
    except PipelineError as error:
        sys.exit(str(error))
    print(json.dumps(summary.counts))
"""


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; the folder of the stand-in is on its path."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=dict(os.environ))


@pytest.mark.timeout(600)
def test_a_gpu_that_does_not_work_ends_the_run(source: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here that works")
    done = python(ON_A_GPU, source, tmp_path / "dest")
    assert done.returncode == 1, done.stdout
    said = done.stderr.strip().splitlines()[-1]
    assert f"node {socket.gethostname()}: its GPU cannot be used: torch {torch.__version__}" in said
    assert "no NVIDIA driver is seen: install" in said
    assert "or give it no GPU" in said
    assert not list((tmp_path / "dest").rglob("*.png"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[ThreeNodes]:
    with three_nodes() as nodes:
        yield nodes


@pytest.mark.timeout(600)
def test_a_gpu_that_falls_sick_is_out_and_costs_no_image(nodes: ThreeNodes, tmp_path: Path) -> None:
    source, dest, log = tmp_path / "source", tmp_path / "dest", tmp_path / "log"
    for number in range(120):
        write_image(source / f"{number:03d}.png", seed=number, side=16)
    sick = nodes.node_ids[0]
    done = python(ON_NODES, source, dest, nodes.address, sick, tmp_path / "mark", log)
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (counts["restored"], counts["failed"], counts["left"]) == (120, 0, 0)
    assert f"processes lost in a row on node {socket.gethostname()}" in done.stderr
    assert "the GPU failed: CUDA error: uncorrectable ECC error encountered" in done.stderr
    assert {row["status"] for row in rows(dest).values()} == {"restored"}
    assert verify_dataset(str(dest)).faults == []


@pytest.mark.usefixtures("ray_here")
def test_an_image_that_breaks_every_gpu_is_crashed_and_no_node_is_out(source: Path, tmp_path: Path) -> None:
    write_image(source / "cursed.png", 60, mark=CURSED)
    summary = restore(source, tmp_path / "dest", batch=16)
    assert (summary.counts["restored"], summary.counts["failed"]) == (6, 1)
    assert rows(tmp_path / "dest")["cursed.png"]["error_code"] == "crashed"
    night = restore(source, tmp_path / "dest", retry_failed=True)
    assert (night.counts["carried"], night.carried_failed, night.new_failed) == (7, 1, 0)


@pytest.mark.usefixtures("ray_here")
def test_a_gpu_that_fails_once_costs_nothing(source: Path, tmp_path: Path) -> None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    mark = tmp_path / "mark"
    mark.touch()
    kind = StandIn(sick=here, mark=str(mark), heals=True)
    summary = restore(source, tmp_path / "dest", kind)
    assert (summary.counts["restored"], summary.exit_status) == (6, 0)
    assert {row["attempts"] for row in rows(tmp_path / "dest").values()} == {1}
    assert not mark.exists()
