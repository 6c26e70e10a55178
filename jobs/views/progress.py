"""How a long-running command shows how far it is: a bar on a terminal, lines where it is piped."""

from __future__ import annotations

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


@contextmanager
def show_progress(first: str = "listing", *, lines: bool = True) -> Iterator[OnProgress]:
    """A function to tell how far a command has come, shown on the standard error.

    Args:
        first: the stage that a bar shows until another one is told.
        lines: whether there are lines where that is no terminal, or nothing.
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
    # What is printed meanwhile stands above the bar, unless it goes elsewhere: then it goes as it is.
    above = sys.stdout.isatty()
    with BarAndDetail(*columns, console=console, transient=True, redirect_stdout=above) as bar:
        yield Line(bar, first)


class BarAndDetail(Bar):
    """A bar, and under it what else there is to say: beside it, a narrow terminal would cut off both."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The lines, anew each time."""
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["detail"])


class Line:
    """Shows progress as a bar.

    Args:
        bar: a started one.
        first: stage that it begins with.
    """

    def __init__(self, bar: Bar, first: str) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task(first, total=None, detail="")

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
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
        """Show how far the run is."""
        now = time.monotonic()
        ended = progress.total > 0 and progress.done == progress.total
        news = progress.stage != self._stage or ended != self._ended
        if not news and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._stage, self._ended, self._last = progress.stage, ended, now
        counts = f" {progress.done}/{progress.total}" if progress.total else ""
        print(f"i2r: {progress.stage}{counts} {describe(progress)}".rstrip(), file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """Rates, time left, how many ended how, and what takes longest; before anything did, how long it took."""
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
    """Seconds for a person: `42s`, `3m 05s`, `2h 07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C interrupts."""
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before: dict[int, Any] = {
        number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
