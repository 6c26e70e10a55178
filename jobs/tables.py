"""What commands print about runs, for a person who reads it and for a pipe that cuts it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from jobs.progress import duration
from pipeline.inspection import DatasetStatus, Verification
from pipeline.summary import RunSummary

MOST_FAULTS = 50
"""Faults that `verify` names; the rest is counted."""


def print_summary(summary: RunSummary) -> None:
    """What a run came to."""
    counts = summary.counts
    if summary.dry_run:
        print(f"would handle {counts['left']} images; {counts['carried']} are done already")
        for uri in summary.prunable:
            print(f"would prune: {uri}")
        if (more := summary.pruned - len(summary.prunable)) > 0:
            print(f"and {more} more")
    else:
        print(f"run {summary.run_id}: {_counted(counts)} in {duration(summary.seconds)}")
        if summary.pruned:
            print(f"pruned: {summary.pruned} restored images, whose sources were deleted")
    if summary.stopped:
        print(f"stopped early: {summary.stopped}; the same command goes on")
    if summary.carried_failed:
        print(f"{summary.carried_failed} images failed in an earlier run: --retry-failed tries them again")
    if summary.ignored:
        kinds = ", ".join(f"{number} {extension}" for extension, number in sorted(summary.ignored.items()))
        print(f"ignored, no image formats: {kinds}")
    if not summary.dry_run:
        print(f"results: {summary.dest}")


def print_status(status: DatasetStatus) -> None:
    """What lies at a destination."""
    console = Console(soft_wrap=True)
    print(f"{status.dest}: {status.inputs} inputs, {len(status.runs)} finished runs")
    print(f"writing now: {status.holder or 'nobody'}")
    table = Table("settings", "prior", "last", "status", "inputs", box=None, pad_edge=False)
    for generation in status.generations:
        cells = (generation.settings_sha256[:12], generation.prior, f"{generation.last:%Y-%m-%d %H:%M}")
        for group, number in sorted(status.groups.items()):
            if (group.settings_sha256, group.prior) == (generation.settings_sha256, generation.prior):
                table.add_row(*cells, group.status, str(number))
        if generation.superseded:
            table.add_row(*cells, "superseded", str(generation.superseded))
    if status.generations:
        console.print(table)
    for code, number in sorted(status.errors.items()):
        print(f"failed, {code}: {number}")
    for run in status.runs[-5:]:
        print(f"run {run['run_id']}: {_counted(run['counts'])} in {duration(run['seconds'])}")


def print_verification(verification: Verification) -> None:
    """What `verify` found."""
    for fault in verification.faults[:MOST_FAULTS]:
        print(f"{fault.problem}: {fault.uri}")
    if (more := len(verification.faults) - MOST_FAULTS) > 0:
        print(f"and {more} more")
    print(f"{verification.checked} objects checked, {len(verification.faults)} wrong")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "nothing to do"
