"""Doing again what `verify` found wrong, as the runs did it that the faulty objects come from."""

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
from pipeline.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.stages.restoring import RestorerFactory

_EVERYTHING = {"limit": None, "sample": None, "only": None, "retry_failed": False, "prune": False}


@dataclass(frozen=True)
class Repair:
    """What a repair came to.

    Attributes:
        summaries: of its runs, one for each source and settings that faulty objects come from.
        refused: why some of these runs could not start, such as a source that is gone.
        left: faults that are there all the same.
    """

    summaries: Sequence[RunSummary]
    refused: Sequence[str]
    left: Sequence[Fault]

    @property
    def exit_status(self) -> ExitStatus:
        """What the command line ends with."""
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
    """Restore the sources of faulty objects again, each as the run of its row did it, and look once more.

    Raises:
        SettingsError: no run has ended there yet, so that nobody knows what to do.
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
                RunSettings.model_validate_json(text),
                restorer_factory=restorer_factory,
                on_progress=on_progress,
                stop=stop,
                redo=frozenset(uris),
            )
        except SettingsError as error:  # the other sources can be restored from all the same
            refused.append(str(error))
        else:
            summaries.append(summary)
    again = frozenset(fault.source_uri for fault in faults)
    return Repair(summaries, refused, verify_dataset(dest, again).faults)


def _origin(records: Sequence[Mapping[str, Any]], run_id: str) -> tuple[str, dict[str, Any]]:
    """Source and settings of a run. One that was killed has no record: those of the next, without filters."""
    record = next((record for record in records if record["run_id"] >= run_id), records[-1])
    unfiltered = {} if record["run_id"] == run_id else {"include": (), "exclude": ()}
    details = record["details"]
    return details["source"], details["settings"] | _EVERYTHING | unfiltered
