"""Which Ray a run gets, and what of it the models get."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_images import write_image
from standin import StandIn

from pipeline.errors import SettingsError
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.stages.session import Machines, _machines, ray_session


@pytest.mark.parametrize(("sharing", "models", "share"), [(1, 2, 1.0), (2, 4, 0.5)])
def test_models_share_gpus_where_they_are_told_to(
    monkeypatch: pytest.MonkeyPatch, sharing: int, models: int, share: float
) -> None:
    monkeypatch.setattr("pipeline.stages.session._there", {"CPU": 16, "GPU": 2}.__getitem__)
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


@pytest.mark.usefixtures("ray_here")
def test_without_its_nodes_there_is_no_place_for_models() -> None:
    import ray

    (cpus,) = (int(node["Resources"]["CPU"]) for node in ray.nodes())
    fixed, growing = Machines(cpus + 2, cpus + 2, 1, 0.0), Machines(1, None, 1, 0.0)
    assert fixed.without(()) == Machines(cpus, cpus, 1, 0.0)
    assert growing.without(()) == growing
    assert growing.without({ray.get_runtime_context().get_node_id()}) is None
    assert Machines(1, 1, 1, 0.5).without(()) is None  # the model's CPU never stands in for its GPU
