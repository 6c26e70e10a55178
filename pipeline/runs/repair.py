"""Restores objects that `verify` found faulty again, with the settings of the runs that made them."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SettingsError
from pipeline.records.summary import ExitStatus, OnProgress, RunSummary, read_records
from pipeline.records.verify import Fault, open_dataset, verify_dataset
from pipeline.runs.run import restore_dataset
from pipeline.settings import recorded_settings
from pipeline.stages.restoring import RestorerFactory

_EVERYTHING = {"limit": None, "sample": None, "only": None, "retry_failed": False, "prune": False}


@dataclass(frozen=True)
class Repair:
    """Result of a repair.

    Attributes:
        summaries: of its runs: one for each pair of source and settings that made faulty objects.
        refused: why some of these runs could not start, such as a source that no longer exists.
        left: faults that remain.
    """

    summaries: Sequence[RunSummary]
    refused: Sequence[str]
    left: Sequence[Fault]

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status of the command line."""
        if any(summary.stopped for summary in self.summaries):
            return ExitStatus.STOPPED
        failed = self.left or self.refused or any(summary.failed for summary in self.summaries)
        return ExitStatus.SOME_FAILED if failed else ExitStatus.DONE


def repair_dataset(
    dest: str,
    faults: Sequence[Fault],
    *,
    restorer_factory: RestorerFactory | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Repair:
    """Restore the sources of faulty objects again, each with the settings of its row's run, and verify again.

    Raises:
        SettingsError: no run has ended at the destination yet, so there is no record to take settings from.
        LeaseHeldError, RunError: as `restore_dataset`.
    """
    records = read_records(open_dataset(dest))
    if not records:
        raise SettingsError(f"no run has ended at {dest} yet: run `i2r restore` again instead")
    runs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for fault in faults:
        source, settings = _origin(records, fault.run_id)
        runs[source, json.dumps(settings, sort_keys=True)].add(fault.source_uri)
    summaries, refused = [], []
    for (source, text), uris in runs.items():
        if stop and stop.is_set():
            break
        try:
            summary = restore_dataset(
                source,
                dest,
                recorded_settings(text),
                restorer_factory=restorer_factory,
                on_progress=on_progress,
                stop=stop,
                redo=frozenset(uris),
            )
        except SettingsError as error:  # other sources can still be restored
            refused.append(str(error))
        else:
            summaries.append(summary)
    again = frozenset(fault.source_uri for fault in faults)
    return Repair(summaries, refused, verify_dataset(dest, again).faults)


def _origin(records: Sequence[Mapping[str, Any]], run_id: str) -> tuple[str, dict[str, Any]]:
    """Source and settings of a run. A killed run has no record: then of the next, without its filters."""
    record = next((record for record in records if record["run_id"] >= run_id), records[-1])
    unfiltered = {} if record["run_id"] == run_id else {"include": (), "exclude": ()}
    details = record["details"]
    return details["source"], details["settings"] | _EVERYTHING | unfiltered
