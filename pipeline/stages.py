"""The stages of an image's way, for `Dataset.map_batches`: fetch and decode, restore, encode and store.

What happens to an image stays with it: every stage takes an `Item` and hands it on, failed or not.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import manifest
from pipeline.codec import Picture, encode
from pipeline.containers import Fetcher
from pipeline.errors import CodecError, ErrorCode, ItemError, RunError, bounded_text
from pipeline.intents import announce, announced
from pipeline.keys import output_key
from pipeline.listing import SOURCE_COLUMNS
from pipeline.manifest import Status
from pipeline.masks import has_mask, protected_pixels
from pipeline.restoring import RestoreActor, Restored, RestorerFactory, describe, seed_of, to_float
from pipeline.sandbox import Decoder
from pipeline.settings import RunSettings
from pipeline.storage import Store
from pipeline.telemetry import DeviceTelemetry, RowTelemetry

FETCHES = 8
"""Objects that one stage fetches or stores at once: object stores answer late but many at a time."""

SCORED = 1024
"""Most pixels along a side that are measured."""

ROWS = manifest.SCHEMA.append(pa.field("fatal", pa.string())).append(pa.field("intent", pa.string()))
"""What the last stage hands on: rows, each with the note to withdraw once it is recorded, or in `fatal` why
the run must stop."""

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """What every stage of a run knows.

    Attributes:
        source, dest: where images come from and go to.
        settings: of the run.
        common: columns that all its rows share.
        extension: of the outputs where the format is set.
        reference: better versions of the images, by the same keys, or None.
        masks: what protects parts of them, by the same keys, or None.
    """

    source: Store
    dest: Store
    settings: RunSettings
    common: dict[str, Any]
    extension: str | None
    reference: Store | None = None
    masks: Store | None = None


@dataclass
class Item:
    """One image on its way.

    Attributes:
        row: its row of the manifest, as far as it is known.
        owned: an object of ours lies at its output's key.
        data: the source's bytes.
        picture: the decoded source.
        reference: pixels of its better version, of the same shape, where there is one.
        protected: (H, W), the pixels that stay as they are, where it has a mask.
        image: the restored pixels, (H, W, C) of the source's type, where they are to be stored.
        losses: what its restoration had to do without.
        fatal: why the whole run must stop.
        timings: seconds per stage.
    """

    row: dict[str, Any]
    owned: bool
    data: bytes = b""
    picture: Picture | None = None
    reference: np.ndarray | None = None
    protected: np.ndarray | None = None
    image: np.ndarray | None = None
    losses: tuple[str, ...] = ()
    fatal: str | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it has ended without a result."""
        return self.fatal is not None or self.row.get("status") == Status.FAILED

    def fail(self, error: BaseException) -> None:
        """End it as a failure; what it held is let go."""
        code, text = ErrorCode.INTERNAL, f"{type(error).__name__}: {error}"
        if isinstance(error, ItemError):
            code, text = error.code, error.message
        self.row |= {
            "status": Status.FAILED.value,
            "error_code": code.value,
            "error_message": bounded_text(text),
        }
        self.data = b""
        self.picture = self.reference = self.protected = self.image = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure a stage; an error in it ends the item, or the run, but not the batch."""
        start = time.perf_counter()
        try:
            yield
        except RunError as error:
            self.fatal = str(error)
        except Exception as error:
            self.fail(error)
        finally:
            self.timings[stage] = time.perf_counter() - start


class FetchAndDecode:
    """From rows of the listing to items with pixels."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._threads = ThreadPoolExecutor(FETCHES)
        self._fetcher = Fetcher(job.source, job.settings.decode_memory_mib << 20)
        self._decoder = Decoder(job.settings.decode_memory_mib << 20, job.settings.decode_seconds)

    def __call__(self, batch: Batch) -> pa.Table:
        """Fetch and decode a batch of rows with the listing's columns, `owned` and `collides`."""
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        return as_table([self._decode(item) for item in self._threads.map(self._fetch, rows)])

    def _fetch(self, listed: dict[str, Any]) -> Item:
        row = self._job.common | {name: listed[name] for name in SOURCE_COLUMNS}
        item = Item(row, owned=bool(listed["owned"]))
        with item.timed("fetch"):
            output_key(row["source_key"], self._job.extension)
            if listed["collides"]:
                raise ItemError(
                    ErrorCode.BAD_KEY,
                    f"another source has the output {row['source_key']!r} too: rename one of them",
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
        return item

    def _decode_mask(self, store: Store, key: str, picture: Picture) -> np.ndarray:
        """What the mask of an image protects. Raises ItemError: not to protect it would be worse."""
        try:
            mask = self._decoder.decode(store.read(key), max_pixels=self._job.settings.max_pixels)
        except CodecError as error:
            raise ItemError(error.code, f"the mask {store.uri(key)}: {error.message}") from error
        return protected_pixels(mask, picture.pixels.shape, store.uri(key))

    def _decode_reference(self, store: Store, item: Item) -> np.ndarray | None:
        """The better version of an image; None where there is none that it can be compared with."""
        try:
            data = store.read(item.row["source_key"])
            pixels = self._decoder.decode(data, max_pixels=self._job.settings.max_pixels).pixels
        except ItemError:
            return None
        shape = item.picture.pixels.shape if item.picture else None
        return pixels if pixels.shape == shape else None


class RestoreItems:
    """From items with pixels to items with restored pixels."""

    def __init__(self, factory: RestorerFactory) -> None:
        self._actor = RestoreActor(factory)
        self._telemetry = DeviceTelemetry(self._actor.device)

    def __call__(self, batch: Batch) -> pa.Table:
        """Restore the items of a batch that have not failed."""
        items: list[Item] = list(batch["item"])
        whole = [(item, item.picture) for item in items if not item.failed and item.picture is not None]
        start = time.perf_counter()
        results = self._actor.restore(
            [picture.pixels for _, picture in whole],
            [item.row["seed"] for item, _ in whole],
            [picture.tables for _, picture in whole],
            [item.protected for item, _ in whole],
        )
        seconds = (time.perf_counter() - start) / max(len(whole), 1)
        for (item, _), result in zip(whole, results, strict=True):
            item.timings["restore"] = seconds
            item.row |= {**describe(result), "device": self._actor.device}
            item.losses = result.fallbacks if isinstance(result, Restored) else ()
            if isinstance(result, ItemError) or item.failed:
                item.fail(
                    ItemError(ErrorCode(item.row["error_code"]), item.row["error_message"] or "no result")
                )
            elif item.row["status"] == Status.RESTORED:
                item.image = result.image
        self._telemetry.record()
        return as_table(items)


class EncodeAndStore:
    """From items with restored pixels to objects, and then to rows."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._threads = ThreadPoolExecutor(FETCHES)
        self._node = socket.gethostname()
        self._telemetry = RowTelemetry()

    def __call__(self, batch: Batch) -> pa.Table:
        """Store the items of a batch; rows of `ROWS`. One is encoded while others are on their way."""
        items: list[Item] = list(batch["item"])
        intent, ended = self._announce(items), []
        for item in items:
            if not item.failed:
                self._encode(item)
            ended.append(self._threads.submit(self._finish, item))
        rows = [row.result() | {"intent": intent} for row in ended]
        return pa.Table.from_pylist(rows, schema=ROWS)

    def _announce(self, items: Sequence[Item]) -> str | None:
        """Note which new objects will be stored. Those that are there already are not ours to announce."""
        new = [item for item in items if not item.failed and not item.owned]
        keys = [output_key(item.row["source_key"], self._job.extension) for item in new]
        try:
            absent = [
                key
                for key, there in zip(keys, self._threads.map(self._job.dest.exists, keys), strict=True)
                if not there
            ]
            return announce(self._job.dest, self._job.common["run_id"], absent) if absent else None
        except RunError as error:
            new[0].fatal = str(error)
        except ItemError as error:
            for item in new:
                item.fail(error)
        return None

    def _finish(self, item: Item) -> dict[str, Any]:
        if not item.failed:
            self._put(item)
        if item.fatal:
            return {"fatal": item.fatal}
        row = item.row | {"timings": item.timings, "node": self._node, "finished_at": datetime.now(UTC)}
        self._telemetry.record(row, stored=len(item.data))
        return row

    def _encode(self, item: Item) -> None:
        with item.timed("encode"):
            picture = item.picture
            if picture is None:
                raise ItemError(ErrorCode.INTERNAL, "an image without pixels came to be stored")
            before = after = picture.pixels
            losses = item.losses
            if item.image is not None:
                after = item.image
                encoded = encode(picture, after, format=self._job.settings.format)
                item.data, losses = encoded.data, encoded.losses + item.losses
            elif self._job.extension and picture.format != self._job.settings.format:
                encoded = encode(picture, before, format=self._job.settings.format)
                item.data, losses = encoded.data, encoded.losses
            item.row |= {"losses": list(losses), "metrics": measure(before, after, item.reference)}

    def _put(self, item: Item) -> None:
        with item.timed("store"):
            key = output_key(item.row["source_key"], self._job.extension)
            if item.owned:
                self._job.dest.write(key, item.data)
            elif not self._job.dest.create(key, item.data) and not self._is_ours(key, item.data):
                raise ItemError(
                    ErrorCode.STORAGE,
                    f"{self._job.dest.uri(key)} is there and not ours: move it, or choose another DEST",
                )
            item.row |= {
                "output_uri": self._job.dest.uri(key),
                "output_sha256": hashlib.sha256(item.data).hexdigest(),
            }

    def _is_ours(self, key: str, data: bytes) -> bool:
        """Whether an object was stored by an attempt of this very run that died before its row was there."""
        if self._job.dest.read(key) == data:
            return True
        if ours := any(key in keys for keys in announced(self._job.dest, self._job.common["run_id"])):
            self._job.dest.write(key, data)
        return ours


def measure(before: np.ndarray, after: np.ndarray, reference: np.ndarray | None = None) -> dict[str, float]:
    """Scores of an image before and after, of any type, by the manifest's names.

    Those without a reference are those of the middle of the green channel: a fraction of the cost, and as
    telling.
    """
    from i2r import metrics

    scores: dict[str, float] = {}
    if reference is not None:
        better = to_float(reference)
        for when, image in (("before", before), ("after", after)):
            scores |= {
                f"psnr_{when}": metrics.psnr(to_float(image), better),
                f"ssim_{when}": metrics.ssim(to_float(image), better),
            }
    first = metrics.no_reference(_middle(before))
    second = first if after is before else metrics.no_reference(_middle(after))
    for name, value in first.items():
        scores |= {f"{name}_before": value, f"{name}_after": second[name]}
    return scores


def _middle(image: np.ndarray) -> np.ndarray:
    """At most `SCORED` x `SCORED` floats of one channel, whose corner lies on the grid of JPEG's blocks."""
    top, left = ((side - min(side, SCORED)) // 16 * 8 for side in image.shape[:2])
    channel = image.shape[2] // 2
    part = image[top : top + SCORED, left : left + SCORED, channel : channel + 1]
    return to_float(np.ascontiguousarray(part))


def as_table(items: list[Item]) -> pa.Table:
    """Items as a table of one column. Ray itself would first try to make arrays of them, and log why not."""
    from ray.data.extensions import ArrowPythonObjectArray

    return pa.table({"item": ArrowPythonObjectArray.from_objects(items)})
