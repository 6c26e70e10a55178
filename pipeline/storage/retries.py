"""Failed requests: which of them are repeated, and how the others become errors of this package.

An error of one object is an `ItemError`, an error of the whole address (no space left, a bucket that denies
writing) a `RunError`.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.errors import MAX_MESSAGE, ErrorCode, ItemError, RunError, bounded_text
from pipeline.storage.reach import PrivateAddressError, refusal_in
from pipeline.storage.redaction import without_secrets

Result = TypeVar("Result")

ATTEMPTS = 7
FIRST_PAUSE = 0.2
"""Seconds before the first retry of a failed request; doubled each time, with jitter."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_FULL: Mapping[int | str, int] = {
    507: errno.ENOSPC,
    "XMinioStorageFull": errno.ENOSPC,
    "InsufficientStorage": errno.ENOSPC,
    "QuotaExceeded": errno.EDQUOT,  # Ceph's, with status 403
    "XMinioAdminBucketQuotaExceeded": errno.EDQUOT,
}
"""HTTP status or S3 error code of a store that is full, and the `errno` that it stands for."""
_FINAL = (
    FileNotFoundError,
    PermissionError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    EOFError,
    ItemError,
    PrivateAddressError,
    RunError,
)
_BEYOND_THE_END = 416
"""HTTP status where the bytes that were asked for begin after the last one."""
_FINAL_STATUS: Mapping[int, type[OSError]] = {
    401: PermissionError,
    403: PermissionError,
    404: FileNotFoundError,
    410: FileNotFoundError,
}


def item_error(error: BaseException, uri: str) -> ItemError:
    """Convert an error of one object into an `ItemError` whose message has no secrets in it."""
    if isinstance(error, ItemError):
        return error
    if isinstance(error, FileNotFoundError):
        return ItemError(ErrorCode.NOT_FOUND, f"{uri} is not there")
    if isinstance(error, PermissionError):
        return ItemError(ErrorCode.FORBIDDEN, f"{uri} may not be read or written with these credentials")
    if (refusal := refusal_in(error)) is not None:
        return ItemError(ErrorCode.UNSUPPORTED, f"{uri} is refused, {refusal}")
    reason = bounded_text(without_secrets(str(error)), MAX_MESSAGE // 2) or type(error).__name__
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return ItemError(ErrorCode.STORAGE, f"{uri}: {reason}{notes}")


def translated(error: Exception) -> Exception:
    """Convert a client's error that no retry can change into Python's own; any other is returned as it is.

    Of the clients, only S3's converts such errors itself.
    """
    if (refusal := refusal_in(error)) is not None:
        return refusal
    names = ("status", "status_code", "code")  # of aiohttp, of Azure's client and of Google's
    status = next((value for name in names if isinstance(value := getattr(error, name, None), int)), 0)
    for answer in (status, *_s3_answer(error)):
        if answer in _FULL:
            return OSError(_FULL[answer], str(error))
        if answer == _BEYOND_THE_END:
            return EOFError(str(error))
    if isinstance(error, OSError) and str(error).startswith("Forbidden:"):  # Google's client gives no status
        status = 403
    return _FINAL_STATUS[status](str(error)) if status in _FINAL_STATUS else error


def _s3_answer(error: Exception) -> tuple[int, str]:
    """Status and code of S3's answer; in errors converted by `s3fs` they are in the cause."""
    for raised in (error, error.__cause__):
        if isinstance(answer := getattr(raised, "response", None), Mapping):
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status, answer.get("Error", {}).get("Code", "")
    return 0, ""


def takes_no_more(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


class Repetitions:
    """Counts the repeated requests of this process; `take` resets the count."""

    def __init__(self) -> None:
        self._lock, self._number = threading.Lock(), 0

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self._number += 1

    def take(self) -> int:
        """Return the number of repeated requests since the last call."""
        with self._lock:
            number, self._number = self._number, 0
        return number


repetitions = Repetitions()


def retried(action: Callable[[], Result]) -> Result:
    """Run `action()`, and retry it with growing pauses while its error may be temporary; count retries."""
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
