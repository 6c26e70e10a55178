"""Errors are data: a closed set of codes, and one short line each."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import (
    HOPELESS,
    MAX_MESSAGE,
    OF_THE_WORLD,
    CodecError,
    ErrorCode,
    ItemError,
    PipelineError,
    bounded_text,
)


def test_the_codes_are_those_of_the_manifest() -> None:
    assert sorted(ErrorCode) == [
        "bad_key", "crashed", "forbidden", "internal", "not_found", "numerical", "out_of_memory", "storage",
        "timeout", "too_large", "truncated", "unreadable", "unsupported", "worker_died",
    ]  # fmt: skip


def test_what_cannot_get_better_is_of_the_image() -> None:
    assert sorted(OF_THE_WORLD) == ["forbidden", "internal", "out_of_memory", "storage", "worker_died"]
    assert HOPELESS.isdisjoint(OF_THE_WORLD)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        (" two\nlines\tand \x1b[31mcolour ", "two lines and [31mcolour"),
        ("x" * MAX_MESSAGE, "x" * MAX_MESSAGE),
        ("x" * (MAX_MESSAGE + 1), "x" * (MAX_MESSAGE - 1) + "…"),
        ("\0" * 10_000_000, ""),
    ],
)
def test_texts_are_one_bounded_line(text: str, line: str) -> None:
    assert bounded_text(text) == line


def test_an_item_error_says_which_and_why_and_travels() -> None:
    error = CodecError(ErrorCode.TRUNCATED, "cut\nshort")
    assert isinstance(error, ItemError)
    assert isinstance(error, PipelineError)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert (one.code, one.message, str(one)) == (ErrorCode.TRUNCATED, "cut short", "cut short")
    with pytest.raises(ValueError, match="no_such_code"):
        ItemError("no_such_code", "?")  # type: ignore[arg-type]
