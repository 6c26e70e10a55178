"""`i2r history`: the runs of a destination, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from jobs.progress import duration
from pipeline.inspection import open_dataset
from pipeline.manifest import Status
from pipeline.summary import ExitStatus, read_records

HEADS = ("run", "began", "took", *Status, "carried", "left", "exit")


def nights(dest: str) -> Iterator[tuple[str, ...]]:
    """What each run that ended came to, oldest first, under `HEADS`.

    Raises:
        SettingsError: nothing of ours is there.
    """
    for record in read_records(open_dataset(dest)):
        counts = record["counts"]
        yield (
            record["run_id"],
            f"{began(record):%Y-%m-%d %H:%M} UTC",
            duration(record["seconds"]),
            *(str(counts[name]) for name in (*Status, "carried", "left")),
            str(int(exit_status(record))),
        )


def began(record: Mapping[str, Any]) -> datetime:
    """When a run began, which its id tells."""
    return datetime.strptime(record["run_id"].split("-")[0], "%Y%m%dT%H%M%S")


def exit_status(record: Mapping[str, Any]) -> ExitStatus:
    """What a run ended with."""
    if record["stopped"]:
        return ExitStatus.STOPPED
    failed = record["counts"][Status.FAILED] + record["carried_failed"]
    return ExitStatus.SOME_FAILED if failed else ExitStatus.DONE
