"""How far a run has come: what its rows say, how long it took, and whether it shall go on."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records.manifest import Status, megapixels, seconds_by_stage
from pipeline.records.summary import OnProgress, Progress
from pipeline.retries import repetitions


class Course:
    """Counts the rows of one run, and tells its watchers.

    Args:
        run_id: of the run.
        on_progress: told how far it is.
        stop: set where it shall end early.
        max_hours: after which it ends early, or None.

    Attributes:
        counts: rows by status.
        stage_seconds: that their images spent in each stage, summed.
        handled: rows in all.
        megapixels: of their images.
    """

    def __init__(
        self, run_id: str, on_progress: OnProgress, stop: threading.Event, max_hours: float | None
    ) -> None:
        self._run_id, self._on_progress, self._stop, self._max_hours = run_id, on_progress, stop, max_hours
        self._begun = time.monotonic()
        self._awaited: float | None = None
        self._under_way: float | None = None
        self._first_row: float | None = None
        self.counts: Counter[str] = Counter()
        self.stage_seconds: Counter[str] = Counter()
        self.handled = 0
        self.megapixels = 0.0
        self._repeated = 0
        repetitions.take()  # those before were not for this run

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begun

    @property
    def failed(self) -> int:
        """Rows of images that failed."""
        return self.counts[Status.FAILED]

    def add(self, rows: pa.Table) -> None:
        """Count rows of the manifest."""
        self.counts.update(rows["status"].to_pylist())
        self.stage_seconds.update(seconds_by_stage(rows))
        self.handled += rows.num_rows
        self.megapixels += megapixels(rows)
        self._first_row = self._first_row or time.monotonic()

    def add_repeated(self, numbers: pa.ChunkedArray) -> None:
        """Count requests that other processes repeated."""
        self._repeated += pc.sum(numbers).as_py() or 0

    @property
    def repeated_requests(self) -> int:
        """Requests that were repeated so far, by this process and by others."""
        self._repeated += repetitions.take()
        return self._repeated

    def await_machines(self) -> None:
        """From now on there is something to restore, and machines are being started for it."""
        self._awaited = time.monotonic()

    def start_clock(self) -> None:
        """From now on the rates count: what came before was a start."""
        self._under_way = time.monotonic()

    @property
    def seconds_to_first_row(self) -> float | None:
        """Since machines were awaited; None where no row came."""
        if self._first_row is None or self._awaited is None:
            return None
        return self._first_row - self._awaited

    def tell(self, stage: str, total: int = 0) -> None:
        """Tell what is being done, and how much of it there is."""
        self._on_progress(
            Progress(
                done=self.handled,
                total=total,
                failed=self.failed,
                seconds=0.0 if self._under_way is None else time.monotonic() - self._under_way,
                stage=stage,
                run_id=self._run_id,
                counts=dict(self.counts),
                stage_seconds=dict(self.stage_seconds),
                megapixels=self.megapixels,
            )
        )

    def must_stop(self) -> str | None:
        """Why the run ends early, or None."""
        if self._stop.is_set():
            return "it was told to stop"
        if self._max_hours is not None and self.seconds > self._max_hours * 3600:
            return f"its {self._max_hours:g} hours are over"
        return None
