"""What is said of restored images whose source is gone, and above which share a run refuses."""

from __future__ import annotations

import pytest

from pipeline.errors import PruneError
from pipeline.records.orphaned import Orphaned


def test_nothing_is_said_of_an_archive_that_lost_nothing() -> None:
    assert list(Orphaned().lines()) == []
    Orphaned(0, 10, 0.0).refuse()


@pytest.mark.parametrize(
    ("images", "max_pruned", "refused"),
    [(1, 0.1, False), (2, 0.1, True), (10, 1.0, False), (1, 0.0, True)],
)
def test_a_share_above_the_largest_is_refused(images: int, max_pruned: float, refused: bool) -> None:
    orphaned = Orphaned(images, 10, max_pruned)
    told = f"{images} of 10 restored images are to be removed: their source is gone"
    assert next(orphaned.lines()) == told
    assert orphaned.is_refused == refused
    if not refused:
        orphaned.refuse()
        return
    with pytest.raises(PruneError, match=f"above --max-pruned {100 * max_pruned:g}%: check") as caught:
        orphaned.refuse()
    assert str(caught.value).startswith(f"nothing was done: {told}; ")
    assert "\n" not in str(caught.value)
