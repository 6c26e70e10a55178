"""Logs of commands on the standard error: lines of text for people, or one JSON object a line for machines.

An object has `time` (UTC), `level`, `message` and, if they apply, `run_id`, `key`, `error_code` and numbers.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.records.summary import Progress, RunSummary

LOGGERS = ("jobs", "pipeline")
SECONDS_BETWEEN_ENTRIES = 10.0
_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message"}

logger = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Formats a log record as one JSON object in one line; names in `extra` become its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in record.__dict__.items() if name not in _OWN_FIELDS}
        return json.dumps(entry, default=str)


class StandardError(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log record."""
        print(self.format(record), file=sys.stderr, flush=True)


def configure_logs(format: str = "text") -> None:
    """Send this program's logs to the standard error, as `text` or `json`; the last call wins."""
    handler = StandardError()
    handler.setFormatter(JsonFormatter() if format == "json" else logging.Formatter("i2r: %(message)s"))
    for name in LOGGERS:
        ours = logging.getLogger(name)
        ours.setLevel(logging.INFO)
        ours.handlers = [h for h in ours.handlers if not isinstance(h, StandardError)] + [handler]


class ProgressLog:
    """Logs progress, an entry every few seconds and one for each new stage."""

    def __init__(self) -> None:
        self._stage, self._last = "", 0.0

    def __call__(self, progress: Progress) -> None:
        """Log the progress, if an entry is due."""
        now = time.monotonic()
        if progress.stage == self._stage and now - self._last < SECONDS_BETWEEN_ENTRIES:
            return
        self._stage, self._last = progress.stage, now
        numbers: dict[str, float | None] = {}
        if progress.total:
            numbers = {"done": progress.done, "total": progress.total, "failed": progress.failed}
        if progress.done:
            numbers |= {"images_per_second": progress.rate, "seconds_left": progress.seconds_left}
        if progress.megapixels:
            numbers |= {
                "megapixels": progress.megapixels,
                "megapixels_per_second": progress.megapixel_rate,
            }
        logger.info(progress.stage, extra={"run_id": progress.run_id, **numbers})


def log_summary(summary: RunSummary) -> None:
    """Log the summary of a run."""
    fields = {
        "run_id": summary.run_id,
        "dest": summary.dest,
        "counts": dict(summary.counts),
        "findings": summary.findings,
        "seconds": summary.seconds,
        "repeated_requests": summary.repeated_requests,
        "stopped": summary.stopped,
        "outdated": asdict(summary.outdated),
        "orphaned": asdict(summary.orphaned),
        "dry_run": summary.dry_run,
        "exit_status": int(summary.exit_status),
    }
    logger.info("ended", extra=fields)
