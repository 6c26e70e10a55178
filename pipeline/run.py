"""One run over a dataset: list, leave out what is done, restore the rest, reconcile, record."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS
from pipeline.errors import ErrorCode, LeaseHeldError, PipelineError, RunError, SettingsError
from pipeline.records import manifest
from pipeline.records.failures import FailureLog
from pipeline.records.intents import DELETES, withdraw, withdraw_settled
from pipeline.records.lease import SUBMISSION_VARIABLE, Lease
from pipeline.records.listing import SOURCE_COLUMNS, Listing
from pipeline.records.manifest import (
    ManifestWriter,
    Status,
    manifest_files,
    megapixels,
    seconds_by_stage,
    to_parquet,
)
from pipeline.records.pending import Tally, Wanted, is_large, pending_batches
from pipeline.records.pruning import Pruning, check_prunable, tombstone
from pipeline.records.summary import (
    FIRST_IMAGE,
    LOADING,
    RESTORING,
    RUNS,
    STARTING,
    OnProgress,
    Progress,
    RunSummary,
    run_folder,
    silent,
    versions,
)
from pipeline.redaction import public_uri
from pipeline.retries import repetitions
from pipeline.settings import RunSettings
from pipeline.sources.masks import open_masks
from pipeline.sources.walk import Source, open_source, overlap
from pipeline.stages.restoring import PriorIdentity, PriorRestorerFactory, RestorerFactory
from pipeline.storage import PRIVATE, Store, open_store

if TYPE_CHECKING:
    from pipeline.stages.session import Machines  # imports Ray, which checking settings need not wait for
    from pipeline.stages.telemetry import RunTelemetry

LOST_TO_WORRY = 64
"""Inputs that must be lost with dead processes before their share can stop the run."""
PRUNABLE_NAMED = 50
"""Objects that a dry run names as prunable; the rest is counted."""

logger = logging.getLogger(__name__)


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
        source: a prefix, a glob or a single object, on local disk or on any fsspec address.
        dest: where restored images, the manifest and the run's record go.
        settings: of the run; by default `RunSettings()`.
        restorer_factory: makes the restorer in each actor; by default `i2r.Restorer` with the settings'
            prior.
        on_progress: told how far the run has come, about once a second.
        stop: set it to stop the run early; what was finished is recorded.
        dry_run: only find out what would be done; writes nothing.
        redo: addresses of sources to restore again whatever the manifest says of them, and no others.
        address: of a Ray cluster; by default the one that is initialised, or one on this machine for this
            run.

    Raises:
        SettingsError: the source, the destination, the prior or a setting is wrong; nothing was written.
        LeaseHeldError: another run writes to the destination.
        RunError: the run could not finish; what was finished is recorded, and the next run goes on.
    """
    settings = settings or RunSettings()
    factory = restorer_factory or PriorRestorerFactory(settings.prior, settings.method)
    run = Run(
        source, dest, settings, factory, on_progress or silent, stop or threading.Event(), address, redo
    )
    if dry_run:
        return run.preview()
    with _what_must_be_there(run, settings, address):
        return run.execute()


def _what_must_be_there(
    run: Run, settings: RunSettings, address: str | None
) -> AbstractContextManager[object]:
    """The Ray that a run insists on, found before anything is written. One of its own, and this machine's, it
    asks for only when there is something to restore: a quiet night needs none."""
    if address is None and settings.gpus is None:
        return nullcontext()
    from pipeline.stages.session import ray_session, require_listener

    if address == "auto" and settings.gpus is None:
        require_listener(address)
        return nullcontext()
    return ray_session(settings, address, run.keep_waiting)


@dataclass(frozen=True)
class CheckedRun:
    """A run that was found sound: public addresses of where from and where to, and the settings' digest."""

    source: str
    dest: str
    settings_sha256: str


def check_dataset(source: str, dest: str, settings: RunSettings) -> CheckedRun:
    """Check what a run would be told, as `restore_dataset` does before it starts; writes nothing.

    Raises:
        SettingsError: the source, the destination, the prior or a setting is wrong.
    """
    factory = PriorRestorerFactory(settings.prior, settings.method)
    return Run(source, dest, settings, factory, silent, threading.Event(), None).checked


class Run:
    """One run; see `restore_dataset` for the arguments.

    Raises:
        SettingsError: something that it is told is wrong.
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
        self._redo = redo
        self._settings, self._factory, self._on_progress, self._stop = settings, factory, on_progress, stop
        self._address = address
        self._source: Source = open_source(source)
        self._dest = open_store(dest)
        self._reference = open_source(settings.reference).store if settings.reference else None
        self._masks = open_masks(settings.protect) if settings.protect else None
        self._start, self._started_at = time.monotonic(), datetime.now(UTC)
        self._id = f"{self._started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        if overlap(self._source.extent, self._dest):
            raise SettingsError(
                f"SOURCE {self._source.extent.uri()} and DEST {self._dest.uri()} overlap: "
                "choose a DEST outside of SOURCE"
            )
        if settings.prune:
            check_prunable(self._source)
        _check_writable(self._dest)
        self._prior: PriorIdentity = factory.identity()
        self._digest = settings.digest(self._prior.sha256)
        self._extension = extension_of(settings.format) if settings.format else None
        self._tally = Tally()
        self._counts: Counter[str] = Counter()
        self._stage_seconds: Counter[str] = Counter()
        self._handled = 0
        self._megapixels = 0.0
        self._started: float | None = None  # when the first image could start
        self._first_row: float | None = None  # seconds to it from before Ray and the models started
        self._pruned = 0
        self._repeated = 0
        repetitions.take()  # those before were not for this run
        self._notes: set[str] = set()
        self._failures = FailureLog(self._id)

    @property
    def checked(self) -> CheckedRun:
        """What this run is, for those who only wanted it checked."""
        return CheckedRun(self._source.store.uri(self._source.pattern or ""), self._dest.uri(), self._digest)

    def keep_waiting(self) -> bool:
        """Tell that GPUs are awaited; whether to go on, or to end as a run does that is told to stop."""
        self._tell("waiting for GPUs")
        return self._must_stop() is None

    def preview(self) -> RunSummary:
        """What the run would do. Writes nothing to the destination."""
        with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
            listing = Listing(open_store(folder), "listing")
            listing.fill(self._source, self._settings, self._masks)
            for _ in self._pending(listing, self._wanted()):
                pass
            self._tell_repeated()
            orphans = self._pruning(listing).orphans() if self._settings.prune else iter(())
            prunable = []
            for self._pruned, row in enumerate(orphans, start=1):
                prunable += [row["output_uri"]] if self._pruned <= PRUNABLE_NAMED else []
            return replace(self._summary(listing, None), dry_run=True, prunable=prunable)

    def execute(self) -> RunSummary:
        """List, restore and record."""
        with _first_write(self._dest, Lease(self._dest, self._id, self._settings.lease_seconds)) as lease:
            self._dest.delete_folder(f"{PRIVATE}/tmp")  # what killed processes were writing
            listing = Listing(self._dest, f"{run_folder(self._id)}/listing")
            self._tell("listing")
            listing.fill(self._source, self._settings, self._masks, self._must_stop)
            writer = self._writer()
            if not (reason := self._must_stop()):
                with self._machines_for(listing) as machines:
                    parts = self._store_pending(listing, self._wanted(lease.epoch), attempt=1)
                    self._tell_repeated()
                    reason = self._restore(listing, parts, lease, writer, machines) if parts else None
            self._failures.close()
            if self._settings.prune and reason is None:
                self._tell("pruning")
                self._prune(listing, lease, writer)
            self._tell("recording", self._tally.pending)
            manifest.compact(self._dest, self._id)
            self._remove_pending()
            summary = self._summary(listing, reason)
            if reason is None:
                withdraw_settled(self._dest)
            lease.check()
            summary.store(self._dest)
            return summary

    def _machines_for(self, listing: Listing) -> AbstractContextManager[Machines | None]:
        """Ray, where leaving out what is done is work for more than one machine; otherwise it can wait."""
        if not is_large(self._dest, listing, manifest_files(self._dest)):
            return nullcontext()
        from pipeline.stages.session import ray_session

        return ray_session(self._settings, self._address)

    def _wanted(self, epoch: int | None = None) -> Wanted:
        return Wanted.of(self._settings, self._digest, epoch, self._redo)

    def _pending(self, listing: Listing, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """Pending inputs within the limit."""
        self._tally = Tally()
        left = self._settings.limit
        for batch in pending_batches(
            self._dest,
            listing,
            manifest_files(self._dest),
            wanted,
            tally=self._tally,
            extension=self._extension,
        ):
            kept = batch if left is None else batch.slice(0, left)
            if left is not None:
                left -= kept.num_rows
                self._tally.pending -= batch.num_rows - kept.num_rows
                self._tally.deferred += batch.num_rows - kept.num_rows
            if kept.num_rows:
                yield kept

    def _store_pending(self, listing: Listing, wanted: Wanted, attempt: int) -> list[str]:
        parts = []
        for number, batch in enumerate(self._pending(listing, wanted)):
            part = f"{run_folder(self._id)}/pending/{attempt}-{number:06d}.parquet"
            self._dest.write(part, to_parquet(pa.Table.from_batches([batch])))
            parts.append(part)
        return parts

    def _restore(
        self,
        listing: Listing,
        parts: list[str],
        lease: Lease,
        writer: ManifestWriter,
        machines: Machines | None,
    ) -> str | None:
        """Restore what is pending, then what was lost, each alone; why it stopped early."""
        from pipeline.stages.ray_data import Pass, images_per_batch, restored_rows
        from pipeline.stages.session import ray_session
        from pipeline.stages.telemetry import RunTelemetry

        first, total = self._tally, self._tally.pending
        self._tell(STARTING, total)
        begun = time.monotonic()
        session = nullcontext(machines) if machines else ray_session(self._settings, self._address)
        with session as machines:
            telemetry = RunTelemetry(self._id)
            self._started = time.monotonic()
            attempt, work = 1, Pass(parts, total, images_per_batch(self._settings, total, machines))
            while work.parts:
                job, ended_before = self._job(lease.epoch, attempt), self._handled
                try:
                    for table in restored_rows(job, work, self._factory, machines):
                        if table is not None:
                            self._take(table, writer)
                            self._first_row = self._first_row or time.monotonic() - begun
                        writer.flush_if_due()
                        lease.check()
                        if (stage := self._stage()) == LOADING:
                            self._started = time.monotonic()  # rates are of what comes after the start
                        self._tell(stage, total)
                        self._record(telemetry, total - self._handled)
                        if reason := self._must_stop():
                            return reason
                finally:
                    writer.flush()
                    # Nothing waits for this pass any more.
                    self._record(telemetry, 0)
                if (left := total - self._handled) <= 0:
                    break
                self._check_lost(total, attempt)
                parts = self._lost(listing, lease.epoch, attempt + 1)
                if work.alone and self._handled == ended_before:
                    self._give_up(parts, job, writer)
                    break
                attempt, work = attempt + 1, Pass(parts, left, group=1, alone=True)
        self._tally = first
        return None

    def _stage(self) -> str:
        """What the stages beside this process are at, as far as it is seen from here."""
        from pipeline.stages.ray_data import model_is_loaded

        if self._handled:
            return RESTORING
        return FIRST_IMAGE if model_is_loaded() else LOADING

    def _record(self, telemetry: RunTelemetry, left: int) -> None:
        telemetry.record(self._handled, self._counts[Status.FAILED], left, self._count_repeated())

    def _count_repeated(self) -> int:
        """Requests that were repeated so far: those of the stages, and of this process."""
        self._repeated += repetitions.take()
        return self._repeated

    def _remove_pending(self) -> None:
        """Remove what was pending for this run, and for those that were killed: none of them has a record."""
        names = set(self._dest.names(RUNS))
        ended = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        with ThreadPoolExecutor(DELETES) as threads:
            folders = [f"{run_folder(name)}/pending" for name in names - ended if not name.endswith(".json")]
            list(threads.map(self._dest.delete_folder, folders))

    def _writer(self) -> ManifestWriter:
        return ManifestWriter(
            self._dest,
            self._id,
            rows=self._settings.flush_rows,
            seconds=self._settings.flush_seconds,
            on_flush=self._withdraw_notes,
        )

    def _pruning(self, listing: Listing) -> Pruning:
        return Pruning(self._dest, self._source, listing, self._settings)

    def _prune(self, listing: Listing, lease: Lease, writer: ManifestWriter) -> None:
        """Remove what is left of deleted sources, each with its row after it."""
        pruning, common = self._pruning(listing), self._common(lease.epoch, attempt=1)
        try:
            for row in pruning.orphans():
                lease.check()
                pruning.remove(row)
                writer.add(manifest.to_table([tombstone(common, row)]))
                self._pruned += 1
        finally:
            writer.flush()

    def _lost(self, listing: Listing, epoch: int, attempt: int) -> list[str]:
        """Inputs that this run took on and has no row of: inputs minus rows."""
        tally = self._tally
        try:
            return self._store_pending(listing, self._wanted(epoch), attempt)
        finally:
            self._tally = tally

    def _take(self, table: pa.Table, writer: ManifestWriter) -> None:
        fatal = table["fatal"].drop_null()
        rows = table.filter(pc.is_null(table["fatal"])).drop_columns(["fatal", "intent", "repeated"])
        self._repeated += pc.sum(table["repeated"]).as_py() or 0
        if not len(fatal):
            self._notes.update(table["intent"].drop_null().to_pylist())
        if rows.num_rows:
            writer.add(rows)
            self._counts.update(rows["status"].to_pylist())
            self._stage_seconds.update(seconds_by_stage(rows))
            self._handled += rows.num_rows
            self._megapixels += megapixels(rows)
            self._failures.add(rows)
        if len(fatal):
            raise RunError(fatal[0].as_py())

    def _withdraw_notes(self) -> None:
        """Remove the notes on objects whose rows are recorded by now."""
        withdraw(self._dest, sorted(self._notes))
        self._notes.clear()

    def _check_lost(self, total: int, attempt: int) -> None:
        lost = total - self._handled
        if attempt == 1 and lost >= LOST_TO_WORRY and lost > self._settings.max_lost_share * total:
            raise RunError(
                f"{lost} of {total} inputs were lost with processes that died: a machine is broken, "
                "not an image; look at its memory and its logs, then run again"
            )

    def _give_up(self, parts: list[str], job: Any, writer: ManifestWriter) -> None:
        """Record as failed what killed its process even alone."""
        from pipeline.stages.telemetry import RowTelemetry

        telemetry = RowTelemetry()
        for part in parts:
            for batch in manifest.read_batches(self._dest, part):
                rows = [
                    job.common
                    | {name: row[name] for name in SOURCE_COLUMNS}
                    | {
                        "status": Status.FAILED.value,
                        "error_code": ErrorCode.WORKER_DIED.value,
                        "error_message": "the process that handled it died, each time: look at the image, "
                        "and at how much memory the machine has for one of its size",
                        "finished_at": datetime.now(UTC),
                    }
                    for row in batch.to_pylist()
                ]
                table = manifest.to_table(rows)
                writer.add(table)
                self._failures.add(table)
                for row in rows:
                    telemetry.record(row)
                self._counts[Status.FAILED] += len(rows)
                self._handled += len(rows)
        writer.flush()

    def _job(self, epoch: int, attempt: int) -> Any:
        from pipeline.stages.batches import Job

        common = self._common(epoch, attempt)
        return Job(
            self._source.store,
            self._dest,
            self._settings,
            common,
            self._extension,
            self._reference,
            self._masks.store if self._masks else None,
        )

    def _common(self, epoch: int, attempt: int) -> dict[str, Any]:
        """Columns that all rows of an attempt share."""
        return {
            "schema_version": manifest.SCHEMA_VERSION,
            "run_id": self._id,
            "prior": self._prior.name,
            "prior_sha256": self._prior.sha256,
            "settings_sha256": self._digest,
            "epoch": epoch,
            "attempts": attempt,
        }

    def _must_stop(self) -> str | None:
        if self._stop.is_set():
            return "it was told to stop"
        hours = self._settings.max_hours
        if hours is not None and time.monotonic() - self._start > hours * 3600:
            return f"its {hours:g} hours are over"
        return None

    def _tell(self, stage: str, total: int = 0) -> None:
        self._on_progress(
            Progress(
                done=self._handled,
                total=total,
                failed=self._counts[Status.FAILED],
                seconds=0.0 if self._started is None else time.monotonic() - self._started,
                stage=stage,
                run_id=self._id,
                counts=dict(self._counts),
                stage_seconds=dict(self._stage_seconds),
                megapixels=self._megapixels,
            )
        )

    def _tell_repeated(self) -> None:
        """Inputs that an earlier one stands for must not vanish without a word."""
        if self._tally.repeated:
            logger.warning(
                f"{self._tally.repeated} inputs are left out, for each has the address of another one: "
                "list web addresses that differ in more than their query",
                extra={"run_id": self._id},
            )

    def _summary(self, listing: Listing, stopped: str | None) -> RunSummary:
        tally = self._tally
        counts = {status.value: self._counts[status.value] for status in Status}
        counts["carried"] = tally.carried
        counts["left"] = tally.deferred + tally.pending - self._handled
        counts["ignored"] = listing.ignored.total()
        counts["repeated"] = tally.repeated
        return RunSummary(
            run_id=self._id,
            dest=self._dest.uri(),
            counts=counts,
            carried_failed=tally.carried_failed,
            ignored=dict(listing.ignored),
            pruned=self._pruned,
            repeated_requests=self._count_repeated(),
            seconds=round(time.monotonic() - self._start, 3),
            stopped=stopped,
            settings_sha256=self._digest,
            details={
                "source": self.checked.source,
                "prior": self._prior.name,
                "prior_sha256": self._prior.sha256,
                "settings": _public(self._settings),
                "versions": versions(),
                "stage_seconds": {name: round(value, 3) for name, value in self._stage_seconds.items()},
                "megapixels": round(self._megapixels, 6),
                "seconds_to_first_row": self._first_row and round(self._first_row, 3),
                "submission": os.environ.get(SUBMISSION_VARIABLE),
                "started_at": self._started_at.isoformat(),
                "finished_at": datetime.now(UTC).isoformat(),
            },
        )


def _check_writable(dest: Store) -> None:
    """Refuse a local destination that plainly cannot be written, without writing to it."""
    if not dest.is_local:
        return
    place = Path(dest.root)
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise SettingsError(f"DEST {dest.uri()} cannot be a folder, {place} is a file: choose another DEST")
    if not os.access(place, os.W_OK | os.X_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
        raise SettingsError(
            f"DEST {dest.uri()} cannot be written: get the right to write to {place}, or choose another"
        )


class _first_write:
    """Enters a lease; a destination that takes not even that is a wrong argument."""

    def __init__(self, dest: Store, lease: Lease) -> None:
        self._dest, self._lease = dest, lease

    def __enter__(self) -> Lease:
        try:
            return self._lease.__enter__()
        except LeaseHeldError:
            raise
        except PipelineError as error:
            raise SettingsError(f"DEST {self._dest.uri()} cannot be written: {error}") from error

    def __exit__(self, *exception: Any) -> None:
        self._lease.__exit__(*exception)


def _public(settings: RunSettings) -> dict[str, Any]:
    """Settings for a record: an address among them may be signed."""
    values = settings.model_dump(mode="json")
    return {name: public_uri(value) if isinstance(value, str) else value for name, value in values.items()}


def extension_of(format: str) -> str:
    """The extension of a file format, with its dot."""
    return next(extension for extension, name in SUPPORTED_EXTENSIONS.items() if name == format)
