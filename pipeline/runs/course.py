"""Progress of a run: counts from its rows, elapsed time, and whether it must stop."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records.findings import counted
from pipeline.records.manifest import Status, megapixels, seconds_by_stage
from pipeline.records.summary import OnProgress, Progress
from pipeline.storage.retries import repetitions


class Course:
    """Counts the rows of one run and reports its progress.

    Args:
        run_id: of the run.
        on_progress: called with the progress.
        stop: set to end the run early.
        max_hours: hours after which the run ends early, or None.

    Attributes:
        counts: rows by status.
        new_failed: failed rows of inputs that had not failed before.
        findings: rows by action and what was found.
        stage_seconds: seconds that images spent in each stage, summed.
        handled: rows in all.
        megapixels: of all images, summed.
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
        self.new_failed = 0
        self.findings: Counter[tuple[str, str]] = Counter()
        self.stage_seconds: Counter[str] = Counter()
        self.handled = 0
        self.megapixels = 0.0
        self._repeated = 0

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

    @property
    def failed(self) -> int:
        """Number of rows with status failed."""
        return self.counts[Status.FAILED]

    def add(self, rows: pa.Table) -> None:
        """Count rows of the manifest, with the column `failed_before`."""
        self.counts.update(rows["status"].to_pylist())
        failed = pc.equal(rows["status"], Status.FAILED.value)
        self.new_failed += pc.sum(pc.and_not(failed, rows["failed_before"])).as_py() or 0
        self.findings.update(counted(rows))
        self.stage_seconds.update(seconds_by_stage(rows))
        self.handled += rows.num_rows
        self.megapixels += megapixels(rows)
        self._first_row = self._first_row or time.monotonic()

    def add_repeated(self, numbers: pa.ChunkedArray) -> None:
        """Count requests that other processes repeated."""
        self._repeated += pc.sum(numbers).as_py() or 0

    @property
    def repeated_requests(self) -> int:
        """Number of requests repeated so far, by this process and by the stages."""
        self._repeated += repetitions.take()
        return self._repeated

    def await_machines(self) -> None:
        """Note the time at which the run begins to start machines, to measure the time to the first row."""
        self._awaited = time.monotonic()

    def start_clock(self) -> None:
        """Measure rates from now on, without the time that starting up took."""
        self._under_way = time.monotonic()

    @property
    def seconds_to_first_row(self) -> float | None:
        """Seconds from `await_machines` to the first row; None without a row."""
        if self._first_row is None or self._awaited is None:
            return None
        return self._first_row - self._awaited

    def report(self, stage: str, total: int = 0) -> None:
        """Report the current stage, and how many inputs the run handles."""
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

    @property
    def was_asked_to_stop(self) -> bool:
        """Whether it was, as by a signal."""
        return self._stop.is_set()

    def must_stop(self) -> str | None:
        """Why the run ends early, or None."""
        if self.was_asked_to_stop:
            return "it was asked to stop"
        if self._max_hours is not None and self.seconds > self._max_hours * 3600:
            return f"its {self._max_hours:g} hours are over"
        return None
