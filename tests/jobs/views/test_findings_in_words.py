"""Findings in words: for one image, and for many."""

from __future__ import annotations

import pytest

from i2r import Action, Finding, What
from jobs.views.findings import counts_in_words, in_words


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            Finding(What.NOISE, 1 - 1e-9, 1.0, Action.CORRECTED, 7.25),
            "noise corrected, over 99.9 % sure, 100 % of the pixels, about +7.2 dB",
        ),
        (
            Finding(What.MARKS, 0.97, 1e-5, Action.SUSPECTED, None, {"boxes": [[0, 0, 9, 9]] * 2}),
            "marks suspected, 97 % sure, under 0.1 % of the pixels in 2 places",
        ),
    ],
)
def test_a_finding_says_what_how_surely_and_where(finding: Finding, words: str) -> None:
    assert in_words(finding) == words


def test_counts_are_one_line() -> None:
    counts = {"corrected": {"noise": 7, "blur": 3}, "suspected": {"marks": 2}}
    assert counts_in_words(counts) == "7 noise, 3 blur corrected; 2 marks suspected"
    assert counts_in_words({}) == ""
