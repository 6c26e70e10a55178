"""Shows the progress of a command: a bar on a terminal, lines otherwise."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from pipeline.records.summary import OnProgress, Progress, silent

SECONDS_BETWEEN_LINES = 10.0
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ends at once."""


@contextmanager
def show_progress(first: str = "listing", *, lines: bool = True) -> Iterator[OnProgress]:
    """Make a function that shows the progress it is called with, on the standard error.

    Args:
        first: the stage that a bar shows until the first call.
        lines: whether to print lines if that is no terminal; otherwise nothing is shown there.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines() if lines else silent
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
    )
    # Output printed meanwhile appears above the bar; output that is redirected must not be changed.
    above = sys.stdout.isatty()
    with BarAndDetail(*columns, console=console, transient=True, redirect_stdout=above) as bar:
        yield Line(bar, first)


class BarAndDetail(Bar):
    """A bar with details under it: on the same line, a narrow terminal would cut off both."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bar and the details."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["detail"])


class Line:
    """Shows progress as a bar.

    Args:
        bar: a started bar.
        first: stage that is shown at first.
    """

    def __init__(self, bar: Bar, first: str) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task(first, total=None, detail="")

    def __call__(self, progress: Progress) -> None:
        """Show the progress."""
        self._bar.update(
            self._task,
            description=progress.stage,
            completed=progress.done,
            total=progress.total or None,
            detail=describe(progress),
        )


class Lines:
    """Shows progress as lines, one every few seconds and one for each new stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._ended = False
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show the progress, if a line is due."""
        now = time.monotonic()
        ended = progress.total > 0 and progress.done == progress.total
        news = progress.stage != self._stage or ended != self._ended
        if not news and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._stage, self._ended, self._last = progress.stage, ended, now
        counts = f" {progress.done}/{progress.total}" if progress.total else ""
        print(f"i2r: {progress.stage}{counts} {describe(progress)}".rstrip(), file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """Rates, time left, counts by status and the slowest stage; before the first row, elapsed time."""
    if not progress.done:
        return (
            f"{duration(progress.seconds)} so far" if progress.seconds >= 1 and not progress.is_over else ""
        )
    rates = ((progress.rate, "images/s"), (progress.megapixel_rate, "Mpx/s"))
    parts = [f"{rate:.3g} {unit}" for rate, unit in rates if rate]
    if not progress.is_over and progress.done < progress.total and progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    if progress.megapixels:
        parts.append(f"{progress.megapixels:.3g} Mpx done")
    others = ((name, number) for name, number in progress.counts.items() if name != "failed" and number)
    parts += [f"{number} {name}" for name, number in sorted(others)]
    parts.append(f"{progress.failed} failed")
    if progress.slowest_stage:
        parts.append(f"slowest: {progress.slowest_stage}")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the form `42s`, `3m 05s` or `2h 07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, end)

    def end(_signal: int, _frame: FrameType | None) -> None:
        # Without a word of Ray's threads about it. Its processes end with this one, and its lease is free.
        os.write(2, b"\ni2r: ended at once; the same command goes on from what is recorded\n")
        os._exit(INTERRUPTED)

    before: dict[int, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
