"""Which Ray a run gets, and what of it the models get."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_images import write_image
from standin import StandIn

from pipeline.errors import RunError, SettingsError
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.stages.needs import LEFT_CPUS, STAGE_CPUS
from pipeline.stages.session import GROWTH, Machines, _machines, _memory, ray_session


@pytest.mark.parametrize(("sharing", "models", "share"), [(1, 2, 1.0), (2, 4, 0.5)])
def test_models_share_gpus_where_they_are_told_to(
    monkeypatch: pytest.MonkeyPatch, sharing: int, models: int, share: float
) -> None:
    monkeypatch.setattr("pipeline.stages.session._there", {"CPU": 16, "GPU": 2}.__getitem__)
    monkeypatch.setattr("pipeline.stages.session._memory", dict)
    machines = _machines(RunSettings(models_per_gpu=sharing), may_grow=False)
    assert (machines.workers, machines.gpus) == (models, share)


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


def test_a_signal_while_ray_starts_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    told = []

    def init(*_: object, **__: object) -> None:
        utils.set_sigterm_handler(lambda *_: sys.exit(15))  # as Ray does, twice
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("no room")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    utils = ray._private.utils
    theirs = utils.set_sigterm_handler
    before = signal.signal(signal.SIGTERM, lambda *_: told.append("stop"))
    try:
        with pytest.raises(RunError, match="no room"), ray_session(RunSettings()):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == ["stop"]
    assert utils.set_sigterm_handler is theirs


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


def test_no_more_processes_are_started_than_the_memory_holds() -> None:
    nodes = {"large": 48 << 30, "small": 12 << 30}
    on_gpus = Machines(8, 8, 1, 1.0, nodes)
    assert on_gpus.serving(10**6) == on_gpus.serving(10**6, 1 << 20) == 32
    assert on_gpus.serving(10**6, 5 << 30) == 11
    assert on_gpus.serving(10**6, 100 << 30) == 10  # each asks for 6 GiB then: half of the small node
    assert (on_gpus.request(5 << 30), on_gpus.request(100 << 30)) == (5 << 30, 6 << 30)
    assert on_gpus.models(10**6, 100 << 30) == (8, 8)  # their memory is the GPU's
    on_cpus = Machines(16, 16, 1, 0.0, nodes)
    assert on_cpus.models(10**6, 5 << 30) == (11, 11)
    assert on_cpus.models(10**6, 100 << 30) == (1, 1)
    growing = Machines(16, None, 1, 0.0, nodes)
    assert growing.models(10**6, 5 << 30) == (11, 10**6)
    assert growing.serving(10**6, 100 << 30) == min(16, GROWTH * 10)


def test_where_the_memory_is_not_known_none_is_asked_for() -> None:
    machines = Machines(2, 2, 1, 0.0)
    assert (machines.request(5 << 30), machines.serving(10**6, 5 << 30)) == (0, 2)


@given(st.integers(1, 98), st.integers(1, 8))
def test_models_never_take_all_of_a_node(cpus: int, threads: int) -> None:
    """Ray counts in ten thousandths of a CPU."""
    each, stage, left = (round(10_000 * share) for share in (threads - LEFT_CPUS, STAGE_CPUS, cpus))
    models = left // each
    assert models == cpus // threads
    assert left - models * each >= 4 * stage


@pytest.mark.usefixtures("ray_here")
def test_without_its_nodes_there_is_no_place_for_models() -> None:
    import ray

    (cpus,) = (int(node["Resources"]["CPU"]) for node in ray.nodes())
    fixed, growing = Machines(cpus + 2, cpus + 2, 1, 0.0), Machines(1, None, 1, 0.0)
    assert fixed.without(()) == Machines(cpus, cpus, 1, 0.0)
    assert growing.without(()) == growing
    here = ray.get_runtime_context().get_node_id()
    assert growing.without({here}) is None
    known = Machines(1, None, 1, 0.0, {here: 1 << 30, "elsewhere": 2 << 30})
    assert known.without({"elsewhere"}) == Machines(1, None, 1, 0.0, {here: 1 << 30})
    assert _memory()[here] == ray.cluster_resources()["memory"]
    assert Machines(1, 1, 1, 0.5).without(()) is None  # the model's CPU never stands in for its GPU
