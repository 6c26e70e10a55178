"""How many processes a pass is given, and how much at once; the rest is tested with whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from standin import CLEAN

from pipeline.settings import RunSettings
from pipeline.stages.ray_data import BATCH_ON_CPU, BATCH_ON_GPU, Pass, images_per_batch
from pipeline.stages.session import Machines

COUNTS = st.integers(1, 10_000)
MACHINES = st.builds(
    lambda workers, more, cpus, gpus: Machines(workers, more and workers + more, cpus, gpus),
    st.integers(1, 64),
    st.none() | st.integers(1, 64),
    st.integers(1, 8),
    st.integers(0, 1),
)


@given(MACHINES, COUNTS, st.integers(1, 64))
def test_no_process_is_started_that_would_find_nothing_to_do(
    machines: Machines, images: int, group: int
) -> None:
    work = Pass([], images, group)
    models, most = machines.models(work.batches)
    assert 1 <= models <= most <= work.batches
    assert models <= machines.workers
    assert 1 <= machines.serving(images) <= images


@given(MACHINES, COUNTS, COUNTS)
def test_more_images_never_get_fewer_processes(machines: Machines, few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert machines.serving(few) <= machines.serving(more)
    assert machines.models(few) <= machines.models(more)


@given(MACHINES)
def test_a_large_pass_gets_all_that_there_is(machines: Machines) -> None:
    models, most = machines.models(10**6)
    assert (models, most) == (machines.workers, machines.most or 10**6)
    assert machines.serving(10**6) == machines.serving(10**9)


@pytest.mark.parametrize(
    ("machines", "images"),
    [
        (Machines(2, 2, 1, 0), 1),
        (Machines(8, None, 1, 0), 1),
        (Machines(4, 24, 1, 0), 3),
        (Machines(500, 500, 1, 0), BATCH_ON_CPU),
        (Machines(1, 1, 1, 1), BATCH_ON_GPU),
    ],
)
def test_few_models_on_cpus_hand_on_every_image_when_it_is_ready(machines: Machines, images: int) -> None:
    assert images_per_batch(RunSettings(), 10**6, machines) == images
    assert images_per_batch(RunSettings(batch=5), 10**6, machines) == 5


BEHIND_A_GPU = """
import json
import sys

import ray
from standin import StandIn

from pipeline import RunSettings, restore_dataset
from pipeline.records.verify import newest_rows
from pipeline.storage.store import open_store

source, dest = sys.argv[1:]
ray.init("local", num_cpus=3, num_gpus=1, include_dashboard=False, log_to_driver=False)
restore_dataset(source, dest, RunSettings(batch=32, workers=1), restorer_factory=StandIn())
rows = [row for batch in newest_rows(open_store(dest), ["timings"]) for row in batch.to_pylist()]
print(json.dumps([row["timings"]["restore"] for row in rows]))
"""


def test_a_gpu_is_handed_images_by_their_bytes(tmp_path: Path) -> None:
    """Each of these fills a block. By their number two would come together, and share their seconds."""
    (tmp_path / "source").mkdir()
    for number in range(8):
        Image.new("RGB", (3400, 3400), (CLEAN, 90, number)).save(tmp_path / "source" / f"{number}.png")
    done = subprocess.run(
        [sys.executable, "-c", BEHIND_A_GPU, str(tmp_path / "source"), str(tmp_path / "dest")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_raylet_start_wait_time_s": "120"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds = json.loads(done.stdout.splitlines()[-1])
    assert len(set(seconds)) == len(seconds) == 8
