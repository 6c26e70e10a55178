"""How many processes a pass is given; what goes through them is tested with whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_images import write_image
from standin import StandIn

from pipeline.errors import SettingsError
from pipeline.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.stages.ray_data import (
    BATCH_ON_CPU,
    BATCH_ON_GPU,
    Machines,
    Pass,
    _machines,
    images_per_batch,
    ray_session,
)

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


@pytest.mark.parametrize(("sharing", "models", "share"), [(1, 2, 1.0), (2, 4, 0.5)])
def test_models_share_gpus_where_they_are_told_to(
    monkeypatch: pytest.MonkeyPatch, sharing: int, models: int, share: float
) -> None:
    monkeypatch.setattr("pipeline.stages.ray_data._there", {"CPU": 16, "GPU": 2}.__getitem__)
    machines = _machines(RunSettings(models_per_gpu=sharing), may_grow=False)
    assert (machines.workers, machines.gpus) == (models, share)


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


def test_a_ray_that_does_not_fit_is_told_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.3\n    Python: 3.9.18"
        )

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(SettingsError) as caught, ray_session(RunSettings(), "ray://head:10001"):
        pass
    told = str(caught.value)
    assert "The cluster was started with: Ray: 2.9.3 Python: 3.9.18" in told
    assert "): start one there with Ray 2." in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("found", "words"),
    [(None, "no Ray runs on this machine: start one"), ("127.0.0.1:1", "nothing answers at 127.0.0.1:1")],
)
def test_a_ray_that_is_not_there_is_told_before_anything_is_written(
    found: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_address: str) -> str:
        if found is None:
            raise ConnectionError("Could not find any running Ray instance.")
        return found  # what one that was killed has left

    write_image(tmp_path / "source" / "a.png", 1)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address", look)
    with pytest.raises(SettingsError, match=words):
        restore_dataset(
            str(tmp_path / "source"), str(tmp_path / "dest"), restorer_factory=StandIn(), address="auto"
        )
    assert not (tmp_path / "dest").exists()
