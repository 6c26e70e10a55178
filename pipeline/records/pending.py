"""Finds the pending inputs of a run: an anti-join of its listing with the newest rows of the manifest.

Resuming after a crash, restoring only new files and retrying only failed ones are the same anti-join with
different predicates. It runs before any image is fetched, in memory that does not grow with the archive.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import ItemError
from pipeline.records.buckets import DIGEST, Buckets, bucket_count, digests, group_ids, newest
from pipeline.records.intents import announced
from pipeline.records.keys import output_key
from pipeline.records.listing import Listing
from pipeline.records.manifest import ManifestFile, Status, read_batches, total_rows
from pipeline.records.scatter import ray_is_here, scattered
from pipeline.settings import Only, RunSettings
from pipeline.storage.store import Store

NEW, CHANGED, OUTDATED, FAILED, DONE, HANDLED = range(6)
"""Kinds of an input, by its newest row in the manifest: no row; another version; other settings; a failure;
done; a row of this very run."""

LARGE = 2_000_000
"""Rows of listing and manifest together above which the cluster reads their parts and computes digests."""

_KIND = 0x07
_OWNED = 0x08  # an object that we wrote is at its output's key
_COLLIDES = 0x10  # another input has the same output key, and precedence
_REPEATED = 0x20  # an earlier input of the listing has the same address
_SAMPLED = 0x40
_LAST_FAILED = 0x80  # the newest row is a failure, whatever its version and settings

_ENTRY = np.dtype(
    [
        *DIGEST,
        ("version", "<u8"),
        ("settings", "<u8"),
        ("failed", "?"),
        ("epoch", "<i8"),
        ("attempts", "<i4"),
        ("finished", "<i8"),
        ("output_hi", "<u8"),
        ("output_lo", "<u8"),
    ]
)
_INPUT = np.dtype([*DIGEST, ("version", "<u8"), ("index", "<i8")])
_OUTPUT = np.dtype([*DIGEST, ("source", "<u8")])
_PLACE = np.dtype([*DIGEST, ("source", "<u8"), ("index", "<i8")])
_COLUMNS = (
    "source_uri",
    "source_version",
    "settings_sha256",
    "status",
    "epoch",
    "attempts",
    "finished_at",
    "output_uri",
)


@dataclass(frozen=True)
class Wanted:
    """The predicate of the anti-join: which inputs count as done, and which are wanted.

    Attributes:
        settings_sha256: digest of the settings that outputs should have.
        epoch: of this run, whose own rows are final whatever their status; None before it has one.
        only, retry_failed, sample: as in `RunSettings`.
        redo: addresses of sources that are wanted whatever the manifest says, and no others; or None.
    """

    settings_sha256: str
    epoch: int | None = None
    only: Only | None = None
    retry_failed: bool = False
    sample: float | None = None
    redo: frozenset[str] | None = None

    @classmethod
    def of(
        cls,
        settings: RunSettings,
        settings_sha256: str,
        epoch: int | None = None,
        redo: frozenset[str] | None = None,
    ) -> Wanted:
        """The predicate of a run's settings."""
        return cls(settings_sha256, epoch, settings.only, settings.retry_failed, settings.sample, redo)

    def kinds(self) -> set[int]:
        """Kinds of inputs that are pending."""
        if self.redo is not None:
            return {OUTDATED}
        match self.only:
            case Only.NEW:
                return {NEW}
            case Only.CHANGED:
                return {CHANGED}
            case Only.FAILED:
                return set()
        return {NEW, CHANGED, OUTDATED} | ({FAILED} if self.retry_failed else set())


@dataclass
class Tally:
    """Counts of an anti-join, over every input of the listing.

    Attributes:
        pending: inputs that this run handles.
        carried: inputs that an earlier run has done.
        carried_failed: those of `carried` that are recorded as failed.
        deferred: inputs that are not done, and not wanted now.
        repeated: inputs with the same address as an earlier input of the listing, left out for it.
    """

    pending: int = 0
    carried: int = 0
    carried_failed: int = 0
    deferred: int = 0
    repeated: int = 0


def pending_batches(
    store: Store,
    listing: Listing,
    manifest: Sequence[ManifestFile],
    wanted: Wanted,
    *,
    tally: Tally,
    extension: str | None,
) -> Iterator[pa.RecordBatch]:
    """Yield the pending inputs: rows of the listing, with two more columns.

    `owned`: an object that we wrote is at the output's key. `collides`: another input, of this listing or of
    an earlier one, has the same output key; the input whose object is there keeps the key.

    Args:
        store: the destination.
        listing: of the run.
        manifest: parts to join with.
        wanted: the predicate.
        tally: updated while the batches are consumed.
        extension: of the outputs if the format is set, or None.
    """
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        flags = _Join(Path(folder), store, listing, manifest, wanted, extension).flags()
        index = 0
        for batch in listing.batches():
            chunk = np.asarray(flags[index : index + batch.num_rows])
            index += batch.num_rows
            chosen = _choose(chunk, wanted, tally)
            if chosen.any():
                yield _with_flags(batch, chunk, chosen)


def _choose(flags: NDArray[np.uint8], wanted: Wanted, tally: Tally) -> NDArray[np.bool_]:
    kind = flags & _KIND
    chosen = np.isin(kind, list(wanted.kinds()))
    if wanted.only is Only.FAILED or (wanted.only and wanted.retry_failed):
        chosen |= (flags & _LAST_FAILED != 0) & (kind != HANDLED)
    repeated = flags & _REPEATED != 0
    chosen &= (flags & _SAMPLED != 0) & ~repeated
    carried = np.isin(kind, (DONE, FAILED)) & ~chosen & ~repeated
    tally.pending += int(chosen.sum())
    tally.carried += int(carried.sum())
    tally.carried_failed += int((carried & (kind == FAILED)).sum())
    tally.deferred += int((np.isin(kind, (NEW, CHANGED, OUTDATED)) & ~chosen & ~repeated).sum())
    tally.repeated += int(repeated.sum())
    return chosen


def _with_flags(batch: pa.RecordBatch, flags: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> pa.RecordBatch:
    picked, kept = batch.filter(pa.array(chosen)), flags[chosen]
    for name, bit in (("owned", _OWNED), ("collides", _COLLIDES)):
        picked = picked.append_column(name, pa.array((kept & bit) != 0))
    return picked


def is_large(store: Store, listing: Listing, manifest: Sequence[ManifestFile]) -> bool:
    """Whether an anti-join is large enough to run on a cluster."""
    return listing.count + total_rows(store, [file.key for file in manifest]) > LARGE


class _Join:
    """One anti-join, with its intermediate records in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        listing: Listing,
        manifest: Sequence[ManifestFile],
        wanted: Wanted,
        extension: str | None,
    ) -> None:
        self._store, self._listing, self._manifest = store, listing, manifest
        self._wanted, self._extension = wanted, extension
        rows = listing.count + total_rows(store, [file.key for file in manifest])
        self._on_cluster = rows > LARGE and ray_is_here()
        count = bucket_count(rows)
        self._entries = Buckets(folder / "entries", _ENTRY, count)
        self._outputs = Buckets(folder / "outputs", _OUTPUT, count)
        self._inputs = Buckets(folder / "inputs", _INPUT, count)
        self._places = Buckets(folder / "places", _PLACE, count)
        self._current = Buckets(folder / "current", _OUTPUT, count)  # outputs of newest rows only
        self._flags = np.memmap(folder / "flags", dtype=np.uint8, mode="w+", shape=max(listing.count, 1))

    def flags(self) -> NDArray[np.uint8]:
        """One byte of flags for each row of the listing."""
        self._spill_intents()
        self._spill_manifest()
        self._spill_listing()
        for entries, inputs in zip(self._entries, self._inputs, strict=True):
            self._mark_kinds(entries, inputs)
        for outputs, current, places in zip(self._outputs, self._current, self._places, strict=True):
            self._mark_places(outputs, current, places)
        return self._flags

    def _spill_intents(self) -> None:
        """Add outputs that runs announced to those that rows mention: if they exist, we wrote them."""
        for keys in announced(self._store):
            outputs = np.zeros(len(keys), _OUTPUT)
            _put_digests(outputs, [self._store.uri(key) for key in keys])
            self._outputs.add(outputs)

    def _spill_manifest(self) -> None:
        calls = ((self._store, file.key) for file in self._manifest)
        for entries, outputs in scattered(_manifest_records, calls, on_cluster=self._on_cluster):
            self._entries.add(entries)
            self._outputs.add(outputs)

    def _spill_listing(self) -> None:
        starts = accumulate((rows for _, rows in self._listing.parts), initial=0)
        calls = (
            (self._listing.store, part, start, self._store.uri(), self._extension)
            for (part, _), start in zip(self._listing.parts, starts, strict=False)
        )
        for inputs, places in scattered(_listing_records, calls, on_cluster=self._on_cluster):
            self._inputs.add(inputs)
            self._places.add(places)
            if (share := self._wanted.sample) is None:
                self._flags[inputs["index"]] = _SAMPLED
            else:
                self._flags[inputs["index"]] = np.where(inputs["hi"] / 2.0**64 < share, _SAMPLED, 0)

    def _mark_kinds(self, entries: NDArray[np.void], inputs: NDArray[np.void]) -> None:
        entries = entries[newest(entries)]
        stored = entries[(entries["output_hi"] != 0) | (entries["output_lo"] != 0)]
        current = np.zeros(len(stored), _OUTPUT)
        current["hi"], current["lo"], current["source"] = (
            stored["output_hi"],
            stored["output_lo"],
            stored["hi"],
        )
        self._current.add(current)
        if not len(inputs):
            return
        entry_groups, input_groups = group_ids(entries, inputs)
        where = np.full(int(max(entry_groups.max(initial=-1), input_groups.max())) + 1, -1)
        where[entry_groups] = np.arange(len(entries))
        match = where[input_groups]
        known = match >= 0
        kind = np.full(len(inputs), NEW, dtype=np.uint8)
        found = entries[match[known]]
        kind[known] = np.select(
            [
                found["epoch"] == (-1 if self._wanted.epoch is None else self._wanted.epoch),
                found["version"] != inputs["version"][known],
                found["settings"] != _short([self._wanted.settings_sha256])[0],
                found["failed"],
            ],
            [HANDLED, CHANGED, OUTDATED, FAILED],
            DONE,
        )
        if (redo := self._wanted.redo) is not None:
            again = np.isin(inputs["hi"], digests(redo)[:, 0]) & (kind != HANDLED)
            kind = np.where(again, OUTDATED, np.where(kind == HANDLED, HANDLED, DONE)).astype(np.uint8)
        kind[known] |= np.where(found["failed"], _LAST_FAILED, 0).astype(np.uint8)
        kind[_repeats(input_groups, inputs["index"])] |= _REPEATED
        self._flags[inputs["index"]] |= kind

    def _mark_places(
        self, outputs: NDArray[np.void], current: NDArray[np.void], places: NDArray[np.void]
    ) -> None:
        if not len(places):
            return
        output_groups, current_groups, place_groups = group_ids(outputs, current, places)
        owned = np.isin(place_groups, output_groups)
        marks = np.where(owned, _OWNED, 0).astype(np.uint8)
        lies_there = np.isin(_mix(place_groups, places["source"]), _mix(output_groups, outputs["source"]))
        order = np.lexsort((places["index"], places["source"], ~lies_there, place_groups))
        later = order[1:][place_groups[order][1:] == place_groups[order][:-1]]
        marks[later] |= _COLLIDES
        # An output of a source that is not listed now is not overwritten either.
        its_own = np.isin(_mix(place_groups, places["source"]), _mix(current_groups, current["source"]))
        marks[np.isin(place_groups, current_groups) & ~its_own] |= _COLLIDES
        self._flags[places["index"]] |= marks


def _manifest_records(store: Store, key: str) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
    """Records for the join from a part of the manifest: its rows, and the outputs that they mention."""
    for batch in read_batches(store, key, _COLUMNS):
        entries = np.zeros(batch.num_rows, _ENTRY)
        _put_digests(entries, batch["source_uri"].to_pylist())
        entries["version"] = _short(batch["source_version"].to_pylist())
        entries["settings"] = _short(batch["settings_sha256"].to_pylist())
        entries["failed"] = np.asarray(batch["status"].to_pylist()) == Status.FAILED.value
        entries["epoch"], entries["attempts"] = batch["epoch"].to_numpy(), batch["attempts"].to_numpy()
        entries["finished"] = batch["finished_at"].cast(pa.int64()).to_numpy()
        stored = pc.is_valid(batch["output_uri"]).to_numpy(zero_copy_only=False)
        outputs = np.zeros(int(stored.sum()), _OUTPUT)
        _put_digests(outputs, batch["output_uri"].drop_null().to_pylist())
        outputs["source"] = entries["hi"][stored]
        entries["output_hi"][stored], entries["output_lo"][stored] = outputs["hi"], outputs["lo"]
        yield entries, outputs


def _listing_records(
    store: Store, part: str, start: int, prefix: str, extension: str | None
) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
    """Records for the join from a part of the listing: its inputs, and the addresses of their outputs.

    `start` is the number of its first row, `prefix` the address of the destination.
    """
    for batch in read_batches(store, part, ("source_uri", "source_key", "source_version")):
        inputs = np.zeros(batch.num_rows, _INPUT)
        _put_digests(inputs, batch["source_uri"].to_pylist())
        inputs["version"] = _short(batch["source_version"].to_pylist())
        inputs["index"] = np.arange(start, start + batch.num_rows)
        places = np.zeros(batch.num_rows, _PLACE)
        outputs = (_output(key, extension) for key in batch["source_key"].to_pylist())
        _put_digests(places, [f"{prefix}/{output}" for output in outputs])
        places["source"], places["index"] = inputs["hi"], inputs["index"]
        yield inputs, places
        start += batch.num_rows


def _output(key: str, extension: str | None) -> str:
    try:
        return output_key(key, extension)
    except ItemError:
        return f"\0{key}"  # it has no output; this equals no other key


def _repeats(groups: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the records that are not the first of their group in the order of `index`."""
    order = np.lexsort((index, groups))
    mask = np.zeros(len(groups), dtype=bool)
    mask[order[1:]] = groups[order][1:] == groups[order][:-1]
    return mask


def _mix(groups: NDArray[np.int64], sources: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Combine each pair into one number."""
    return groups.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ sources


def _put_digests(records: NDArray[np.void], texts: Sequence[str]) -> None:
    pairs = digests(texts)
    records["hi"], records["lo"] = pairs[:, 0], pairs[:, 1]


def _short(texts: Sequence[str | None]) -> NDArray[np.uint64]:
    return digests(text or "" for text in texts)[:, 0]
