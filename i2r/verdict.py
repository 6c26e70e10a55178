"""The verdict: what the evidence in an image, before and after its correction, says was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2r.findings import BOXES, Action, Box, Finding, What, area, joined
from i2r.screening.regions import Region
from i2r.screening.statistics import PATCHY, STATISTICS, Scope, Sign, Statistic, names
from i2r.screening.trace import Screening

_DETAIL = frozenset({Sign.GRID, Sign.MISSING_DETAIL})
# Low resolution by a factor of two looks like a block grid, and strong compression like a blur: the form that
# was undone tells which it was.
FORMS: Mapping[str, tuple[What, frozenset[Sign]]] = {
    "gaussian_blur": (What.BLUR, _DETAIL),
    "motion_blur": (What.BLUR, _DETAIL),
    "small_kernel": (What.BLUR, _DETAIL),
    "downsampling": (What.LOW_RESOLUTION, _DETAIL),
    "noise": (What.NOISE, frozenset({Sign.NOISE})),
    "mask": (What.MISSING_PIXELS, frozenset({Sign.DAMAGE})),
    "jpeg": (What.BLOCKS, _DETAIL),
}
"""What is found where a form is undone, and the signs by which it shows."""

_Places = Mapping[str, Sequence[Region]]
Filled = Mapping[str, NDArray[np.bool_]]
"""The pixels (H, W) that were replaced as damaged, by the statistic that found them."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one image.

    Attributes:
        seen: the screening of the image.
        size: its height and width, in pixels.
        factor: pixels along a side of one value of what was screened.
        parameters: estimated ones of the degradation, by form.
        specified: whether its forms were specified.
    """

    seen: Screening
    size: tuple[int, int]
    factor: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    specified: bool = False

    def of_the_input(self, filled: Filled | None = None) -> tuple[Finding, ...]:
        """Findings where the input is kept: what is certain remains, the rest is suspected.

        Args:
            filled: what a rejected correction replaced as damaged; None if there is none.
        """
        remains, doubted = self._weighed(self.seen, self.seen.atypical, self.seen.suspected, filled)
        return _in_order(
            [
                *self._found(self.seen, remains, Action.REMAINS),
                *self._found(self.seen, doubted, Action.SUSPECTED),
            ]
        )

    def of_the_result(
        self, after: Screening, moved: NDArray[np.bool_], filled: Filled | None
    ) -> tuple[Finding, ...]:
        """Findings where the result is kept. What it alone shows is none: the correction brought it.

        Args:
            after: the screening of the result.
            moved: (H, W), the pixels that changed.
            filled: those of them that were replaced as damaged; None if damage was not corrected by itself.
        """
        before = self.seen
        beside = {
            name: [region for region in regions if region not in before.where.get(name, ())]
            for name, regions in after.suspected.items()
            if name in before.atypical or name in before.suspected
        }
        beside = {name: regions for name, regions in beside.items() if regions or name not in before.atypical}
        touched = dict.fromkeys(STATISTICS, moved) if filled is None else {PATCHY.name: moved, **filled}
        remains, doubted = self._weighed(after, before.atypical & after.atypical, beside, touched)
        return _in_order(
            [
                *self._corrected(moved, filled),
                *self._found(after, remains, Action.REMAINS),
                *self._found(after, doubted, Action.SUSPECTED),
            ]
        )

    def _weighed(
        self,
        screening: Screening,
        atypical: Iterable[str],
        suspected: _Places,
        filled: Filled | None,
    ) -> tuple[_Places, _Places]:
        """What is certain and what is suspected: what lies in a part of which no pixel was sure, too."""
        certain = _places(screening, _one_noise(atypical, everywhere=True))
        unsure = {
            name: [*regions, *suspected.get(name, ())]
            for name, regions in certain.items()
            if STATISTICS[name].scope is Scope.REGION
            and (filled is None or name not in filled or not self._share(filled[name], self._boxes(regions)))
        }
        doubted = {**suspected, **unsure}
        told = _one_noise({*certain, *doubted}, everywhere=True)
        return (
            {name: certain[name] for name in certain.keys() - unsure.keys()},
            {name: doubted[name] for name in doubted if name in told},
        )

    def _found(self, screening: Screening, places: _Places, action: Action) -> Iterator[Finding]:
        for name, regions in places.items():
            boxes = self._boxes(regions)
            height, width = self.size
            share = sum(map(area, boxes)) / (height * width) if boxes else 1.0
            yield self._finding(screening, name, action, boxes, share)

    def _corrected(self, moved: NDArray[np.bool_], filled: Filled | None) -> Iterator[Finding]:
        # Noise looks like a lack of detail, and damage like anything: what went with them was their trace.
        masked = _DETAIL if self.seen.noisy and not self.parameters else frozenset()
        if filled and np.array_equal(moved, np.logical_or.reduce([*filled.values()])):
            masked = frozenset(Sign) - {Sign.DAMAGE}
        for name in _one_noise(self.seen.atypical, everywhere=bool(moved.all())):
            sign, boxes = STATISTICS[name].sign, self._boxes(self.seen.where.get(name, ()))
            damage = moved if filled is None else filled.get(name, np.zeros_like(moved))
            share = self._share(damage if sign is Sign.DAMAGE else moved, boxes)
            if sign not in masked and share:
                yield self._finding(self.seen, name, Action.CORRECTED, boxes, share)
        if self.specified:
            for form, values in self.parameters.items():
                share = float(moved.mean())
                yield Finding(FORMS[form][0], 1.0, share, Action.CORRECTED, parameters={form: values})

    def _share(self, changed: NDArray[np.bool_], boxes: Sequence[Box]) -> float:
        """The share of all pixels that changed in some boxes, or anywhere if there are none."""
        parts = [changed[top:bottom, left:right] for left, top, right, bottom in boxes] or [changed]
        return sum(map(np.count_nonzero, parts)) / changed.size

    def _finding(
        self, screening: Screening, name: str, action: Action, boxes: Sequence[Box], share: float
    ) -> Finding:
        what = self._what(STATISTICS[name])
        forms = {form: values for form, values in self.parameters.items() if FORMS[form][0] is what}
        return Finding(
            what,
            1 - screening.p_values[name],
            share,
            action,
            parameters=({} if action is Action.SUSPECTED else forms) | _lying_in(boxes),
        )

    def _what(self, statistic: Statistic) -> What:
        """What a statistic is a sign of, in the light of the forms that were undone."""
        undone = [what for what, signs in map(FORMS.__getitem__, self.parameters) if statistic.sign in signs]
        return statistic.what if statistic.what in undone or not undone else undone[0]

    def _boxes(self, regions: Sequence[Region]) -> list[Box]:
        height, width = self.size
        return [
            (
                columns.start * self.factor,
                rows.start * self.factor,
                min(columns.stop * self.factor, width),
                min(rows.stop * self.factor, height),
            )
            for rows, columns in regions
        ]


def _places(screening: Screening, atypical: Iterable[str]) -> _Places:
    return {name: screening.where.get(name, ()) for name in atypical}


def _one_noise(found: Iterable[str], *, everywhere: bool) -> list[str]:
    """Some statistics without those of noise in a part of an image with noise ``everywhere``, or without
    those of noise everywhere: noise shows in both.
    """
    found, noise = sorted(found), names(scope=Scope.IMAGE, sign=Sign.NOISE)
    if PATCHY.name not in found or not set(noise).intersection(found):
        return found
    return [name for name in found if name not in ([PATCHY.name] if everywhere else noise)]


def _lying_in(boxes: Sequence[Box]) -> dict[str, Any]:
    return {BOXES: [list(box) for box in joined(boxes)]} if boxes else {}


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of one thing, of which came the same, made one; in the order of actions and things."""
    found: dict[tuple[Action, What], Finding] = {}
    for finding in findings:
        key = finding.action, finding.what
        other = found.get(key, finding)
        found[key] = replace(
            finding,
            confidence=max(finding.confidence, other.confidence),
            share=max(finding.share, other.share),
            parameters={**other.parameters, **finding.parameters} | _lying_in([*other.boxes, *finding.boxes]),
        )
    order = [(action, what) for action in Action for what in What]
    return tuple(found[key] for key in sorted(found, key=order.index))
