"""A cheap restorer for tests of the plumbing: a box blur, whose outcome and failures the image itself
chooses.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import RunError
from pipeline.stages.restoring import PriorIdentity

DEADLY, BROKEN, CLEAN, BAD = 250, 240, 230, 220
"""Gray levels of the first pixel that kill the process, raise, come back unchanged, and come back rejected.
"""


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
    parameters: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StandIn:
    """Makes `BoxBlur`.

    Args:
        version: stands for the prior's weights.
        seconds: that each image takes.
        loading: seconds until it is ready.
        log: a file that gets a line for every image restored, or None.
    """

    version: str = "1"
    seconds: float = 0.0
    log: str | None = None
    loading: float = 0.0

    def identity(self) -> PriorIdentity:
        return PriorIdentity("stand-in", hashlib.sha256(self.version.encode()).hexdigest())

    def __call__(self) -> BoxBlur:
        if self.version == "broken":
            raise RunError("the weights are gone")
        time.sleep(self.loading)
        return BoxBlur(self)


class BoxBlur:
    """Averages each pixel with its right neighbour."""

    device = "cpu/none"

    def __init__(self, kind: StandIn) -> None:
        self._kind = kind

    def restore(
        self,
        images: Sequence[np.ndarray],
        seeds: Sequence[int],
        tables: Sequence[object] | None = None,
        protected: Sequence[np.ndarray | None] | None = None,
    ) -> list[Answer]:
        answers = [self._one(image, seed) for image, seed in zip(images, seeds, strict=True)]
        for image, answer, mask in zip(images, answers, protected or [None] * len(images), strict=True):
            if mask is not None:
                answer.image[mask] = image[mask]
        return answers

    def smaller(self) -> None:
        """There is none."""

    def _one(self, image: np.ndarray, seed: int) -> Answer:
        time.sleep(self._kind.seconds)
        mark = round(float(image[0, 0, 0]) * 255)
        if mark == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if mark == BROKEN:
            raise ZeroDivisionError("this image divides by zero")
        if self._kind.log:
            with open(self._kind.log, "a") as file:
                file.write(f"{seed}\n")
        outcome = {CLEAN: "unchanged", BAD: "rejected"}.get(mark, "restored")
        shifted = np.concatenate([image[:, 1:], image[:, -1:]], axis=1)
        return Answer(outcome, ((image + shifted) / 2).astype(np.float32) if outcome == "restored" else image)
