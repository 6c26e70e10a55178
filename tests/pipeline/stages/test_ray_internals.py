"""On a Ray that has changed, what is asked of it is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pipeline.errors import RunError
from pipeline.stages.ray_internals import (
    address_of_local_ray,
    is_alive,
    map_blocks,
    own_signals,
    regroup,
)


class Changed:
    """A data set of a Ray whose plans look otherwise."""

    def map_batches_internal(self, stage: type) -> Changed:
        return self

    def repartition(self, **_: int) -> Changed:
        return self

    _logical_plan = SimpleNamespace(dag=SimpleNamespace(ray_remote_args={}, compute=None))


@pytest.mark.parametrize(
    ("gone", "asked", "words"),
    [
        ("ray._private.services.canonicalize_bootstrap_address", address_of_local_ray, "find the Ray"),
        ("ray._private.state.actors", lambda: is_alive("RestoreItems"), "look at its actors"),
        ("ray._private.utils.set_sigterm_handler", lambda: own_signals().__enter__(), "keep our signal"),
        (None, lambda: map_blocks(Changed(), Changed), "map blocks"),  # type: ignore[arg-type]
        (None, lambda: regroup(Changed(), 4, num_cpus=0.1), "plan a repartition"),  # type: ignore[arg-type]
    ],
)
def test_a_ray_that_has_changed_is_named(
    monkeypatch: pytest.MonkeyPatch, gone: str | None, asked: Callable[[], object], words: str
) -> None:
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "01000000"))
    if gone:
        monkeypatch.delattr(gone)
    with pytest.raises(RunError, match=rf"^Ray 2\.\S+ no longer lets us {words} .*: install a version"):
        asked()
