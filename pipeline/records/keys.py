"""The key of an output: its source's key, refused if it could point outside the destination."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS
from pipeline.errors import ErrorCode, ItemError
from pipeline.storage.store import PRIVATE

MAX_SEGMENT = 255
"""Most bytes of one part of a key that common file systems accept."""
MAX_KEY = 1024
"""Most bytes of a whole key that S3 accepts."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\ud[89a-f][0-9a-f]{2}")
"""Bytes of a name that are no UTF-8, as Python has them, and as a listing escapes them."""


def check_key(key: str) -> None:
    """Refuse a key that could point outside the destination or is no valid name there.

    Raises:
        ItemError: `bad_key`; the message names the rule that the key breaks.
    """
    if reason := _fault(key):
        raise ItemError(ErrorCode.BAD_KEY, f"the key {key[:120]!r} {reason}: rename the source object")


def output_key(key: str, extension: str | None = None) -> str:
    """The key of a restored image: its source's key, with another extension only if the format changes.

    Args:
        key: the source's key.
        extension: the new format's extension with its dot, or None to keep the source's.

    Raises:
        ItemError: `bad_key`.
    """
    check_key(key)
    if extension is None:
        return key
    suffix = PurePosixPath(key).suffix.lower()
    if SUPPORTED_EXTENSIONS.get(suffix) == SUPPORTED_EXTENSIONS[extension]:
        return key
    changed = str(PurePosixPath(key).with_suffix(extension))
    check_key(changed)
    return changed


def _fault(key: str) -> str | None:
    """The rule that a key breaks, as a phrase, or None."""
    segments = key.split("/")
    if not key or key.startswith("/") or (len(key) > 1 and key[1] == ":" and key[0].isalpha()):
        return "is empty or absolute"
    if _SURROGATE.search(key):
        return "is not valid UTF-8"
    if "\\" in key:
        return "has a backslash in it"
    if _CONTROL.search(key):
        return "has control characters in it"
    if any(segment in ("", ".", "..") for segment in segments):
        return "has an empty part, '.' or '..' in it"
    if segments[0] == PRIVATE:
        return f"begins with {PRIVATE}/, which is reserved"
    if len(key.encode()) > MAX_KEY or any(len(segment.encode()) > MAX_SEGMENT for segment in segments):
        return f"is longer than {MAX_KEY} bytes, or a part of it than {MAX_SEGMENT}"
    return None
