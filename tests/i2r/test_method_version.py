"""What the method makes of pictures is tied to its version: whoever changes the one raises the other."""

from __future__ import annotations

import numpy as np
from method_sheet import SHEET, read_sheet, restore

from i2r.settings import METHOD_VERSION

RAISE = (
    "what the method makes has changed: raise METHOD_VERSION in i2r/settings.py once for each release, then "
    "PYTHONPATH=. python tests/i2r/method_sheet.py, look at the new sheet, and remove the old one"
)
ROUNDING = 1
"""Levels of 255 by which CPUs with other instructions may differ: sums in another order round otherwise."""
ROUNDED = 0.01
"""Share of the values in which they may."""


def test_what_the_method_makes_changes_with_its_version() -> None:
    assert [path.name for path in SHEET.parent.glob("method-*.png")] == [f"method-{METHOD_VERSION}.png"], (
        RAISE
    )
    degraded, expected = read_sheet()
    moved = np.abs(restore(degraded).astype(int) - expected)
    assert moved.max() <= ROUNDING, RAISE
    assert (moved > 0).mean() <= ROUNDED, RAISE
