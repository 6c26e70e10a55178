"""Restored images whose source is gone: how many, and whether so many may be removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import PruneError


@dataclass(frozen=True)
class Orphaned:
    """Restored images whose source is gone.

    Attributes:
        images: their number.
        restored: number of all restored images of the source.
        max_pruned: largest share of the restored that may be removed.
    """

    images: int = 0
    restored: int = 0
    max_pruned: float = 1.0

    def lines(self) -> Iterator[str]:
        """Say it to a person: a line with the number, and one if more are removed than may be."""
        if self.images:
            yield f"{self.images} of {self.restored} restored images are to be removed: their source is gone"
        if self.is_refused:
            yield (
                f"this is above --max-pruned {100 * self.max_pruned:.3g}%: check that SOURCE is whole, as a "
                "disk that is not mounted lists nothing, or allow it once with --max-pruned 100%"
            )

    @property
    def is_refused(self) -> bool:
        """Whether more restored images are removed than may be."""
        return self.images > self.max_pruned * self.restored

    def refuse(self) -> None:
        """Raise PruneError if more restored images are removed than may be."""
        if self.is_refused:
            raise PruneError(f"nothing was done: {'; '.join(self.lines())}")
