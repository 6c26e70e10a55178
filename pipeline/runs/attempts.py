"""The attempts of a run: all pending inputs in batches, then the inputs that got no row, each alone.

An input gets no row if the process that handled its batch died, or its node was put out (`Breaker`). After
that, what is left is sent to the other nodes, in batches.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ErrorCode, RunError
from pipeline.records import manifest
from pipeline.records.failures import FailureLog
from pipeline.records.intents import Notes
from pipeline.records.lease import Lease
from pipeline.records.listing import SOURCE_COLUMNS, Listing
from pipeline.records.manifest import ManifestWriter, Status
from pipeline.records.pending import Tally
from pipeline.records.summary import FIRST_IMAGE, LOADING, RESTORING
from pipeline.runs.breaker import Breaker
from pipeline.runs.course import Course
from pipeline.runs.selection import Pending, Selection
from pipeline.settings import RunSettings
from pipeline.stages.batches import BESIDE, ROWS, Job
from pipeline.stages.ray_data import Pass, images_per_batch, model_is_loaded, restored_rows
from pipeline.stages.restoring import PriorIdentity, RestorerFactory
from pipeline.stages.session import Machines
from pipeline.stages.telemetry import RowTelemetry, RunTelemetry
from pipeline.storage.store import Store

logger = logging.getLogger(__name__)

_CRASHED = (
    "it killed the process that handled it alone, twice: check the image, and the memory that one of its "
    "size takes; --only failed tries it again"
)
DEATHS_TO_WORRY = 64
"""Fewest inputs without a row after the first attempt that can stop the run, see `max_lost_share`."""


@dataclass(frozen=True)
class Assignment:
    """What a run does to each of its inputs.

    Attributes:
        run_id: of the run.
        source: where images are read.
        dest: where they are written.
        settings: of the run.
        digest: of the settings that change the bytes of outputs.
        prior: that the restorers load.
        factory: makes the restorers.
        extension: of the outputs if the format is set, or None.
        reference: better versions of the images, under the same keys, or None.
        masks: masks of the images, under the same keys, or None.
    """

    run_id: str
    source: Store
    dest: Store
    settings: RunSettings
    digest: str
    prior: PriorIdentity
    factory: RestorerFactory
    extension: str | None
    reference: Store | None
    masks: Store | None

    def columns(self, epoch: int, attempt: int) -> dict[str, Any]:
        """Manifest columns that all rows of an attempt share."""
        return {
            "schema_version": manifest.SCHEMA_VERSION,
            "run_id": self.run_id,
            "prior": self.prior.name,
            "prior_sha256": self.prior.sha256,
            "settings_sha256": self.digest,
            "epoch": epoch,
            "attempts": attempt,
        }

    def job(self, epoch: int, attempt: int) -> Job:
        """What every stage of an attempt is given."""
        return Job(
            self.source,
            self.dest,
            self.settings,
            self.columns(epoch, attempt),
            self.extension,
            self.reference,
            self.masks,
        )


class Attempts:
    """Sends inputs through the stages until each has a row.

    Args:
        assignment: what is done to each input.
        selection: finds the inputs that have no row yet.
        course: counts the rows and reports progress.
        lease: of the destination, checked while rows are recorded.
        writer: of the rows.
        notes: on objects whose rows are not recorded yet.
        machines: the CPUs and GPUs that Ray has.
    """

    def __init__(
        self,
        assignment: Assignment,
        selection: Selection,
        course: Course,
        lease: Lease,
        writer: ManifestWriter,
        notes: Notes,
        machines: Machines,
    ) -> None:
        self._assignment, self._selection, self._course, self._lease = assignment, selection, course, lease
        self._writer, self._notes, self._machines = writer, notes, machines
        self._breaker = Breaker(assignment.settings.max_errors_in_a_row)
        self._failures = FailureLog(assignment.run_id)
        self._telemetry = RunTelemetry(assignment.run_id)
        self._warnings: set[str] = set()
        self._tally = Tally()

    def make(self, listing: Listing, pending: Pending) -> str | None:
        """Restore the pending inputs, then those that got no row, each alone.

        Returns:
            why it stopped early, or None.

        Raises:
            RunError: too many inputs got no row, a stage cannot go on, or no node is left that can.
        """
        course, total, self._tally = self._course, pending.tally.pending, pending.tally
        attempt, work = 1, self._in_batches(pending, total)
        try:
            while work.parts:
                before = course.handled
                if reason := self._pass(attempt, work, total):
                    return reason
                if (left := total - course.handled) <= 0:
                    break
                if elsewhere := self._must_go_elsewhere(work):
                    self._go_elsewhere()
                missing = self._selection.store(listing, self._lease.epoch, attempt + 1)
                if elsewhere:
                    work = self._in_batches(missing, left)
                elif not work.alone:
                    self._check_deaths(left, total)
                    work = replace(
                        work, parts=missing.parts, images=left, group=1, alone=True, in_tables=False
                    )
                elif course.handled > before:
                    work = replace(work, parts=missing.parts, images=left)
                elif doubted := self._doubted(work):
                    work = replace(work, parts=missing.parts, without=work.without | doubted)
                else:
                    self._give_up(missing.parts, attempt)
                    break
                attempt += 1
        finally:
            self._failures.close()
        return None

    def _in_batches(self, pending: Pending, images: int) -> Pass:
        group = images_per_batch(self._assignment.settings, images, self._machines)
        return Pass(
            pending.parts,
            images,
            group,
            without=frozenset(self._breaker.out),
            pixels=pending.pixels,
            in_tables=pending.in_tables,
        )

    def _must_go_elsewhere(self, work: Pass) -> bool:
        """Whether a node that had a part in a pass is out."""
        return not work.without.issuperset(self._breaker.out)

    def _doubted(self, work: Pass) -> frozenset[str]:
        """Nodes that may be to blame for what killed its process alone, as long as others were not tried."""
        suspects = self._breaker.suspects
        if work.without.issuperset(suspects) or len(work.without) > len(self._breaker.out):
            return frozenset()
        return suspects if self._machines.without(work.without | suspects) else frozenset()

    def _go_elsewhere(self) -> None:
        """Go on without the nodes that are out. Raises RunError if that is in vain, or none is left."""
        breaker = self._breaker
        left = self._machines.without(breaker.out)
        if breaker.stops_the_run or left is None:
            others = f" ({len(breaker.out)} nodes ended so)" if len(breaker.out) > 1 else ""
            raise RunError(f"{breaker.reason}{others}; then run again: it goes on from here")
        logger.warning(
            f"a node gets no more images: {breaker.reason}", extra={"run_id": self._assignment.run_id}
        )
        self._machines = left

    def _pass(self, attempt: int, work: Pass, total: int) -> str | None:
        """Send inputs through the stages once. Returns why it stopped early, or None."""
        job, course = self._assignment.job(self._lease.epoch, attempt), self._course
        try:
            for table in restored_rows(job, work, self._assignment.factory, self._machines):
                if table is not None:
                    self._take(table)
                if self._must_go_elsewhere(work):
                    break
                self._writer.flush_if_due()
                self._lease.check()
                if (stage := self._stage()) == LOADING:
                    course.start_clock()
                course.report(stage, total)
                self._record(total - course.handled)
                if reason := course.must_stop():
                    return reason
        finally:
            for rows in self._breaker.release():
                self._keep(rows)
            self._writer.flush()
            self._record(0)  # nothing is queued in this pass any more
        return None

    def _take(self, table: pa.Table) -> None:
        """Take the rows of a batch. Raises RunError if its stage cannot go on."""
        if len(fatal := table["fatal"].drop_null()):
            # A stage that found the lease lost knows it before this run does, which must record no row then.
            self._lease.check(now=True)
        self._course.add_repeated(table["repeated"])
        self._log_once(table["warning"].drop_null().to_pylist())
        if not len(fatal):
            self._notes.add(table["intent"].drop_null().to_pylist())
        for rows in self._breaker.sift(table.filter(pc.is_null(table["fatal"]))):
            self._keep(rows)
        if len(fatal):
            raise RunError(fatal[0].as_py())

    def _log_once(self, warnings: list[str]) -> None:
        for warning in set(warnings) - self._warnings:
            logger.warning(warning)
        self._warnings |= set(warnings)

    def _keep(self, rows: pa.Table) -> None:
        """Record and count rows, in the columns of `ROWS`."""
        if rows.num_rows:
            self._writer.add(rows.drop_columns(BESIDE.names))
            self._course.add(rows)
            self._failures.add(rows)

    def _stage(self) -> str:
        """What the stages are doing, as far as this process can see."""
        if self._course.handled:
            return RESTORING
        return FIRST_IMAGE if model_is_loaded() else LOADING

    def _record(self, left: int) -> None:
        course = self._course
        states = {
            "done": course.handled,
            "failed": course.failed,
            "new_failed": course.new_failed,
            "carried_failed": self._tally.carried_failed,
            "left": left,
        }
        self._telemetry.record(states, course.repeated_requests, len(self._breaker.out))

    def _check_deaths(self, missing: int, total: int) -> None:
        tolerated = self._assignment.settings.max_lost_share * total
        if missing >= DEATHS_TO_WORRY and missing > tolerated:
            raise RunError(
                f"the processes of {missing} of {total} inputs died: a machine is broken, "
                "not an image; check its memory and its logs, then run again"
            )

    def _give_up(self, parts: Sequence[str], attempt: int) -> None:
        """Record inputs as failed that killed their process even when each was alone in it."""
        telemetry, common = RowTelemetry(), self._assignment.columns(self._lease.epoch, attempt)
        for part in parts:
            for batch in manifest.read_batches(self._assignment.dest, part):
                rows = [
                    common
                    | {name: row[name] for name in SOURCE_COLUMNS}
                    | {
                        "status": Status.FAILED.value,
                        "error_code": ErrorCode.CRASHED.value,
                        "error_message": _CRASHED,
                        "finished_at": datetime.now(UTC),
                        "failed_before": row["failed_before"],
                    }
                    for row in batch.to_pylist()
                ]
                self._keep(pa.Table.from_pylist(rows, schema=ROWS))
                for row in rows:
                    telemetry.record(row)
        self._writer.flush()
