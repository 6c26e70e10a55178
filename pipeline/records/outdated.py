"""Finished inputs that are pending again: how many, why, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.errors import RedoError


@dataclass(frozen=True)
class Cause:
    """Why finished inputs are pending again, and what restoring them again costs.

    Attributes:
        why: what has changed, in words.
        inputs: their number.
        megapixels: theirs, by the mean of finished inputs that were made alike.
        seconds: of one model, by the time that these took; None if no row has it.
    """

    why: str
    inputs: int
    megapixels: float
    seconds: float | None

    def __str__(self) -> str:
        time = f", about {timedelta(seconds=round(self.seconds))} of one model" if self.seconds else ""
        return f"{self.why} ({self.megapixels:.3g} megapixels{time})"


@dataclass(frozen=True)
class Outdated:
    """Finished inputs of a listing that are pending again.

    Attributes:
        finished: inputs that are finished, pending again or not.
        changed: those whose source changed, or None.
        redone: those whose source is the same, by what has changed.
        max_redo: largest share of the finished that may be redone.
        lost: those whose output is missing or has another size than was recorded.
    """

    finished: int = 0
    changed: Cause | None = None
    redone: Sequence[Cause] = ()
    max_redo: float = 1.0
    lost: int = 0

    def lines(self) -> Iterator[str]:
        """Say it to a person: a line for each cause, and one if more are redone than may be."""
        for cause in (*self.redone, *filter(None, [self.changed])):
            yield f"{cause.inputs} of {self.finished} finished images are to be restored again: {cause}"
        if self.lost:
            yield (
                f"{self.lost} of {self.finished} finished images are to be restored again: their output is "
                "missing, or has another size than was recorded"
            )
        if self.is_refused:
            yield (
                f"this is above --max-redo {100 * self.max_redo:.3g}%: allow it once with --max-redo 100%, "
                "go back to what made them, or restore only what came since with --only new"
            )

    @property
    def is_refused(self) -> bool:
        """Whether more finished inputs are redone than may be."""
        return sum(cause.inputs for cause in self.redone) > self.max_redo * self.finished

    def refuse(self) -> None:
        """Raise RedoError if more finished inputs are redone than may be."""
        if self.is_refused:
            raise RedoError(f"nothing was done: {'; '.join(self.lines())}")
