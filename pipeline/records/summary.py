"""What a run came to, for the person who started it and for its record at the destination."""

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
from pipeline.records.manifest import Status
from pipeline.storage import PRIVATE, Store

RUNS = f"{PRIVATE}/runs"
STARTING, LOADING, FIRST_IMAGE = "starting Ray", "loading the model", "restoring the first image"
"""What a run does before it has a row: the wait for the first picture is the longest."""
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
    """What the command line ends with."""

    DONE = 0
    BROKEN = 1
    BAD_SETTINGS = 2
    SOME_FAILED = 3
    LEASE_HELD = 4
    STOPPED = 5


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        done: inputs that have a row by now.
        total: inputs that this run handles.
        failed: of the done ones.
        seconds: since the first image could start.
        stage: what it is doing.
        run_id: of the run.
        counts: of the done ones by status.
        stage_seconds: that the done ones spent in each stage of their way, summed.
        megapixels: of the done ones together; what could not be decoded has none.
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
        """Whether the run has ended, with or without some of its inputs."""
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
        """Where images spend most of their time, None while nothing is known."""
        known = {name: seconds for name, seconds in self.stage_seconds.items() if seconds > 0}
        return max(known, key=known.__getitem__, default=None)

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time to the end, None while nothing is known."""
        return (self.total - self.done) / self.rate if self.rate else None


OnProgress = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes:
        run_id: its name, which sorts by time.
        dest: public address of the destination.
        counts: over every input of its listing: one per status, `carried` for those an earlier run had done,
            `left` for those that are still to be done, `ignored`, and `repeated` for those that have the
            address of another one, which stands for them.
        carried_failed: of the carried ones, those that had failed.
        ignored: objects that are no inputs, by extension.
        pruned: restored objects whose source was deleted, and which were removed for it.
        prunable: addresses of the first of those that a dry run would remove.
        seconds: from start to end.
        repeated_requests: to the storage, of all its processes; without what its client repeats by itself.
        stopped: why it ended early on purpose, or None.
        dry_run: whether this is only what would be done; `left` are the inputs that would be handled.
    """

    run_id: str
    dest: str
    counts: Mapping[str, int]
    carried_failed: int
    ignored: Mapping[str, int]
    seconds: float
    pruned: int = 0
    prunable: Sequence[str] = ()
    repeated_requests: int = 0
    stopped: str | None = None
    dry_run: bool = False
    settings_sha256: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Inputs without a restored image, from this run or an earlier one."""
        return self.counts.get(Status.FAILED, 0) + self.carried_failed

    @property
    def exit_status(self) -> ExitStatus:
        """What the command line ends with."""
        if self.stopped:
            return ExitStatus.STOPPED
        return ExitStatus.SOME_FAILED if self.failed and not self.dry_run else ExitStatus.DONE

    def store(self, store: Store) -> None:
        """Write the run record."""
        store.write(record_key(self.run_id), json.dumps(asdict(self), indent=1, sort_keys=True).encode())


def versions() -> dict[str, str]:
    """Versions of what decides the bytes of outputs, and of Ray, on the machine that a run is started on.

    What is not installed is left out, as this package is where its code came with a job; nothing is imported.
    """
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def run_folder(run_id: str) -> str:
    """Key of the folder with what a run keeps."""
    return f"{RUNS}/{run_id}"


def record_key(run_id: str) -> str:
    """Key of the record of a run."""
    return f"{RUNS}/{run_id}.json"


def read_record(store: Store, run_id: str) -> dict[str, Any] | None:
    """The record of a run, None while it has not ended. Raises ItemError."""
    try:
        record: dict[str, Any] = json.loads(store.read(record_key(run_id)))
    except ItemError as error:
        if error.code is ErrorCode.NOT_FOUND:
            return None
        raise
    return record


def read_records(store: Store) -> list[dict[str, Any]]:
    """The records of all runs that ended, oldest first."""
    names = [name for name in store.names(RUNS) if name.endswith(".json")]
    return [json.loads(store.read(f"{RUNS}/{name}")) for name in names]
