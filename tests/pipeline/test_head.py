"""A head without CPUs, which drives and nothing else, and one node with a single CPU for all the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_images import write_image

from pipeline.stages.needs import IDLE_BYTES

PATIENCE = 200.0
IMAGES = 130
"""Enough for two decoders and two encoders."""
DRIVER = """
import json
import sys
from collections import defaultdict

import ray
from ray._private import state
from standin import StandIn

from pipeline import RunSettings, restore_dataset

STAGES = ("FetchAndDecode", "RestoreItems", "EncodeAndStore")
nodes, asked = defaultdict(set), [0]


def look(progress):
    if not ray.is_initialized() or not progress.done:
        return
    asked.append(ray.cluster_resources()["memory"] - ray.available_resources()["memory"])
    for actor in state.actors(actor_state_name="ALIVE").values():
        for stage in STAGES:
            if stage in actor["ActorClassName"]:
                nodes[stage].add(actor["Address"]["NodeID"])


if __name__ == "__main__":
    source, dest, address = sys.argv[1:]
    summary = restore_dataset(
        source, dest, RunSettings(batch=1), address=address,
        restorer_factory=StandIn(seconds=0.02), on_progress=look,
    )
    found = {"counts": summary.counts, "asked": max(asked)}
    print(json.dumps(found | {"nodes": {stage: sorted(ids) for stage, ids in nodes.items()}}))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, str]]:
    """Address of the cluster, and Ray's id of the node."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False} | small)
    node = cluster.add_node(num_cpus=1, **small)
    cluster.wait_for_nodes(60)
    yield str(cluster.address), str(node.node_id)
    cluster.shutdown()


@pytest.mark.timeout(300)
def test_nothing_is_decoded_on_a_head_that_only_drives(cluster: tuple[str, str], tmp_path: Path) -> None:
    address, node = cluster
    source = tmp_path / "source"
    for number in range(IMAGES):
        write_image(source / f"{number:03d}.png", seed=number, side=16)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, source, tmp_path / "dest", address],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["counts"]["restored"] == IMAGES
    assert sorted(found["nodes"]) == ["EncodeAndStore", "FetchAndDecode", "RestoreItems"]
    assert {place for places in found["nodes"].values() for place in places} == {node}
    assert found["asked"] >= IDLE_BYTES
