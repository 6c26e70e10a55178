"""Doing again what `verify` found wrong, as the last run did it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pipeline.errors import SettingsError
from pipeline.inspection import Fault, open_dataset
from pipeline.restoring import RestorerFactory
from pipeline.run import OnProgress, restore_dataset
from pipeline.settings import RunSettings
from pipeline.summary import RunSummary, read_records


def repair_dataset(
    dest: str,
    faults: Sequence[Fault],
    *,
    restorer_factory: RestorerFactory | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> RunSummary:
    """Restore the sources of faulty objects again, with the source and the settings of the last run.

    Raises:
        SettingsError: no run has ended there yet, so that nobody knows what to do.
        LeaseHeldError, RunError: as `restore_dataset`.
    """
    records = read_records(open_dataset(dest))
    if not records:
        raise SettingsError(f"no run has ended at {dest} yet: run `i2r restore` again instead")
    details = records[-1]["details"]
    everything = {"limit": None, "sample": None, "only": None, "include": (), "exclude": (), "prune": False}
    return restore_dataset(
        details["source"],
        dest,
        RunSettings.model_validate(details["settings"] | everything),
        restorer_factory=restorer_factory,
        on_progress=on_progress,
        stop=stop,
        redo=frozenset(fault.source_uri for fault in faults),
    )
