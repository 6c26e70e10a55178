"""The glossary: it has a word for everything, and the documentation says the same."""

from __future__ import annotations

from pathlib import Path

from i2r import Action, What
from jobs.views import glossary
from pipeline.errors import ErrorCode
from pipeline.records.manifest import Status

DOCS = Path(__file__).parents[3] / "docs"


def test_nothing_is_left_without_words() -> None:
    assert set(glossary.FINDINGS) == set(What)
    assert set(glossary.ACTIONS) == set(Action)
    assert set(glossary.STATUSES) == set(Status)
    assert set(glossary.FAILURES) == set(ErrorCode)


def test_the_documentation_has_the_same_words() -> None:
    text = (DOCS / "findings.md").read_text()
    for words in (glossary.FINDINGS, glossary.ACTIONS, glossary.STATUSES, glossary.MEASURES):
        for word, meaning in words.items():
            assert f"| {word} | {meaning} |" in text
    for code, (reason, advice) in glossary.FAILURES.items():
        assert f"| `{code}` | {reason} | {advice} |" in text
