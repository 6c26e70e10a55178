"""Findings in rows of the manifest: their column, and counts of them.

A row of schema version 1 has no such column, and that of a failed image is null: both hold no findings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from i2r import Action, Finding, What

COLUMN = "findings"
TYPE = pa.list_(
    pa.struct(
        [
            ("what", pa.string()),
            ("confidence", pa.float64()),
            ("share", pa.float64()),
            ("action", pa.string()),
            ("gain", pa.float64()),
            ("parameters", pa.string()),
        ]
    )
)
"""Of the column; ``parameters`` are JSON. A row holds each thing at most once for each action."""

Counts = Mapping[str, Mapping[str, int]]
"""Images by action, and then by what was found, as run records hold them."""


def to_column(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Convert the findings in an image to a value of the column."""
    return [
        {
            "what": found.what.value,
            "confidence": found.confidence,
            "share": found.share,
            "action": found.action.value,
            "gain": found.gain,
            "parameters": json.dumps(dict(found.parameters), sort_keys=True, allow_nan=False),
        }
        for found in findings
    ]


def of_column(value: Sequence[Mapping[str, Any]] | None) -> list[Finding]:
    """Convert a value of the column back to findings."""
    return [
        Finding(
            What(found["what"]),
            found["confidence"],
            found["share"],
            Action(found["action"]),
            found["gain"],
            json.loads(found["parameters"]),
        )
        for found in value or ()
    ]


def counted(rows: pa.Table | pa.RecordBatch) -> Counter[tuple[str, str]]:
    """Images among rows by action and what was found; an older part may lack the column."""
    if COLUMN not in rows.schema.names:
        return Counter()
    found = pc.list_flatten(rows[COLUMN])
    names = (pc.struct_field(found, name).to_pylist() for name in ("action", "what"))
    return Counter(zip(*names, strict=True))


def by_action(counter: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts for a record, in the order of the actions, the most frequent first."""
    return {
        action.value: found
        for action in Action
        if (found := {what: n for (its, what), n in counter.most_common() if its == action})
    }
