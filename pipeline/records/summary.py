"""Progress and summary of a run, and its record at the destination."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.errors import ErrorCode, ItemError
from pipeline.records.findings import Counts
from pipeline.records.manifest import Status
from pipeline.records.orphaned import Orphaned
from pipeline.records.outdated import Outdated
from pipeline.storage.store import PRIVATE, Store

RUNS = f"{PRIVATE}/runs"
STARTING, LOADING, FIRST_IMAGE = "starting Ray", "loading the model", "restoring the first image"
"""Stages of a run before its first row, shown because the wait for the first image is the longest."""
AWAITING_GPUS = "waiting for GPUs"
RESTORING = "restoring"
DONE, STOPPED = "done", "stopped"
"""Stages of a run that has ended."""


_DISTRIBUTIONS = (
    "invert2restore",
    "diffusers",
    "imagecodecs",
    "numpy",
    "pillow",
    "pillow-heif",
    "ray",
    "torch",
)


class ExitStatus(IntEnum):
    """Exit status of the command line."""

    DONE = 0
    BROKEN = 1
    BAD_SETTINGS = 2
    SOME_FAILED = 3
    LEASE_HELD = 4
    STOPPED = 5
    REFUSED = 6


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        done: inputs that have a row.
        total: inputs that this run handles.
        failed: those of `done` that failed.
        seconds: since the first image could start.
        stage: the current stage.
        run_id: of the run.
        counts: `done` by status.
        stage_seconds: seconds that `done` inputs spent in each stage, summed.
        megapixels: of `done` inputs, summed; an image that could not be decoded counts as none.
    """

    done: int = 0
    total: int = 0
    failed: int = 0
    seconds: float = 0.0
    stage: str = RESTORING
    run_id: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    megapixels: float = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, complete or stopped."""
        return self.stage in (DONE, STOPPED)

    @property
    def rate(self) -> float:
        """Images per second so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def megapixel_rate(self) -> float:
        """Megapixels per second so far."""
        return self.megapixels / self.seconds if self.seconds > 0 else 0.0

    @property
    def slowest_stage(self) -> str | None:
        """The stage in which images spend most time, None while no times are known."""
        known = {name: seconds for name, seconds in self.stage_seconds.items() if seconds > 0}
        return max(known, key=known.__getitem__, default=None)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end, None while the rate is unknown."""
        return (self.total - self.done) / self.rate if self.rate else None


OnProgress = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run.

    Attributes:
        run_id: id of the run; ids sort by time.
        dest: public address of the destination.
        counts: of the inputs of its listing: one count per status, `carried` for inputs that an earlier run
            had done, `left` for inputs still to do, `repeated` for inputs left out because an earlier input
            has the same address; and `ignored` for objects that are no inputs.
        carried_failed: those of `carried` that had failed.
        new_failed: those of `failed` that had not failed before, in this version.
        ignored: number of objects that are no inputs, by extension.
        findings: images that this run handled, by what came of a finding and by what was found.
        pruned: restored objects that were removed because their source was deleted; in a dry run, those that
            would be.
        prunable: addresses of the first objects that a dry run would remove.
        seconds: from start to end.
        repeated_requests: requests to the storage that any process of the run repeated, without those that
            the storage's client repeats by itself.
        stopped: why it ended early on purpose, or None.
        interrupted: whether it ended early because it was asked to, as by a signal.
        outdated: the finished inputs that were pending again, and why.
        orphaned: the restored images whose source is gone, if it was to prune them.
        dry_run: whether nothing was done; `left` counts all inputs that are not done, also those that this
            run would defer.
    """

    run_id: str
    dest: str
    counts: Mapping[str, int]
    carried_failed: int
    ignored: Mapping[str, int]
    seconds: float
    new_failed: int = 0
    findings: Counts = field(default_factory=dict)
    pruned: int = 0
    prunable: Sequence[str] = ()
    repeated_requests: int = 0
    stopped: str | None = None
    interrupted: bool = False
    dry_run: bool = False
    outdated: Outdated = field(default_factory=Outdated)
    orphaned: Orphaned = field(default_factory=Orphaned)
    settings_sha256: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of failed inputs, of this run and earlier ones."""
        return self.counts.get(Status.FAILED, 0) + self.carried_failed

    @property
    def failures(self) -> str:
        """The failed inputs in words: how many are news."""
        return f"{self.new_failed} failed for the first time, {self.failed - self.new_failed} before"

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status of the command line."""
        if self.stopped:
            return ExitStatus.STOPPED
        return ExitStatus.SOME_FAILED if self.failed and not self.dry_run else ExitStatus.DONE

    @property
    def status_for_retries(self) -> ExitStatus:
        """Exit status for whatever retries a failed command: 0, unless the run was interrupted."""
        return ExitStatus.STOPPED if self.interrupted else ExitStatus.DONE

    def store(self, store: Store) -> None:
        """Write the run record."""
        record = {**asdict(self), "exit_status": int(self.exit_status)}
        store.write(record_key(self.run_id), json.dumps(record, indent=1, sort_keys=True).encode())


def versions() -> dict[str, str]:
    """Versions of Ray and the packages that decide the bytes of outputs, on the machine that starts the run.

    Packages that are not installed are left out, such as this one where its code was sent along with a job.
    Nothing is imported.
    """
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def run_folder(run_id: str) -> str:
    """Key of the folder with a run's listing, pending inputs and notes."""
    return f"{RUNS}/{run_id}"


def record_key(run_id: str) -> str:
    """Key of a run's record."""
    return f"{RUNS}/{run_id}.json"


def read_record(store: Store, run_id: str) -> dict[str, Any] | None:
    """Read the record of a run, None while it has not ended. Raises ItemError."""
    try:
        record: dict[str, Any] = json.loads(store.read(record_key(run_id)))
    except ItemError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return None
        raise
    return record


def read_records(store: Store) -> list[dict[str, Any]]:
    """Read the records of all finished runs, oldest first."""
    names = [name for name in store.names(RUNS) if name.endswith(".json")]
    return [json.loads(store.read(f"{RUNS}/{name}")) for name in names]
