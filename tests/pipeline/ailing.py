"""A stand-in for the model that falls ill on a node for as long as a chart says so."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from standin import Answer, BoxBlur, StandIn, logged

from i2r import Degraded


class Ailment(StrEnum):
    """What the model does instead of restoring."""

    GPU = "its GPU fails"
    DISK = "it finds no room on its node's disk"
    SHAPES = "its results have other shapes"


@dataclass(frozen=True)
class Ailing(StandIn):
    """Makes `AilingBlur`.

    Args:
        chart: a file; while it is there, it says which node is ill, and how.
        vain: a file that gets a line for every image that an ill model was given.
        disk: a folder that is full, on a file system of its own.
    """

    chart: str = ""
    vain: str = ""
    disk: str = ""

    def __call__(self) -> AilingBlur:
        return AilingBlur(self)


def fall_ill(chart: Path, node: str, ailment: Ailment) -> None:
    """Write the chart. `node` is Ray's id of it."""
    draft = chart.with_suffix(".draft")
    draft.write_text(json.dumps([node, ailment]))
    os.replace(draft, chart)


class AilingBlur(BoxBlur):
    """A box blur while it is well."""

    def __init__(self, kind: Ailing) -> None:
        super().__init__(kind)
        self._chart, self._vain, self._disk = Path(kind.chart), Path(kind.vain), Path(kind.disk)

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        if (ailment := self._ailment()) is None:
            return super().restore(degraded)
        with self._vain.open("a") as file:
            file.writelines(f"{logged(given.image)}\n" for given in degraded)
        match ailment:
            case Ailment.GPU:
                raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
            case Ailment.DISK:
                (self._disk / f"{os.getpid()}").write_bytes(bytes(1 << 20))
        return [Answer("restored", given.image[1:]) for given in degraded]

    def _ailment(self) -> Ailment | None:
        import ray

        try:
            node, ailment = json.loads(self._chart.read_text())
        except FileNotFoundError:
            return None
        return Ailment(ailment) if node == ray.get_runtime_context().get_node_id() else None
