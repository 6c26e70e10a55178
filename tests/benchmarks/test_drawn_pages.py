"""Drawn pages are the same for the same seed, and no two seeds draw the same one."""

from __future__ import annotations

import pytest

from benchmarks.drawn_pages import KINDS, SIDE, draw_page


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_follows_from_its_kind_and_seed(kind: str) -> None:
    page = draw_page(kind, 3)
    assert page.size == (SIDE, SIDE)
    assert page.mode == "RGB"
    assert draw_page(kind, 3).tobytes() == page.tobytes()
    assert draw_page(kind, 4).tobytes() != page.tobytes()
    assert draw_page(kind, 5).mode == "L"
