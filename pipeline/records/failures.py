"""Log of failed images during a run: one line each, up to a limit for each error code."""

from __future__ import annotations

import logging
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import MAX_MESSAGE, bounded_text
from pipeline.records.manifest import Status

MOST_LINES = 20
"""Lines for one error code: millions of bad files must not fill a disk, and the manifest records them all."""

logger = logging.getLogger(__name__)
logging.getLogger("pipeline").addHandler(logging.NullHandler())  # no output unless a caller sets up logging


class FailureLog:
    """Logs failed images, each with the run's id, its key and its error code.

    Args:
        run_id: of the run.
        most: most lines for one error code.
    """

    def __init__(self, run_id: str, most: int = MOST_LINES) -> None:
        self._run_id, self._most = run_id, most
        self._seen: Counter[str] = Counter()

    def add(self, rows: pa.Table) -> None:
        """Log the failed rows among `rows`."""
        failed = rows.filter(pc.equal(rows["status"], Status.FAILED.value))
        for row in failed.select(["source_key", "error_code", "error_message"]).to_pylist():
            code = row["error_code"]
            self._seen[code] += 1
            if self._seen[code] <= self._most:
                message = bounded_text(f"{row['source_key']}: {row['error_message']}", 2 * MAX_MESSAGE)
                self._log(message, code, key=row["source_key"])
            elif self._seen[code] == self._most + 1:
                self._log(f"further images that fail with {code} are only counted", code)

    def close(self) -> None:
        """Log the number of failures for each error code that exceeded its lines."""
        for code, number in sorted(self._seen.items()):
            if number > self._most:
                self._log(f"{number} images failed with {code}", code)

    def _log(self, message: str, code: str, **fields: str) -> None:
        logger.warning(message, extra={"run_id": self._run_id, "error_code": code, **fields})
