"""How a batch is shared among threads, and what is fetched at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

FETCHES = 8
"""Objects that one stage fetches or stores at once: object stores answer late, but many at a time."""

T = TypeVar("T")
Result = TypeVar("Result")


def shared(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split a batch in order into one share per thread.

    If threads took small images one by one, they would mostly wait for each other.
    """
    size = math.ceil(len(things) / FETCHES)
    for start in range(0, len(things), size or 1):
        yield things[start : start + size]


def within(rows: Iterable[dict[str, Any]], limit: int) -> Iterator[list[dict[str, Any]]]:
    """Split rows of the listing in order into groups of as many as have at most `limit` bytes, or of one."""
    group: list[dict[str, Any]] = []
    room = limit
    for row in rows:
        size = max(int(row["source_size"]), 0)  # -1 where the listing does not know it
        if group and size > room:
            yield group
            group, room = [], limit
        group.append(row)
        room -= size
    if group:
        yield group


def for_each(action: Callable[[T], Result]) -> Callable[[Sequence[T]], list[Result]]:
    """Make a function that applies the action to each element of a share, one after the other."""
    return lambda share: [action(thing) for thing in share]
