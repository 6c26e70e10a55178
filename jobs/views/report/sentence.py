"""What came of a run, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.records.manifest import Status

_ENDS = {
    Status.RESTORED: ("was restored", "were restored"),
    Status.UNCHANGED: ("stays as it is", "stay as they are"),
    Status.REJECTED: ("result was rejected", "results were rejected"),
    Status.FAILED: ("failed", "failed"),
}


def sentence(record: Mapping[str, Any] | None, counts: Mapping[str, int], *, under_way: bool) -> str:
    """Such as `Of 12 pictures, 3 were restored, 8 stay as they are, and 1 failed.`

    Args:
        record: of the run, None if it has not ended.
        counts: pictures by status.
        under_way: whether it is.
    """
    total = sum(counts.values())
    if not total:
        return _nothing(record, under_way=under_way)
    parts = [f"{n:,} {_ENDS[status][n > 1]}" for status in Status if (n := counts.get(status, 0))]
    text = f"{', '.join(parts[:-1])}, and {parts[-1]}" if len(parts) > 1 else parts[0]
    pictures = f"{total:,} picture{'s' if total > 1 else ''}"
    if record is not None:
        return f"Of {pictures}, {text}."
    return (
        f"Under way: of {pictures} so far, {text}."
        if under_way
        else f"Cut off: of {pictures} until then, {text}."
    )


def _nothing(record: Mapping[str, Any] | None, *, under_way: bool) -> str:
    if record is None:
        return "Under way: no picture is done yet." if under_way else "Cut off before the first picture."
    carried = record["counts"]["carried"]
    if not carried:
        return "There was no picture to restore."
    return f"Nothing was left to do: {carried:,} picture{'s were' if carried > 1 else ' was'} done before."
