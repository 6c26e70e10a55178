"""What a machine has to give, what a container may take of it, and where in Ray a process is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.stages import machine


@pytest.mark.parametrize(("limit", "is_less"), [("max", False), ("1048576", True), (f"{1 << 62}", False)])
def test_the_memory_is_the_machines_or_the_containers(
    limit: str, is_less: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "none",))
    whole = machine.memory_bytes()
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "none", tmp_path / "memory.max"))
    assert machine.memory_bytes() == (1 << 20 if is_less else whole)


@pytest.mark.usefixtures("ray_here")
def test_an_actor_that_died_is_known_by_its_place() -> None:
    import ray

    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=2)
    class Actor:
        def look(self) -> tuple[str, bool, float]:
            return machine.place(), machine.was_restarted(), machine.assigned("GPU")

        def die_once(self) -> None:
            if not machine.was_restarted():
                os._exit(1)

    actor = Actor.remote()
    before = ray.get(actor.look.remote())
    assert before[1:] == (False, 0.0)
    assert machine.node_of(before[0]) == ray.get_runtime_context().get_node_id()
    ray.get(actor.die_once.remote())
    assert ray.get(actor.look.remote()) == (before[0], True, 0.0)
