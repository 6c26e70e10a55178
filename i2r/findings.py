"""Findings: what the method found in an image, where, how surely, and what came of it.

A row of the manifest holds them, and so does :class:`i2r.restoration.Restoration`. Nothing here needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of an image, in pixels; right and bottom lie outside of it."""
BOXES = "boxes"
"""Name among the parameters of a finding."""
MOST_BOXES = 8
"""Boxes of one finding: a row stays small however large the image."""


class What(StrEnum):
    """What there is to find, in the words of whoever looks at pictures."""

    NOISE = "noise"
    NOISE_IN_A_PART = "noise in a part"
    BLUR = "blur"
    LOW_RESOLUTION = "low resolution"
    BLOCKS = "blocks"
    DEAD_PIXELS = "dead pixels"
    STREAKS = "streaks"
    MARKS = "marks"
    MISSING_PIXELS = "missing pixels"


class Action(StrEnum):
    """What came of a finding."""

    CORRECTED = "corrected"
    """It was certain, and a correction of it is in what is stored."""
    REMAINS = "remains"
    """It was certain, and still shows in what is stored, corrected or not."""
    SUSPECTED = "suspected"
    """It is not certain enough to touch the image: a person decides."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found in an image.

    Attributes:
        what: was found.
        confidence: one minus the chance that a clean photograph shows as much, in [0, 1]: see
            :meth:`i2r.screening.typicality.Measurement.p_values`. 1 where it was specified.
        share: of the pixels, in [0, 1]: 1 for what is all over the image, of local damage what was replaced,
            or if nothing was, the regions in which it shows.
        action: what came of it.
        gain: dB that such a correction gains; None where it is not known.
        parameters: plain JSON: the estimated parameters of the degradation, by form, and the ``boxes`` in
            which it lies, none for what is all over the image.

    Raises:
        ValueError: a number is not finite, or not in its range.
    """

    what: What
    confidence: float
    share: float
    action: Action
    gain: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("confidence", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"the {name} {getattr(self, name)} is not in [0, 1]")
        if self.gain is not None and not math.isfinite(self.gain):
            raise ValueError(f"the gain {self.gain} is not finite: give None where it is not known")

    @property
    def boxes(self) -> Sequence[Box]:
        """Where it lies; empty if it is all over the image."""
        return [(left, top, right, bottom) for left, top, right, bottom in self.parameters.get(BOXES, ())]


def joined(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that cover what some boxes cover, at most ``MOST_BOXES``, in reading order.

    Neighbours that make up one are joined. Where too many are left, one goes around all but the largest.
    """
    few = sorted(_columns(_rows(set(boxes))), key=area, reverse=True)
    if len(few) > MOST_BOXES:
        lefts, tops, rights, bottoms = zip(*few[MOST_BOXES - 1 :], strict=True)
        few[MOST_BOXES - 1 :] = [(min(lefts), min(tops), max(rights), max(bottoms))]
    return sorted(few, key=lambda box: (box[1], box[0]))


def _rows(boxes: Iterable[Box]) -> list[Box]:
    """Join boxes of one height that touch beside each other."""
    found: list[Box] = []
    for left, top, right, bottom in sorted(boxes, key=lambda box: (box[1], box[3], box[0])):
        if found and found[-1][1:] == (top, left, bottom):
            found[-1] = (found[-1][0], top, right, bottom)
        else:
            found.append((left, top, right, bottom))
    return found


def _columns(boxes: Iterable[Box]) -> list[Box]:
    """Join boxes of one width that touch above each other."""
    turned = _rows((top, left, bottom, right) for left, top, right, bottom in boxes)
    return [(left, top, right, bottom) for top, left, bottom, right in turned]


def area(box: Box) -> int:
    """Pixels of a box."""
    left, top, right, bottom = box
    return (right - left) * (bottom - top)
