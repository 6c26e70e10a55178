"""Requests that fail: which are repeated, and what the others mean.

What belongs to one object is an `ItemError`, what belongs to the whole address (no space left, a bucket that
denies writing) a `RunError`.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.errors import MAX_MESSAGE, ErrorCode, ItemError, RunError, bounded_text
from pipeline.redaction import without_secrets

Result = TypeVar("Result")

ATTEMPTS = 7
FIRST_PAUSE = 0.2
"""Seconds before the first repetition of a request that failed; doubled, with jitter, each time."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_FULL: Mapping[int | str, int] = {
    507: errno.ENOSPC,
    "XMinioStorageFull": errno.ENOSPC,
    "InsufficientStorage": errno.ENOSPC,
    "QuotaExceeded": errno.EDQUOT,  # Ceph's, with status 403
    "XMinioAdminBucketQuotaExceeded": errno.EDQUOT,
}
"""Status, or S3's code, of an object store's answer that it takes no more."""
_FINAL = (
    FileNotFoundError,
    PermissionError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    RunError,
)
_FINAL_STATUS: Mapping[int, type[OSError]] = {
    401: PermissionError,
    403: PermissionError,
    404: FileNotFoundError,
    410: FileNotFoundError,
}


def item_error(error: BaseException, uri: str) -> ItemError:
    """What went wrong with one object, as an `ItemError` whose text carries no secret."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, FileNotFoundError):
        return ItemError(ErrorCode.NOT_FOUND, f"{uri} is not there")
    if isinstance(error, PermissionError):
        return ItemError(ErrorCode.FORBIDDEN, f"{uri} may not be read or written with these credentials")
    reason = bounded_text(without_secrets(str(error)), MAX_MESSAGE // 2) or type(error).__name__
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return ItemError(ErrorCode.STORAGE, f"{uri}: {reason}{notes}")


def translated(error: Exception) -> Exception:
    """An answer that no repetition changes, as Python's own error, which only S3's client makes of it."""
    names = ("status", "status_code", "code")  # of aiohttp, of Azure's client and of Google's
    status = next((value for name in names if isinstance(value := getattr(error, name, None), int)), 0)
    for answer in (status, *_s3_answer(error)):
        if answer in _FULL:
            return OSError(_FULL[answer], str(error))
    if isinstance(error, OSError) and str(error).startswith("Forbidden:"):  # Google's, without its status
        status = 403
    return _FINAL_STATUS[status](str(error)) if status in _FINAL_STATUS else error


def _s3_answer(error: Exception) -> tuple[int, str]:
    """Status and code of what S3 answered, which lies in the cause of the error that `s3fs` makes of it."""
    for told in (error, error.__cause__):
        if isinstance(answer := getattr(told, "response", None), Mapping):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status, answer.get("Error", {}).get("Code", "")
    return 0, ""


def takes_no_more(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


class Repetitions:
    """Counts the requests of this process that were repeated, until somebody takes the count away."""

    def __init__(self) -> None:
        self._lock, self._number = threading.Lock(), 0

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self._number += 1

    def take(self) -> int:
        """How many there were since this was asked last."""
        with self._lock:
            number, self._number = self._number, 0
        return number


repetitions = Repetitions()


def retried(action: Callable[[], Result]) -> Result:
    """`action()`, repeated with growing pauses while it fails in a way that may pass; counted."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except _FINAL:
            raise
        except Exception as error:
            if takes_no_more(error):
                raise
            known = translated(error)
            if isinstance(known, _FINAL) or takes_no_more(known):
                raise known from error
            if attempt == ATTEMPTS - 1:
                error.add_note(f"given up after {ATTEMPTS} attempts")
                raise
            repetitions.add()
            time.sleep(FIRST_PAUSE * 2**attempt * (0.5 + random.random()))
    raise AssertionError("unreachable")
