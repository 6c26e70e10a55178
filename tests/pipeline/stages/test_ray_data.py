"""How many processes a pass is given; what goes through them is tested with whole runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
