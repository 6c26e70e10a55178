"""Text that commands print about runs, for people and for pipes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING

from jobs.views.findings import counts_in_words
from jobs.views.progress import describe, duration
from pipeline.records.findings import Counts
from pipeline.records.ignored import in_words
from pipeline.records.summary import Progress, RunSummary
from pipeline.records.verify import DatasetStatus, Fault, Verification

if TYPE_CHECKING:
    from jobs.remote.client import SubmittedJob
    from pipeline.runs.repair import Repair

_WORDS = {"carried": "done before", "left": "still to do", "repeated": "listed twice"}
"""Counts of a run's record as people say them."""
MOST_FAULTS = 50
"""Most faults that `verify` names; the others are only counted."""


def print_summary(summary: RunSummary) -> None:
    """Print the summary of a run."""
    counts = summary.counts
    if summary.dry_run:
        print(f"would handle {counts['left']} images; {counts['carried']} are done already")
        for line in (*summary.outdated.lines(), *summary.orphaned.lines()):
            print(line)
        for uri in summary.prunable:
            print(f"would prune: {uri}")
        if (more := summary.pruned - len(summary.prunable)) > 0:
            print(f"and {more} more")
    else:
        print(f"run {summary.run_id}: {_counted(counts)} in {duration(summary.seconds)}")
        _print_findings(summary.findings)
        if summary.pruned:
            print(f"pruned: {summary.pruned} restored images, whose sources were deleted")
        if summary.repeated_requests:
            print(f"storage: {summary.repeated_requests} requests failed and were repeated")
    if summary.stopped:
        print(f"stopped early: {summary.stopped}; the same command goes on")
    if summary.failed and not summary.dry_run:
        print(summary.failures)
    if summary.carried_failed:
        print(
            f"{summary.carried_failed} images failed in an earlier run: --retry-failed tries again what may "
            "get better, --only failed all of them"
        )
    for line in in_words(summary.ignored):
        print(line)
    if not summary.dry_run:
        print(f"results: {summary.dest}")


def print_status(status: DatasetStatus) -> None:
    """Print the status of a destination."""
    print(f"{status.dest}: {status.inputs} inputs, {len(status.runs)} finished runs")
    print(f"writing now: {status.holder or 'nobody'}")
    rows: list[tuple[str, ...]] = []
    for generation in status.generations:
        cells = (generation.settings_sha256[:12], generation.prior, f"{generation.last:%Y-%m-%d %H:%M}")
        for group, number in sorted(status.groups.items()):
            if (group.settings_sha256, group.prior) == (generation.settings_sha256, generation.prior):
                rows.append((*cells, group.status, str(number)))
        if generation.superseded:
            rows.append((*cells, "superseded", str(generation.superseded)))
    if rows:
        print_columns(("settings", "prior", "last", "status", "inputs"), rows)
    _print_findings(status.findings)
    for code, number in sorted(status.errors.items()):
        print(f"failed, {code}: {number}")
    for failure in status.failures:
        print(f"  {failure.key}: {failure.message}")
    if status.failures and (more := sum(status.errors.values()) - len(status.failures)) > 0:
        print(f"  and {more} more: --json names them all")
    for run in status.runs[-5:]:
        print(f"run {run['run_id']}: {_counted(run['counts'])} in {duration(run['seconds'])}")


def print_status_as_json(status: DatasetStatus) -> None:
    """Print the status of a destination as one JSON object."""
    groups = [{**asdict(group), "inputs": number} for group, number in sorted(status.groups.items())]
    print(json.dumps({**asdict(replace(status, groups={})), "groups": groups}, default=str))


def print_verification(verification: Verification) -> None:
    """Print the result of `verify`."""
    _print_faults(verification.faults)
    print(f"{verification.checked} objects checked, {len(verification.faults)} wrong")
    if verification.failed:
        print(f"{verification.failed} sources failed: what they gave before, if anything, is not checked")


def print_repair(repair: Repair) -> None:
    """Print the result of `verify --repair`."""
    for summary in repair.summaries:
        print_summary(summary)
    for reason in repair.refused:
        print(f"not restored again: {reason}")
    _print_faults(repair.left)
    print(f"{len(repair.left)} objects are still wrong" if repair.left else "no object is wrong any more")


def _print_findings(counts: Counts) -> None:
    if counts:
        print(f"found: {counts_in_words(counts)}")


def _print_faults(faults: Sequence[Fault]) -> None:
    for fault in faults[:MOST_FAULTS]:
        print(f"{fault.problem}: {fault.uri}")
    if (more := len(faults) - MOST_FAULTS) > 0:
        print(f"and {more} more")


def print_jobs(jobs: Sequence[SubmittedJob]) -> None:
    """Print the jobs that a cluster remembers."""
    if not jobs:
        print("no jobs of ours")
        return
    rows = [
        (job.id, job.state.lower(), _moment(job.started), _took(job), job.source, job.dest) for job in jobs
    ]
    print_columns(("job", "state", "started", "took", "source", "destination"), rows)


def print_job(job: SubmittedJob, progress: Progress | None) -> None:
    """Print a job, and its progress by the manifest at its destination."""
    print(f"{job.id}: {job.state.lower()}, started {_moment(job.started)}, took {_took(job)}")
    print(f"from {job.source} to {job.dest}")
    if progress is None:
        print("nothing of its run can be read at its destination")
    else:
        left = progress.total - progress.done
        print(f"{progress.stage}: {_counted({**progress.counts, 'left': left})}")
        if (detail := describe(progress)) or not progress.is_over:
            print(detail or "no image is done yet")
    if job.state == "FAILED" and progress is None and job.message:
        print(job.message.strip().splitlines()[-1])


def print_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads, each on one line of any length, so that nothing is cut in a pipe."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _moment(seconds: float | None) -> str:
    """A point in time as text, in local time."""
    return "not yet" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"


def _took(job: SubmittedJob) -> str:
    return "-" if job.started is None else duration((job.ended or time.time()) - job.started)


def _counted(counts: Mapping[str, int]) -> str:
    named = ((_WORDS.get(name, name), number) for name, number in counts.items() if number)
    return ", ".join(f"{number} {name}" for name, number in named) or "nothing to do"
