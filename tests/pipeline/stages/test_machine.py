"""What a machine has to give, and what a container may take of it."""

from __future__ import annotations

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
