"""One image in the stages, and how it is passed between processes without pickling its pixels.

Ray would pickle every item into one string and unpickle that into new arrays. Here an item is pickled without
its buffers (PEP 574), and the buffers are stored in an Arrow column beside it: a process that reads them gets
views into Ray's object store.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.codecs.codec import Picture
from pipeline.errors import ErrorCode, ItemError, RunError, bounded_text
from pipeline.records.manifest import Status
from pipeline.stages.machine import node_name, place
from pipeline.storage.redaction import without_secrets

_OUT_OF_BAND = 5  # the first pickle protocol with out-of-band buffers


@dataclass
class Item:
    """One image in the stages.

    Attributes:
        row: its row of the manifest, as far as it is known.
        owned: whether an object that we wrote is at its output's key.
        data: bytes of the source; once encoded, of the output.
        picture: the decoded source; once it is restored, with the restored pixels.
        before: scores of the source, see `pipeline.stages.scores`.
        reference: pixels of its better version, of the same shape, or None.
        protected: (H, W), the pixels that its mask protects from changes, or None.
        losses: names of smaller restorers that were used, for the row's `losses`.
        fatal: why the whole run must stop, or None.
        timings: seconds per stage.
        places: the processes that have handled it, in order; of a failed one, the last is where it failed.
        failed_before: whether an earlier run recorded this very version of it as failed.
        repeated: requests to the storage that were repeated for it, or for others in its batch.
        warning: of its decoder, or None.
        keeps_bytes: whether it keeps the bytes of its source when it fails, to be copied.
    """

    row: dict[str, Any]
    owned: bool
    data: bytes = b""
    picture: Picture | None = None
    before: dict[str, float] = field(default_factory=dict)
    reference: np.ndarray | None = None
    protected: np.ndarray | None = None
    losses: tuple[str, ...] = ()
    fatal: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)
    failed_before: bool = False
    repeated: int = 0
    warning: str | None = None
    keeps_bytes: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its file and all its arrays."""
        planes = [self.reference, self.protected]
        if self.picture is not None:
            planes += [self.picture.pixels, self.picture.alpha]
        return len(self.data) + sum(plane.nbytes for plane in planes if plane is not None)

    @property
    def failed(self) -> bool:
        """Whether it failed, or stops the run."""
        return self.fatal is not None or self.row.get("status") == Status.FAILED

    @property
    def is_stored(self) -> bool:
        """Whether an object is to be stored for it: unless it stops the run, or failed and is not copied."""
        return self.fatal is None and (not self.failed or bool(self.data))

    def was_here(self) -> None:
        """Note that this process has handled it."""
        if place() not in self.places:
            self.places.append(place())

    def fail(self, error: BaseException) -> None:
        """Set the failure and where it happened in its row, and free its pixels, and its bytes if it may."""
        code, text = ErrorCode.INTERNAL, f"{type(error).__name__}: {error}"
        if isinstance(error, ItemError):
            code, text = error.code, error.message
        self.row |= {
            "status": Status.FAILED.value,
            "error_code": code.value,
            "error_message": bounded_text(without_secrets(text)),
            "node": node_name(),
        }
        self.was_here()
        self.data = self.data if self.keeps_bytes else b""
        self.picture = self.reference = self.protected = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure the time of a stage. An error in it fails the item or stops the run, but not the batch."""
        start = time.perf_counter()
        try:
            yield
            self.was_here()
        except RunError as error:
            self.fatal = str(error)
        except Exception as error:
            self.fail(error)
        finally:
            self.timings[stage] = time.perf_counter() - start


def as_table(items: Iterable[Item]) -> pa.Table:
    """Items as rows of a table, with a column for the pickled items and one for their buffers."""
    pickled: list[bytes] = []
    buffers: list[memoryview] = []
    ends = [0]
    for item in items:
        beside: list[pickle.PickleBuffer] = []
        pickled.append(pickle.dumps(item, _OUT_OF_BAND, buffer_callback=beside.append))
        buffers += [buffer.raw() for buffer in beside]
        ends.append(len(buffers))
    columns = [pa.array(pickled, pa.large_binary()), _lists_of(buffers, ends)]
    return pa.table(columns, names=["item", "buffers"])


def items_of(table: pa.Table) -> list[Item]:
    """The items of a table; their arrays are read-only views of it."""
    items = []
    for pickled, buffers in zip(table["item"], table["buffers"], strict=True):
        beside = _views_of(buffers.values)
        items.append(pickle.loads(pickled.as_buffer(), buffers=beside))  # noqa: S301 - ours, of this run
    return items


def _lists_of(buffers: list[memoryview], ends: list[int]) -> pa.Array:
    """An Arrow array of lists of byte strings, made with a single copy of their bytes."""
    offsets = np.cumsum([0, *(len(buffer) for buffer in buffers)], dtype=np.int64)
    laid = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(buffers))]
    strings = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(buffers), laid)
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), strings)


def _views_of(strings: pa.LargeBinaryArray) -> list[pa.Buffer]:
    """The bytes of every string, without a copy: Arrow's scalars would copy them."""
    if not len(strings):
        return []
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return [data.slice(start, end - start) for start, end in pairwise(ends.tolist())]
