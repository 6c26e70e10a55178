"""What is said of finished inputs that are pending again, and above which share a run refuses."""

from __future__ import annotations

import pytest

from pipeline.errors import RedoError
from pipeline.records.outdated import Cause, Outdated


def test_each_cause_is_a_line_with_its_cost() -> None:
    changed = Cause("their source changed", 2, 0.5, None)
    redone = Cause("method.steps 5 -> 7", 3, 12.3456, 3723.4)
    assert list(Outdated(10, changed, (redone,)).lines()) == [
        "3 of 10 finished images are to be restored again: method.steps 5 -> 7 "
        "(12.3 megapixels, about 1:02:03 of one model)",
        "2 of 10 finished images are to be restored again: their source changed (0.5 megapixels)",
    ]
    assert list(Outdated(10).lines()) == []


@pytest.mark.parametrize(
    ("redone", "max_redo", "refused"),
    [(1, 0.1, False), (2, 0.1, True), (10, 1.0, False), (1, 0.0, True), (0, 0.0, False)],
)
def test_a_share_above_the_largest_is_refused(redone: int, max_redo: float, refused: bool) -> None:
    causes = (Cause("other weights", redone, 1.0, 1.0),) if redone else ()
    outdated = Outdated(10, Cause("their source changed", 9, 1.0, 1.0), causes, max_redo)
    assert outdated.is_refused == refused
    if not refused:
        outdated.refuse()
        return
    with pytest.raises(RedoError, match=f"above --max-redo {100 * max_redo:g}%: allow it once") as caught:
        outdated.refuse()
    assert "other weights" in str(caught.value)
    assert "\n" not in str(caught.value)
