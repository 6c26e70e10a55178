"""The pictures of a run as its page shows them: those at most risk first, and counts over all."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from i2r import Action, Finding
from jobs.views.findings import in_words
from pipeline.records.database import manifest_database, query
from pipeline.records.findings import COLUMN, of_column
from pipeline.records.manifest import STAGES, Status, manifest_files
from pipeline.storage.store import Store

MOST = 100_000
"""Most pictures of a page, those at most risk: what a browser holds and searches at once."""
FOLDERS = 200
"""Most folders that a page offers to choose from, those with most pictures."""
_FOLDERS_COUNTED = 20_000
_DIGITS = 16
"""Of a digest in the name of a preview."""

_COLUMNS = (
    "source_uri",
    "source_key",
    "content_sha256",
    "output_uri",
    "output_sha256",
    "status",
    "error_code",
    "error_message",
    "width",
    "height",
    "rectified_fraction",
    "consistency_psnr",
    COLUMN,
    "timings",
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page.

    Attributes:
        row: of the manifest, with `_COLUMNS`.
        findings: of the row.
    """

    row: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def before(self) -> str | None:
        """Name of the preview of its source, None if it was not read."""
        return _name(self.row["content_sha256"])

    @property
    def after(self) -> str | None:
        """Name of the preview of what is stored; the same bytes have the same name."""
        return _name(self.row["output_sha256"])

    @property
    def change(self) -> float | None:
        """Standard deviation, of 255, of result and source at coarse scale; None if it did not change."""
        psnr = self.row["consistency_psnr"]
        if self.row["status"] != Status.RESTORED or psnr is None or psnr == float("inf"):
            return None
        return float(255 * 10 ** (-psnr / 20))

    @property
    def risk(self) -> tuple[int, float]:
        """What pictures are sorted by: the smallest is most at risk."""
        if self.row["status"] == Status.RESTORED:
            return 0, -(self.change or 0.0)
        doubts = [found.confidence for found in self.findings if found.action is Action.SUSPECTED]
        if doubts:
            return 1, -max(doubts)
        return 2 + (Status.REJECTED, Status.FAILED, Status.UNCHANGED).index(Status(self.row["status"])), 0.0

    def described(self) -> dict[str, Any]:
        """What the page is told of it, without its files."""
        row, change = self.row, self.change
        told = {
            "key": row["source_key"],
            "status": row["status"],
            "size": [row["width"], row["height"]] if row["width"] and row["height"] else None,
            "seconds": round(sum(row["timings"][stage] or 0.0 for stage in STAGES), 2),
            "change": None if change is None else round(change, 2),
            "moved": round(row["rectified_fraction"] or 0.0, 4) or None,
            "found": [_told(found) for found in self.findings] or None,
            "code": row["error_code"],
            "why": row["error_message"],
        }
        return {name: value for name, value in told.items() if value is not None}


class Overview:
    """Counts over all pictures of a run, and those of them that its page shows.

    Attributes:
        counts, errors: pictures by status, and failed ones by code.
        findings: pictures by action and what was found.
        pictures: the first `MOST` by their risk.
    """

    def __init__(self, rows: Iterator[Mapping[str, Any]]) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.findings: Counter[tuple[str, str]] = Counter()
        self._folders: Counter[str] = Counter()
        order, pictures = count(), (Picture(row, of_column(row[COLUMN])) for row in rows)
        ranked = ((picture.risk, next(order), picture) for picture in pictures if self._counted(picture))
        self.pictures = [picture for *_, picture in heapq.nsmallest(MOST, ranked)]

    @property
    def folders(self) -> list[tuple[str, int]]:
        """The folders with most pictures directly in them, by name."""
        return sorted(self._folders.most_common(FOLDERS))

    def _counted(self, picture: Picture) -> bool:
        row = picture.row
        self.counts[row["status"]] += 1
        if row["status"] == Status.FAILED:
            self.errors[row["error_code"]] += 1
        self.findings.update((found.action.value, found.what.value) for found in picture.findings)
        folder = row["source_key"].rpartition("/")[0]
        if folder and (folder in self._folders or len(self._folders) < _FOLDERS_COUNTED):
            self._folders[folder] += 1
        return True


def overview_of(store: Store, run_id: str) -> Overview:
    """Read the newest row of every picture that a run has handled so far."""
    with manifest_database(store, manifest_files(store, run_id), _COLUMNS) as database:
        batches = query(database, f"SELECT {', '.join(_COLUMNS)} FROM newest ORDER BY number")
        return Overview(row for batch in batches for row in batch.to_pylist())


def _name(digest: str | None) -> str | None:
    return digest and digest[:_DIGITS]


def _told(found: Finding) -> dict[str, Any]:
    told: dict[str, Any] = {
        "what": found.what.value,
        "action": found.action.value,
        "sure": round(found.confidence, 4),
        "words": in_words(found),
    }
    return told | ({"boxes": [list(box) for box in found.boxes]} if found.boxes else {})
