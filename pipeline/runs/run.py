"""One run over a dataset: list the inputs, skip those that are done, restore the rest, write the record."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pipeline.codecs.codec import extension_of
from pipeline.errors import RefusedError, SettingsError
from pipeline.records import manifest
from pipeline.records.findings import by_action
from pipeline.records.intents import Notes, withdraw_settled
from pipeline.records.lease import SUBMISSION_VARIABLE, Lease
from pipeline.records.listing import Listing
from pipeline.records.manifest import ManifestWriter, Status
from pipeline.records.orphaned import Orphaned
from pipeline.records.outdated import Outdated
from pipeline.records.pending import Tally
from pipeline.records.pruning import Pruning, check_prunable, tombstone
from pipeline.records.summary import (
    AWAITING_GPUS,
    STARTING,
    OnProgress,
    RunSummary,
    run_folder,
    silent,
    versions,
)
from pipeline.runs.addresses import refuse_file_name, refuse_overlap
from pipeline.runs.attempts import Assignment, Attempts
from pipeline.runs.course import Course
from pipeline.runs.destination import FirstWrite, check_writable
from pipeline.runs.selection import Pending, Selection
from pipeline.settings import RunSettings
from pipeline.sources.masks import open_masks
from pipeline.sources.walk import Source, open_source
from pipeline.stages.restoring import PriorRestorerFactory, RestorerFactory
from pipeline.stages.session import connection, ray_session, require_listener
from pipeline.storage.redaction import public_uri
from pipeline.storage.retries import repetitions
from pipeline.storage.store import PRIVATE, open_store

logger = logging.getLogger(__name__)

PRUNABLE_NAMED = 50
"""Most prunable objects that a dry run names; the others are only counted."""


def restore_dataset(
    source: str,
    dest: str,
    settings: RunSettings | None = None,
    *,
    restorer_factory: RestorerFactory | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    dry_run: bool = False,
    address: str | None = None,
    redo: frozenset[str] | None = None,
) -> RunSummary:
    """Restore every image of a source into a destination.

    Args:
        source: prefix, glob or single object, on local disk or at any fsspec address.
        dest: where restored images, the manifest and the run's record are written.
        settings: of the run; by default `RunSettings()`.
        restorer_factory: makes the restorer in each actor; by default `i2r.Restorer` with the settings'
            prior.
        on_progress: called with the progress of the run, about once a second.
        stop: set it to stop the run early; finished inputs are recorded.
        dry_run: only count what would be done; writes nothing to the destination.
        redo: addresses of sources to restore again whatever the manifest says of them; all other inputs
            are skipped.
        address: of a Ray cluster; by default the one that is initialised, or a new one on this machine for
            this run.

    Raises:
        SettingsError: the source, the destination, the prior or a setting is wrong, or the GPUs did not come;
            nothing is left of the run.
        LeaseHeldError: another run writes to the destination.
        RefusedError: it would restore more finished images again than `max_redo` allows, or remove more
            restored ones than `max_pruned`; nothing was done.
        RunError: the run could not finish; finished inputs are recorded, and the next run continues from
            there.
    """
    settings = settings or RunSettings()
    factory = restorer_factory or PriorRestorerFactory(settings.prior, settings.method)
    run = Run(
        source, dest, settings, factory, on_progress or silent, stop or threading.Event(), address, redo
    )
    if dry_run:
        return run.preview()
    with _what_must_be_there(settings, address):
        return run.execute()


def _what_must_be_there(settings: RunSettings, address: str | None) -> AbstractContextManager[object]:
    """Check the Ray that a run requires, before anything is written. Requests nothing.

    GPUs that a run may wait for (`gpu_minutes`) are requested once there is work for them: nobody pays for
    them while it lists, and a run that finds nothing to restore requests none. Without them, and with `auto`,
    it only checks that something answers; a run without an address starts its own Ray when it needs one.
    """
    if settings.gpus and not settings.gpu_minutes:
        return ray_session(settings, address)
    if address == "auto":
        require_listener(address)
    elif address is not None:
        return connection(settings, address)
    return nullcontext()


@dataclass(frozen=True)
class CheckedRun:
    """A run with valid arguments: public addresses of source and destination, and the settings' digest."""

    source: str
    dest: str
    settings_sha256: str


def check_dataset(source: str, dest: str, settings: RunSettings) -> CheckedRun:
    """Check the arguments of a run, as `restore_dataset` does before it starts; writes nothing.

    Raises:
        SettingsError: the source, the destination, the prior or a setting is wrong.
    """
    factory = PriorRestorerFactory(settings.prior, settings.method)
    return Run(source, dest, settings, factory, silent, threading.Event(), None).checked


class Run:
    """One run; see `restore_dataset` for the arguments.

    Raises:
        SettingsError: an argument is wrong.
    """

    def __init__(
        self,
        source: str,
        dest: str,
        settings: RunSettings,
        factory: RestorerFactory,
        on_progress: OnProgress,
        stop: threading.Event,
        address: str | None,
        redo: frozenset[str] | None = None,
    ) -> None:
        self._settings, self._address = settings, address
        private = settings.private_addresses
        self._source: Source = open_source(source, private=private)
        self._dest = open_store(dest)
        self._masks = open_masks(settings.protect, private=private) if settings.protect else None
        self._started_at = datetime.now(UTC)
        self._id = f"{self._started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self._course = Course(self._id, on_progress, stop, settings.max_hours)
        refuse_overlap(self._source.extent.uri(), self._dest.uri())
        refuse_file_name(self._dest.root, exists=self._dest.is_local and os.path.isdir(self._dest.root))
        if settings.prune:
            check_prunable(self._source)
        check_writable(self._dest)
        prior = factory.identity()
        self._decisive = settings.decisive(prior.sha256)
        self._assignment = Assignment(
            run_id=self._id,
            source=self._source.store,
            dest=self._dest,
            settings=settings,
            digest=settings.digest(prior.sha256),
            prior=prior,
            factory=factory,
            extension=extension_of(settings.format) if settings.format else None,
            reference=open_source(settings.reference, private=private).store if settings.reference else None,
            masks=self._masks.store if self._masks else None,
        )
        self._selection = Selection(
            self._dest, self._id, settings, self._assignment.digest, self._assignment.extension, redo
        )
        repetitions.take()  # requests repeated before now were not for this run

    @property
    def checked(self) -> CheckedRun:
        """Source, destination and settings' digest of this run, for `check_dataset`."""
        source = self._source.store.uri(self._source.pattern or "")
        return CheckedRun(source, self._dest.uri(), self._assignment.digest)

    def preview(self) -> RunSummary:
        """Count what the run would do. Writes nothing to the destination."""
        with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
            listing = Listing(open_store(folder), "listing")
            listing.fill(self._source, self._settings, self._masks)
            _require_matches(self._source, listing)
            tally = self._selection.count(listing)
            orphans = self._pruning(listing).orphans() if self._settings.prune else iter(())
            prunable = [row["output_uri"] for row in islice(orphans, PRUNABLE_NAMED)]
            pruned = len(prunable) + sum(1 for _ in orphans)
            outdated, orphaned = self._outdated(tally), self._orphaned(listing, tally)
            summary = self._summary(listing, tally, outdated, orphaned, pruned=pruned)
            return replace(summary, dry_run=True, prunable=prunable)

    def execute(self) -> RunSummary:
        """List the source, restore the pending inputs and write the run's record."""
        with FirstWrite(self._dest, Lease(self._dest, self._id, self._settings.lease_seconds)) as lease:
            try:
                return self._execute(lease)
            except (RefusedError, SettingsError):  # before the first image: leave nothing of this run
                self._dest.delete_folder(run_folder(self._id))
                raise

    def _execute(self, lease: Lease) -> RunSummary:
        self._dest.delete_folder(f"{PRIVATE}/tmp")  # partial files of processes that were killed
        listing, pruned = Listing(self._dest, f"{run_folder(self._id)}/listing"), 0
        tally, outdated, orphaned = Tally(), Outdated(), Orphaned()
        self._course.report("listing")
        listing.fill(self._source, self._settings, self._masks, self._course.must_stop)
        if self._course.must_stop() is None:
            _require_matches(self._source, listing)
        notes = Notes(self._dest)
        writer = self._writer(notes, lease)
        if not (reason := self._course.must_stop()):
            pending = self._selection.store(listing, lease.epoch, attempt=1)
            tally, outdated = pending.tally, self._outdated(pending.tally)
            orphaned = self._orphaned(listing, tally)
            self._announce(outdated, orphaned)
            if pending.parts:
                reason = self._restore(listing, pending, lease, writer, notes)
        if self._settings.prune and reason is None:
            self._course.report("pruning")
            pruned = self._prune(listing, lease, writer)
        self._course.report("recording", tally.pending)
        lease.check()
        manifest.compact(self._dest, self._id)
        self._selection.forget()
        summary = self._summary(listing, tally, outdated, orphaned, pruned=pruned, stopped=reason)
        if reason is None:
            withdraw_settled(self._dest)
        lease.check()
        summary.store(self._dest)
        return summary

    def _outdated(self, tally: Tally) -> Outdated:
        return self._selection.outdated(tally, self._decisive)

    def _orphaned(self, listing: Listing, tally: Tally) -> Orphaned:
        return self._pruning(listing).orphaned(tally.finished) if self._settings.prune else Orphaned()

    def _announce(self, outdated: Outdated, orphaned: Orphaned) -> None:
        """Log what is restored again or removed. Raises RefusedError if it is too much."""
        outdated.refuse()
        orphaned.refuse()
        for line in (*outdated.lines(), *orphaned.lines()):
            logger.warning(line, extra={"run_id": self._id})

    def _restore(
        self, listing: Listing, pending: Pending, lease: Lease, writer: ManifestWriter, notes: Notes
    ) -> str | None:
        """Restore the pending inputs. Returns why it stopped early, or None."""
        self._course.report(STARTING, pending.tally.pending)
        self._course.await_machines()

        def keep_waiting() -> bool:
            lease.check()
            self._course.report(AWAITING_GPUS, pending.tally.pending)
            self._course.await_machines()
            return self._course.must_stop() is None

        # From here on nothing of ours may be imported for the first time: in a job, the folder of its code is
        # gone for a moment while its driver connects.
        with ray_session(self._settings, self._address, keep_waiting) as machines:
            if reason := self._course.must_stop():
                return reason
            self._course.start_clock()
            attempts = Attempts(
                self._assignment, self._selection, self._course, lease, writer, notes, machines
            )
            return attempts.make(listing, pending)

    def _writer(self, notes: Notes, lease: Lease) -> ManifestWriter:
        return ManifestWriter(
            self._dest,
            self._id,
            rows=self._settings.flush_rows,
            seconds=self._settings.flush_seconds,
            on_flush=notes.withdraw,
            check=lease.check,
        )

    def _pruning(self, listing: Listing) -> Pruning:
        return Pruning(self._dest, self._source, listing, self._settings)

    def _prune(self, listing: Listing, lease: Lease, writer: ManifestWriter) -> int:
        """Remove restored objects of deleted sources, and write a row after each. Returns their number."""
        pruning, common, pruned = self._pruning(listing), self._assignment.columns(lease.epoch, attempt=1), 0
        try:
            for row in pruning.orphans():
                lease.check()
                pruning.remove(row)
                writer.add(manifest.to_table([tombstone(common, row)]))
                pruned += 1
        finally:
            writer.flush()
        return pruned

    def _summary(
        self,
        listing: Listing,
        tally: Tally,
        outdated: Outdated,
        orphaned: Orphaned,
        *,
        pruned: int,
        stopped: str | None = None,
    ) -> RunSummary:
        course, first_row = self._course, self._course.seconds_to_first_row
        counts = {status.value: course.counts[status.value] for status in Status}
        counts["carried"] = tally.carried
        counts["left"] = tally.deferred + tally.pending - course.handled
        counts["ignored"] = listing.ignored.total()
        counts["repeated"] = tally.repeated
        return RunSummary(
            run_id=self._id,
            dest=self._dest.uri(),
            counts=counts,
            findings=by_action(course.findings),
            carried_failed=tally.carried_failed,
            new_failed=course.new_failed,
            ignored=dict(listing.ignored),
            pruned=pruned,
            repeated_requests=course.repeated_requests,
            seconds=round(course.seconds, 3),
            stopped=stopped,
            interrupted=stopped is not None and course.was_asked_to_stop,
            outdated=outdated,
            orphaned=orphaned,
            settings_sha256=self._assignment.digest,
            details={
                "source": self.checked.source,
                "prior": self._assignment.prior.name,
                "prior_sha256": self._assignment.prior.sha256,
                "method_version": self._decisive["method_version"],
                "settings": _public(self._settings),
                "versions": versions(),
                "stage_seconds": {name: round(value, 3) for name, value in course.stage_seconds.items()},
                "megapixels": round(course.megapixels, 6),
                "seconds_to_first_row": first_row and round(first_row, 3),
                "submission": os.environ.get(SUBMISSION_VARIABLE),
                "started_at": self._started_at.isoformat(),
                "finished_at": datetime.now(UTC).isoformat(),
            },
        )


def _require_matches(source: Source, listing: Listing) -> None:
    """Refuse a glob that matches nothing at all: it has a slip more often than not. Raises SettingsError."""
    if source.pattern and not source.single and not listing.count and not listing.ignored:
        raise SettingsError(
            f"SOURCE {source.store.uri(source.pattern)} matches nothing: check it, and quote it in a shell"
        )


def _public(settings: RunSettings) -> dict[str, Any]:
    """Settings for a record, without the secrets of signed addresses."""
    values = settings.model_dump(mode="json")
    return {name: public_uri(value) if isinstance(value, str) else value for name, value in values.items()}
