"""Removes restored objects whose source was deleted, and records it in the manifest.

An object is pruned only if we wrote it (its content matches the newest row of its source) and its source is
within the SOURCE of this run, no longer exists, and would be an input of this run if it did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import ErrorCode, RunError, SettingsError
from pipeline.records.cleaning import is_ours
from pipeline.records.database import create_table, manifest_database, query
from pipeline.records.listing import SCHEMA as LISTED
from pipeline.records.listing import Listing, is_input
from pipeline.records.manifest import Status, manifest_files
from pipeline.records.orphaned import Orphaned
from pipeline.settings import RunSettings
from pipeline.sources.containers import LISTS
from pipeline.sources.walk import Source
from pipeline.storage.store import Store

READS = 16
"""Objects that are checked at once."""

_COLUMNS = ("source_uri", "source_key", "output_uri", "output_sha256")
_UNLISTED = f"""
SELECT {", ".join(_COLUMNS)} FROM newest
WHERE output_uri IS NOT NULL AND source NOT IN (FROM listed) ORDER BY number
"""


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

    def orphaned(self, finished: int) -> Orphaned:
        """Count the restored images whose source is gone, without a look at their objects.

        Args:
            finished: number of inputs of the listing that are finished.

        Raises:
            RunError: the listing is empty, as with a disk that is not mounted.
        """
        images = sum(1 for _ in self._unlisted())
        return Orphaned(images, finished + images, self.settings.max_pruned)

    def orphans(self) -> Iterator[dict[str, Any]]:
        """Yield newest rows of deleted sources whose object is ours or no longer exists, in bounded memory.

        The rows have the columns of `_COLUMNS`. Raises RunError as `orphaned`.
        """
        with ThreadPoolExecutor(READS) as threads:
            rows = self._unlisted()
            while some := list(islice(rows, 4 * READS)):
                for row, gone in zip(some, threads.map(self._is_orphan, some), strict=True):
                    if gone:
                        yield row

    def remove(self, row: Mapping[str, Any]) -> None:
        """Delete the object of an orphan."""
        self.store.delete(str(row["output_uri"]).removeprefix(f"{self.store.uri()}/"))

    def _unlisted(self) -> Iterator[dict[str, Any]]:
        """Yield newest rows with an object whose source this run would have listed, and did not."""
        files = manifest_files(self.store)
        if not self.listing.count and files:
            raise RunError(
                f"{self.source.extent.uri()} lists no image, so --prune would remove every restored one: "
                "check SOURCE, or delete DEST by hand"
            )
        with manifest_database(self.store, files, _COLUMNS) as database:
            create_table(
                database, "listed", LISTED, self.listing.batches(), "md5_number(source_uri) AS source"
            )
            for batch in query(database, _UNLISTED):
                yield from filter(self._is_within, batch.to_pylist())

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
        return not self.source.store.exists(key) and is_ours(
            self.store, row["output_uri"], [row["output_sha256"]], absent=True
        )


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
