"""What the method saw in an image and where it moved it, for those who want to look at it afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from i2r.screening.calibration import Calibration
from i2r.screening.p_values import typicality
from i2r.screening.regions import Region
from i2r.screening.statistics import Scope, Sign, names


@dataclass(frozen=True)
class Screening:
    """What the noise of an image shows.

    Attributes:
        p_values: one per statistic; empty for drawings and for images too small to test.
        atypical: the statistics that fail, so surely that what they show is corrected.
        where: the regions in which a local statistic does.
        suspected: the statistics that fail less surely, and the regions in which local ones do, beside those
            of ``where``; of the image, they have none.
        noisy_part: the mask (height, width) of what noise covers in the patchy regions, and in what adjoins
            them; None where no region is patchy.
    """

    p_values: Mapping[str, float] = field(default_factory=dict)
    atypical: frozenset[str] = frozenset()
    where: Mapping[str, Sequence[Region]] = field(default_factory=dict)
    suspected: Mapping[str, Sequence[Region]] = field(default_factory=dict)
    noisy_part: Tensor | None = None

    @property
    def noisy(self) -> bool:
        """Whether there is noise all over it."""
        return self.shows(Sign.NOISE)

    def shows(self, sign: Sign) -> bool:
        """Whether a statistic of the whole image is atypical that is a sign of something."""
        return not self.atypical.isdisjoint(names(scope=Scope.IMAGE, sign=sign))

    @property
    def damaged(self) -> bool:
        """Whether there is damage in some region."""
        return not self.where.keys().isdisjoint(names(sign=Sign.DAMAGE))

    @property
    def typicality(self) -> float:
        return typicality(self.p_values) if self.p_values else math.nan


@dataclass(frozen=True)
class Look:
    """A screening with the noise that it judged.

    Attributes:
        screening: what the noise shows.
        calibration: what the noise was held against.
        eps: (C, H, W), the noise at the calibration's ``level``.
        noise: (C, H, W), the noise at its ``damage_level``, in units of the range [-1, 1].
    """

    screening: Screening
    calibration: Calibration
    eps: NDArray[np.float32]
    noise: NDArray[np.float32]


@dataclass
class Trace:
    """Filled while one image is restored; see :meth:`i2r.restorer.Restorer.restore`.

    Attributes:
        looks: at the input and, where something was moved, at the result; none at images too small to test.
        moved: (H, W), the pixels that were replaced or moved; None where none were.
        result: (H, W, C) in [0, 1], what came out, though it be rejected; None where nothing was moved.
    """

    looks: list[Look] = field(default_factory=list)
    moved: NDArray[np.bool_] | None = None
    result: NDArray[np.float32] | None = None
