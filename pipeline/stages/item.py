"""One image on its way through the stages, and how it travels: pixels are never pickled.

Ray would pickle every item into one string and unpickle that into new arrays. Here an item is pickled without
its buffers (PEP 574), which lie beside it in an Arrow column: a process that reads them looks into Ray's
object store.
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
from pipeline.redaction import without_secrets

_OUT_OF_BAND = 5  # the first protocol of pickle with buffers beside it


@dataclass
class Item:
    """One image on its way.

    Attributes:
        row: its row of the manifest, as far as it is known.
        owned: an object of ours lies at its output's key.
        data: the source's bytes.
        picture: the decoded source; once it is restored, with the restored pixels.
        before: its scores, see `pipeline.stages.scores`.
        reference: pixels of its better version, of the same shape, where there is one.
        protected: (H, W), the pixels that stay as they are, where it has a mask.
        losses: what its restoration had to do without.
        fatal: why the whole run must stop.
        timings: seconds per stage.
        repeated: requests to the storage that were repeated for it, or for others in its batch.
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
    repeated: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its file and of all its pixels."""
        planes = [self.reference, self.protected]
        if self.picture is not None:
            planes += [self.picture.pixels, self.picture.alpha]
        return len(self.data) + sum(plane.nbytes for plane in planes if plane is not None)

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
            "error_message": bounded_text(without_secrets(text)),
        }
        self.data = b""
        self.picture = self.reference = self.protected = None

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


def as_table(items: Iterable[Item]) -> pa.Table:
    """Items as rows of a table: each pickled, and its buffers."""
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
    """The items of a table; their arrays are views of it, and cannot be written to."""
    items = []
    for pickled, buffers in zip(table["item"], table["buffers"], strict=True):
        beside = _views_of(buffers.values)
        items.append(pickle.loads(pickled.as_buffer(), buffers=beside))  # noqa: S301 - ours, of this run
    return items


def _lists_of(buffers: list[memoryview], ends: list[int]) -> pa.Array:
    """Lists of byte strings, whose bytes are copied once and together."""
    offsets = np.cumsum([0, *(len(buffer) for buffer in buffers)], dtype=np.int64)
    laid = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(buffers))]
    strings = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(buffers), laid)
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), strings)


def _views_of(strings: pa.LargeBinaryArray) -> list[pa.Buffer]:
    """The bytes of every string where they lie: a scalar of Arrow would copy them."""
    if not len(strings):
        return []
    _, offsets, data = strings.buffers()
    ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return [data.slice(start, end - start) for start, end in pairwise(ends.tolist())]
