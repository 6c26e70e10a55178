"""Removes restored objects whose source was deleted, and records it in the manifest.

An object is pruned only if we wrote it (its content matches the newest row of its source) and its source is
within the SOURCE of this run, no longer exists, and would be an input of this run if it did.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ErrorCode, RunError, SettingsError
from pipeline.records.buckets import DIGEST, Buckets, bucket_count, digests, group_ids
from pipeline.records.cleaning import is_ours
from pipeline.records.listing import Listing, is_input
from pipeline.records.manifest import SCHEMA, ManifestFile, Status, manifest_files
from pipeline.records.verify import chosen_rows, newest_mask, numbered_batches
from pipeline.settings import RunSettings
from pipeline.sources.containers import LISTS
from pipeline.sources.walk import Source
from pipeline.storage.store import Store

READS = 16
"""Objects that are checked at once."""

_SEEN = np.dtype([*DIGEST])
_ROW = np.dtype([*DIGEST, ("index", "<i8")])


def check_prunable(source: Source) -> None:
    """Refuse a source from which deleted objects cannot be found. Raises SettingsError."""
    if source.single and Path(source.pattern or "").suffix.lower() in LISTS:
        raise SettingsError(
            "--prune needs a SOURCE that is a prefix or a glob: a list does not say what was deleted"
        )


@dataclass(frozen=True)
class Pruning:
    """Finds and removes restored objects whose sources were deleted.

    Args:
        store: the destination.
        source: of the run.
        listing: of the run.
        settings: of the run, for its filters.
    """

    store: Store
    source: Source
    listing: Listing
    settings: RunSettings

    def orphans(self) -> Iterator[dict[str, Any]]:
        """Yield newest rows of deleted sources whose object is ours or no longer exists, in bounded memory.

        The rows have all columns.

        Raises:
            RunError: the listing is empty, as with a disk that is not mounted.
        """
        files = manifest_files(self.store)
        if not self.listing.count and files:
            raise RunError(
                f"{self.source.extent.uri()} lists no image, so --prune would remove every restored one: "
                "check SOURCE, or delete DEST by hand"
            )
        with tempfile.TemporaryDirectory(prefix="i2r-") as folder, ThreadPoolExecutor(READS) as threads:
            rows = self._unseen(files, Path(folder))
            while some := list(islice(rows, 4 * READS)):
                for row, gone in zip(some, threads.map(self._is_orphan, some), strict=True):
                    if gone:
                        yield row

    def remove(self, row: Mapping[str, Any]) -> None:
        """Delete the object of an orphan."""
        self.store.delete(str(row["output_uri"]).removeprefix(f"{self.store.uri()}/"))

    def _unseen(self, files: list[ManifestFile], folder: Path) -> Iterator[dict[str, Any]]:
        """Yield newest rows with an object whose source is within the run's SOURCE but not in its listing."""
        newest = newest_mask(self.store, files, folder)
        count = bucket_count(len(newest) + self.listing.count)
        seen, kept = Buckets(folder / "seen", _SEEN, count), Buckets(folder / "kept", _ROW, count)
        for batch in self.listing.batches():
            seen.add(_records(batch["source_uri"].to_pylist(), _SEEN))
        for start, batch in numbered_batches(self.store, files, ("source_uri", "source_key", "output_uri")):
            chosen = [
                (start + number, row["source_uri"])
                for number, row in enumerate(batch.to_pylist())
                if newest[start + number] and row["output_uri"] and self._is_within(row)
            ]
            records = _records([uri for _, uri in chosen], _ROW)
            records["index"] = [number for number, _ in chosen]
            kept.add(records)
        missing = np.memmap(folder / "missing", dtype=np.bool_, mode="w+", shape=len(newest))
        for listed, rows in zip(seen, kept, strict=True):
            if len(rows):
                listed_groups, row_groups = group_ids(listed, rows)
                missing[rows["index"][~np.isin(row_groups, listed_groups)]] = True
        for batch in chosen_rows(self.store, files, missing, SCHEMA.names):
            yield from batch.to_pylist()

    def _is_within(self, row: Mapping[str, Any]) -> bool:
        """Whether the run would have listed a row's source."""
        uri, prefix = str(row["source_uri"]), f"{self.source.store.uri().rstrip('/')}/"
        if not uri.startswith(prefix):
            return False
        key = uri.removeprefix(prefix)
        filters = self.settings.include, self.settings.exclude
        return self.source.names(key) and is_input(key, *filters, named=True)

    def _is_orphan(self, row: Mapping[str, Any]) -> bool:
        key = str(row["source_uri"]).removeprefix(f"{self.source.store.uri().rstrip('/')}/")
        return not self.source.store.exists(key) and is_ours(self.store, row, absent=True)


def tombstone(common: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a pruned source. It has no version: if the source comes back, it is restored again."""
    return dict(common) | {
        "source_uri": row["source_uri"],
        "source_key": row["source_key"],
        "status": Status.FAILED.value,
        "error_code": ErrorCode.NOT_FOUND.value,
        "error_message": "its source was deleted, and its restored object pruned",
        "finished_at": datetime.now(UTC),
    }


def _records(uris: list[str], dtype: np.dtype[np.void]) -> np.ndarray[Any, np.dtype[np.void]]:
    records = np.zeros(len(uris), dtype)
    pairs = digests(uris)
    records["hi"], records["lo"] = pairs[:, 0], pairs[:, 1]
    return records
