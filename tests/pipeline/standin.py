"""A cheap restorer for tests of the plumbing: a box blur, whose outcome and failures the image itself
chooses.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from i2r import Action, Degraded, Finding, What
from pipeline.errors import RunError
from pipeline.runs.breaker import DEATHS
from pipeline.stages.restoring import PriorIdentity

DEADLY, CURSED, BROKEN, CLEAN, BAD, DOUBTFUL = 250, 245, 240, 230, 220, 210
"""Gray levels of the first pixel that kill the process, break its GPU, raise, come back unchanged, come back
rejected, and come back unchanged with something suspected."""
SHARP = Finding(What.NOISE, 0.999, 1.0, Action.CORRECTED, 3.5, {"noise": {"level": 0.1}})
KEPT_SHARP = replace(SHARP, action=Action.REMAINS, gain=None)
MARKED = Finding(What.MARKS, 0.97, 0.25, Action.SUSPECTED, parameters={"boxes": [[0, 0, 12, 12]]})


@dataclass(frozen=True)
class Answer:
    """What `i2r.Restoration` holds, without loading torch for it."""

    outcome: str
    image: np.ndarray
    nfe: int = 4
    inversion_psnr: float = 30.0
    rectified_fraction: float = 0.1
    typicality_before: float = 1.0
    typicality_after: float = 0.5
    consistency_psnr: float = 40.0
    message: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class StandIn:
    """Makes `BoxBlur`.

    Args:
        version: stands for the prior's weights.
        seconds: that each image takes; with `sick`, only until that node has failed as often as puts it out.
        loading: seconds until it is ready.
        log: a file that gets a line for every image restored, or None.
        sick: Ray's id of a node whose GPU fails once the file `mark` is there; its first batch makes it.
        mark: that file, or None; it has a byte for every time that the GPU failed.
        heals: whether it fails only once, and takes the file away.
    """

    version: str = "1"
    seconds: float = 0.0
    log: str | None = None
    loading: float = 0.0
    sick: str = ""
    mark: str | None = None
    heals: bool = False

    def identity(self) -> PriorIdentity:
        return PriorIdentity("stand-in", hashlib.sha256(self.version.encode()).hexdigest())

    def __call__(self) -> BoxBlur:
        if self.version == "broken":
            raise RunError("the weights are gone")
        time.sleep(self.loading)
        return BoxBlur(self)


def logged(image: np.ndarray) -> str:
    """What the stand-in logs of an image, (H, W, C) in [0, 1]."""
    return hashlib.sha256(np.round(255 * image).astype(np.uint8).tobytes()).hexdigest()


def _append(file: Path, text: str) -> None:
    with file.open("a") as log:
        log.write(text)


class BoxBlur:
    """Averages each pixel with its right neighbour."""

    device = "cpu/none"

    def __init__(self, kind: StandIn) -> None:
        self._kind = kind

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        if self._kind.sick and self._kind.mark:
            self._fall_sick(Path(self._kind.mark))
        answers = [self._one(given.image) for given in degraded]
        for given, answer in zip(degraded, answers, strict=True):
            if given.protected is not None:
                answer.image[given.protected] = given.image[given.protected]
        return answers

    def smaller(self) -> None:
        """There is none."""

    def _fall_sick(self, mark: Path) -> None:
        import ray

        if ray.get_runtime_context().get_node_id() == self._kind.sick:
            if mark.exists():
                if self._kind.heals:
                    mark.unlink()
                else:
                    _append(mark, "x")
                raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
            if not self._kind.heals:
                mark.touch()

    def _seconds(self) -> float:
        mark = self._kind.mark
        failed = self._kind.sick and mark and Path(mark).exists() and Path(mark).stat().st_size
        return 0.0 if failed and failed >= DEATHS else self._kind.seconds

    def _one(self, image: np.ndarray) -> Answer:
        time.sleep(self._seconds())
        mark = round(float(image[0, 0, 0]) * 255)
        if mark == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if mark == CURSED:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if mark == BROKEN:
            raise ZeroDivisionError("this image divides by zero")
        if self._kind.log:
            _append(Path(self._kind.log), f"{logged(image)}\n")
        outcome = {CLEAN: "unchanged", DOUBTFUL: "unchanged", BAD: "rejected"}.get(mark, "restored")
        shifted = np.concatenate([image[:, 1:], image[:, -1:]], axis=1)
        return Answer(
            outcome,
            ((image + shifted) / 2).astype(np.float32) if outcome == "restored" else image,
            findings={"restored": (SHARP,), "rejected": (KEPT_SHARP,)}.get(
                outcome, (MARKED,) if mark == DOUBTFUL else ()
            ),
        )
