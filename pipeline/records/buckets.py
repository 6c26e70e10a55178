"""Groups more records than fit in memory by 16-byte digests: spilled to disk, joined bucket by bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROWS_PER_BUCKET = 131_072
"""Average records of one bucket: with sorting they take some 30 MB."""

DIGEST = [("hi", "<u8"), ("lo", "<u8")]
"""First fields of every record: the digest of its text."""


def digests(texts: Iterable[str]) -> NDArray[np.uint64]:
    """The 16-byte digests of texts, (N, 2) uint64."""
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)


class Buckets:
    """Records on disk; records with the same digest are in the same bucket.

    Args:
        folder: a folder on local disk that does not exist yet.
        dtype: of a record; begins with the fields of `DIGEST`.
        count: number of buckets.
    """

    def __init__(self, folder: Path, dtype: np.dtype[np.void], count: int) -> None:
        folder.mkdir(parents=True)
        self.dtype, self.count = dtype, count
        self._files = [folder / f"{number}.bin" for number in range(count)]

    def add(self, records: NDArray[np.void]) -> None:
        """Append records, each to its bucket."""
        if self.count == 1:
            self._append(0, records)
            return
        if not len(records):
            return
        numbers = records["hi"] % np.uint64(self.count)
        order = np.argsort(numbers, kind="stable")
        present, starts = np.unique(numbers[order], return_index=True)
        for number, chunk in zip(present, np.split(records[order], starts[1:]), strict=True):
            self._append(int(number), chunk)

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """Yield the records, one array for each bucket."""
        for file in self._files:
            yield np.fromfile(file, dtype=self.dtype) if file.exists() else np.empty(0, self.dtype)

    def _append(self, number: int, records: NDArray[np.void]) -> None:
        with self._files[number].open("ab") as file:
            file.write(records.tobytes())


def bucket_count(rows: int) -> int:
    """Number of buckets for a number of records."""
    return max(1, -(-rows // ROWS_PER_BUCKET))


def group_ids(*records: NDArray[np.void]) -> list[NDArray[np.int64]]:
    """Number the groups of equal digests over several arrays of records: one array of numbers for each.

    Numbers count from 0 without gaps.
    """
    hi = np.concatenate([part["hi"] for part in records])
    lo = np.concatenate([part["lo"] for part in records])
    order = np.lexsort((lo, hi))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (hi[order][1:] != hi[order][:-1]) | (lo[order][1:] != lo[order][:-1])
    ids = np.empty(len(order), dtype=np.int64)
    ids[order] = np.cumsum(starts) - 1
    return np.split(ids, np.cumsum([len(part) for part in records])[:-1])


def newest(entries: NDArray[np.void]) -> NDArray[np.bool_]:
    """Mask of the newest entry of each digest: the one with the highest (epoch, attempts, finished)."""
    order = np.lexsort(
        (entries["finished"], entries["attempts"], entries["epoch"], entries["lo"], entries["hi"])
    )
    hi, lo = entries["hi"][order], entries["lo"][order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])
    mask = np.zeros(len(order), dtype=bool)
    mask[order[last]] = True
    return mask
