"""The stages for `Dataset.map_batches`: fetch and decode, restore, encode and store.

An error of one image affects no other image: every stage takes `Item`s and passes all of them on, failed or
not.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from i2r import Degraded
from pipeline.codecs.codec import Picture, decode, encode
from pipeline.codecs.sandbox import Decoder
from pipeline.errors import OF_THE_WORLD, CodecError, DeviceLostError, ErrorCode, ItemError, RunError
from pipeline.records import manifest
from pipeline.records.intents import announce, announced
from pipeline.records.keys import output_key
from pipeline.records.lease import Epoch
from pipeline.records.listing import SOURCE_COLUMNS
from pipeline.records.manifest import Status, finite
from pipeline.settings import RunSettings
from pipeline.sources.fetcher import Fetcher
from pipeline.sources.masks import has_mask, protected_pixels
from pipeline.stages.heap import keep_freed_memory
from pipeline.stages.item import Item, as_table, items_of
from pipeline.stages.machine import node_name, was_restarted
from pipeline.stages.restoring import RestoreActor, Restored, RestorerFactory, describe
from pipeline.stages.scores import scores
from pipeline.stages.shares import FETCHES, for_each, shared, within
from pipeline.stages.telemetry import DeviceTelemetry, RowTelemetry
from pipeline.storage.retries import repetitions
from pipeline.storage.store import Store

BLOCK_BYTES = 32 << 20
"""Approximate bytes of a block of images passed from stage to stage: a block ends once it reaches them."""

BESIDE = pa.schema(
    [
        ("fatal", pa.string()),
        ("intent", pa.string()),
        ("repeated", pa.int64()),
        ("warning", pa.string()),
        ("places", pa.list_(pa.string())),
        ("failed_before", pa.bool_()),
    ]
)
"""Columns of the last stage that are not recorded.

`intent` is the note to withdraw once the row is recorded. `fatal` says why the run must stop; such a row is
not recorded. `repeated`, in the first row of a batch, counts the requests that were repeated for the batch.
`warning`, there too, is for the run's log. `places` and `failed_before` are those of `Item`.
"""
ROWS = pa.schema([*manifest.SCHEMA, *BESIDE])
"""Output of the last stage: rows of the manifest, and the columns of `BESIDE`."""

PAUSE = 2.0
"""Seconds before a model's next batch if it failed all of one by errors of the world: failing is faster than
working, so that it would draw the work of others until its node is out."""
FETCHED_BYTES = 256 << 20
"""Most bytes of files that one stage holds before they are decoded, unless a single file is larger."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """What every stage of an attempt is given.

    Attributes:
        source: where images are read.
        dest: where they are written.
        settings: of the run.
        common: columns that all rows share.
        extension: of the outputs if the format is set, or None.
        reference: better versions of the images, under the same keys, or None.
        masks: masks of the images, under the same keys, or None.
    """

    source: Store
    dest: Store
    settings: RunSettings
    common: dict[str, Any]
    extension: str | None
    reference: Store | None = None
    masks: Store | None = None


class FetchAndDecode:
    """Stage that turns rows of the listing into items with pixels."""

    def __init__(self, job: Job) -> None:
        keep_freed_memory()
        self._job = job
        self._threads = ThreadPoolExecutor(FETCHES)
        self._limit = job.settings.decode_memory_mib << 20
        self._fetcher = Fetcher(job.source, self._limit)
        self._decoder = Decoder(self._limit, job.settings.decode_seconds)

    def __call__(self, batch: Batch) -> Iterator[pa.Table]:
        """Fetch and decode a batch of rows with the columns of `pending_batches`.

        Yields:
            Its items in order, in tables of little more than `BLOCK_BYTES`: a batch of scans is gigabytes.
        """
        rows = (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
        block: list[Item] = []
        room = BLOCK_BYTES
        for item in self._fetched(rows):
            block.append(self._decode(item))
            room -= item.nbytes
            if room <= 0:
                yield self._handed_on(block)
                block, room = [], BLOCK_BYTES
        if block:
            yield self._handed_on(block)

    def _fetched(self, rows: Iterable[dict[str, Any]]) -> Iterator[Item]:
        for group in within(rows, FETCHED_BYTES):
            for share in self._threads.map(for_each(self._fetch), shared(group)):
                yield from share

    def _handed_on(self, block: list[Item]) -> pa.Table:
        block[0].repeated, block[0].warning = repetitions.take(), self._decoder.warning
        return as_table(block)

    def _fetch(self, listed: dict[str, Any]) -> Item:
        row = self._job.common | {name: listed[name] for name in SOURCE_COLUMNS}
        item = Item(
            row,
            owned=bool(listed["owned"]),
            failed_before=bool(listed["failed_before"]),
            keeps_bytes=self._job.settings.copy_failed,
        )
        with item.timed("fetch"):
            key = output_key(row["source_key"], self._job.extension)
            if listed["collides"]:
                raise ItemError(
                    ErrorCode.BAD_KEY,
                    f"another source has the output {key!r} too: rename one of them, or choose another DEST",
                )
            item.data = self._fetcher.fetch(listed)
            row["content_sha256"] = hashlib.sha256(item.data).hexdigest()
            row["seed"] = seed_of(item.data)
        return item

    def _decode(self, item: Item) -> Item:
        if item.failed:
            return item
        with item.timed("decode"):
            item.picture = self._decoder.decode(item.data, max_pixels=self._job.settings.max_pixels)
            height, width = item.picture.pixels.shape[:2]
            item.row |= {
                "format": item.picture.format,
                "mode": item.picture.mode,
                "width": width,
                "height": height,
            }
            if self._job.reference is not None:
                item.reference = self._decode_reference(self._job.reference, item)
            if self._job.masks is not None and has_mask(item.row["source_version"]):
                item.protected = self._decode_mask(self._job.masks, item.row["source_key"], item.picture)
            item.before = scores(item.picture.pixels, item.reference)
        return item

    def _decode_mask(self, store: Store, key: str, picture: Picture) -> np.ndarray:
        """The pixels that an image's mask protects. Raises ItemError: without its mask an image must fail."""
        try:
            data = store.read(key, self._limit)
            mask = self._decoder.decode(data, max_pixels=self._job.settings.max_pixels)
        except CodecError as error:
            raise ItemError(error.code, f"the mask {store.uri(key)}: {error.message}") from error
        return protected_pixels(mask, picture.pixels.shape, store.uri(key))

    def _decode_reference(self, store: Store, item: Item) -> np.ndarray | None:
        """The better version of an image; None if there is none, or none of the same shape."""
        try:
            data = store.read(item.row["source_key"], self._limit)
            pixels = self._decoder.decode(data, max_pixels=self._job.settings.max_pixels).pixels
        except ItemError:
            return None
        shape = item.picture.pixels.shape if item.picture else None
        return pixels if pixels.shape == shape else None


def seed_of(content: bytes) -> int:
    """The seed of an image, from its bytes alone: the same in every batch, node and attempt."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8]) >> 1


class RestoreItems:
    """Stage that replaces the pixels of items by restored ones.

    A process whose GPU fails ends, and Ray hands its batch to a new one. If that one fails before it has
    restored anything, it tells: the items come back as `worker_died`, and it ends at the next batch.
    Otherwise nobody would learn of a GPU that fails every batch.

    Raises:
        RunError: the model cannot be loaded here.
    """

    def __init__(self, factory: RestorerFactory) -> None:
        keep_freed_memory()
        self._actor: RestoreActor | None = None
        self._unproven, self._told, self._broken = was_restarted(), False, ""
        self._fails = False
        try:
            self._actor = RestoreActor(factory)
        except Exception as error:
            self._broken = f"node {node_name()}: {error}"
            if not self._unproven:  # of a restarted process, Ray Data would wait for its batches for ever
                raise RunError(self._broken) from error
        self._telemetry = DeviceTelemetry(self._actor.device if self._actor else "")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Restore the items of a batch that have not failed."""
        if self._told:
            _end("another process is to try")
        if self._fails:
            time.sleep(PAUSE)
        items = items_of(batch)
        whole = [(item, item.picture) for item in items if not item.failed and item.picture is not None]
        try:
            self._restore(whole)
        except DeviceLostError as error:
            if not self._unproven:
                _end(str(error))
            self._told = True
            for item, _ in whole:
                item.fail(ItemError(ErrorCode.WORKER_DIED, str(error)))
        self._fails = bool(whole) and all(item.row.get("error_code") in OF_THE_WORLD for item, _ in whole)
        self._telemetry.record()
        return as_table(items)

    def _restore(self, whole: Sequence[tuple[Item, Picture]]) -> None:
        """Restore items. Raises DeviceLostError."""
        if not whole:
            return
        if self._actor is None:
            raise DeviceLostError(self._broken)
        start = time.perf_counter()
        results = self._actor.restore(
            [
                Degraded(picture.pixels, picture.tables, item.protected, hidden=picture.hidden)
                for item, picture in whole
            ]
        )
        self._unproven = False
        seconds = time.perf_counter() - start
        self._telemetry.add(sum(math.prod(picture.pixels.shape[:2]) for _, picture in whole), seconds)
        for (item, picture), result in zip(whole, results, strict=True):
            item.timings["restore"] = seconds / len(whole)
            item.row |= {**describe(result), "device": self._actor.device, "node": node_name()}
            item.losses = result.fallbacks if isinstance(result, Restored) else ()
            item.was_here()
            if isinstance(result, ItemError) or item.failed:
                item.fail(
                    ItemError(ErrorCode(item.row["error_code"]), item.row["error_message"] or "no result")
                )
            elif item.row["status"] == Status.RESTORED:
                item.picture = replace(picture, pixels=result.image)


def _end(reason: str) -> NoReturn:
    """End this process, as if it had been killed: Ray starts another in its place, and repeats the batch."""
    print(f"i2r: this process ends: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


class EncodeAndStore:
    """Stage that stores items as objects and turns them into rows, as long as its run holds the lease."""

    def __init__(self, job: Job) -> None:
        keep_freed_memory()
        self._job = job
        self._epoch = Epoch(job.dest, job.common["epoch"], job.settings.lease_seconds)
        self._threads = ThreadPoolExecutor(FETCHES)
        self._telemetry = RowTelemetry()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Store the items of a batch, some while others are encoded, and return rows of `ROWS`."""
        items = items_of(batch)
        intent, ended = self._announce(items), []
        for share in shared(items):
            for item in share:
                if not item.failed:
                    self._encode(item)
            ended.append(self._threads.submit(for_each(self._finish), share))
        rows = [row | {"intent": intent} for share in ended for row in share.result()]
        if rows:
            rows[0]["repeated"] = repetitions.take() + sum(item.repeated for item in items)
            rows[0]["warning"] = next((item.warning for item in items if item.warning), None)
        return pa.Table.from_pylist(rows, schema=ROWS)

    def _announce(self, items: Sequence[Item]) -> str | None:
        """Store a note of the new objects of a batch. Returns its name, or None without new objects.

        It does not name objects that already exist: those may not be this run's.
        """
        new = [item for item in items if item.is_stored and not item.owned]
        keys = [self._key_of(item) for item in new]
        try:
            absent = [key for share in self._threads.map(self._absent, shared(keys)) for key in share]
            self._epoch.check()
            return announce(self._job.dest, self._job.common["run_id"], absent) if absent else None
        except RunError as error:
            new[0].fatal = str(error)
        except ItemError as error:
            for item in new:
                item.keeps_bytes = False
                item.fail(error)
        return None

    def _key_of(self, item: Item) -> str:
        """The key of an item's object: of one that failed and is copied, its source's own."""
        return output_key(item.row["source_key"], None if item.failed else self._job.extension)

    def _absent(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if not self._job.dest.exists(key)]

    def _finish(self, item: Item) -> dict[str, Any]:
        if not item.failed:
            self._put(item)
        elif item.is_stored:
            self._copy(item)
        if item.fatal:
            return {"fatal": item.fatal}
        row = item.row | {"timings": item.timings, "finished_at": datetime.now(UTC)}
        self._telemetry.record(row, stored=len(item.data))
        return row | {"places": item.places, "failed_before": item.failed_before}

    def _encode(self, item: Item) -> None:
        with item.timed("encode"):
            picture = item.picture
            if picture is None:
                raise ItemError(ErrorCode.INTERNAL, "an image without pixels came to be stored")
            losses, after = item.losses, item.before
            restored = item.row["status"] == Status.RESTORED
            if restored or (self._job.extension and picture.format != self._job.settings.format):
                encoded = encode(picture, picture.pixels, format=self._job.settings.format)
                item.data, losses = encoded.data, encoded.losses + item.losses
                # It is our own file, which needs no sandbox.
                stored = decode(item.data, max_pixels=self._job.settings.max_pixels).pixels
                like = item.reference is not None and item.reference.shape == stored.shape
                after = scores(stored, item.reference if like else None)
            measured = (("before", item.before), ("after", after))
            metrics = {f"{name}_{when}": value for when, found in measured for name, value in found.items()}
            item.row |= {"losses": list(losses), "metrics": finite(metrics)}

    def _put(self, item: Item) -> None:
        with item.timed("store"):
            self._epoch.check()
            key = self._key_of(item)
            if item.owned:
                self._job.dest.write(key, item.data)
            elif not self._job.dest.create(key, item.data) and not self._is_ours(key, item.data):
                raise ItemError(
                    ErrorCode.STORAGE,
                    f"{self._job.dest.uri(key)} is there and not ours: move it, or choose another DEST",
                )
            self._record(item, key)

    def _copy(self, item: Item) -> None:
        """Store the bytes of a failed image, unless another object is there: it may be an earlier result."""
        key = self._key_of(item)
        try:
            if self._job.dest.create(key, item.data) or self._job.dest.read(key) == item.data:
                self._record(item, key)
        except RunError as error:
            item.fatal = str(error)
        except ItemError as error:
            item.row["error_message"] += f"; it could not be copied: {error.message}"

    def _record(self, item: Item, key: str) -> None:
        item.row |= {
            "output_uri": self._job.dest.uri(key),
            "output_sha256": hashlib.sha256(item.data).hexdigest(),
            "output_size": len(item.data),
        }

    def _is_ours(self, key: str, data: bytes) -> bool:
        """Whether an object was stored by this run, in a process that died before the row was recorded."""
        if self._job.dest.read(key) == data:
            return True
        if ours := any(key in keys for keys in announced(self._job.dest, self._job.common["run_id"])):
            self._job.dest.write(key, data)
        return ours
