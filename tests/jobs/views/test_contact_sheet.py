"""Every picture is on the sheet, unscaled, with its words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jobs.views.contact_sheet import Panel, Strip, contact_sheet


def test_pictures_are_laid_unscaled_under_their_columns() -> None:
    red, blue = Image.new("RGB", (60, 40), "#ff0000"), Image.new("RGB", (50, 70), "#0000ff")
    strips = [
        Strip("first", (Panel("a", red), Panel("b", blue))),
        Strip("second", (Panel("c", blue), Panel("nothing to see"))),
    ]
    sheet = np.asarray(contact_sheet(("left", "right"), strips))
    reds, blues = (sheet == (255, 0, 0)).all(axis=-1), (sheet == (0, 0, 255)).all(axis=-1)
    assert reds.sum() == 60 * 40
    assert blues.sum() == 2 * 50 * 70
    first, second = np.nonzero(blues.any(axis=1))[0][[0, -1]]
    assert second - first >= 2 * 70
    left_of_red, left_of_blue = (
        np.nonzero(reds.any(axis=0))[0][0],
        np.nonzero(blues[: first + 70].any(axis=0))[0][0],
    )
    assert left_of_blue >= left_of_red + 60


def test_the_sheet_is_as_wide_as_its_words() -> None:
    dot = Image.new("RGB", (1, 1))
    narrow = contact_sheet(("a",), [Strip("t", (Panel("short", dot),))])
    wide = contact_sheet(("a",), [Strip("t", (Panel("a caption of many more words than that", dot),))])
    assert wide.width > narrow.width + 100


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_takes_pictures_of_any_mode(mode: str) -> None:
    sheet = contact_sheet(("a",), [Strip("t", (Panel("x", Image.new(mode, (8, 8))),))])
    assert sheet.mode == "RGB"


def test_a_strip_fills_every_column() -> None:
    with pytest.raises(ValueError, match="'t' has 1 panels for 2 columns"):
        contact_sheet(("a", "b"), [Strip("t", (Panel("x"),))])
