"""Addresses that a page may link to: relative ones, and those of the web."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote

WEB = ("http://", "https://")
SHOWN = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp")
"""Extensions of files that browsers show by themselves."""

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?(?=/)")


def is_shown(key: str) -> bool:
    """Whether browsers show the file with this key."""
    return key.lower().endswith(SHOWN)


def relative(page: str, folder: str) -> str | None:
    """The address of a folder as seen from the folder of a page, with a slash at its end.

    Both are public addresses. It is None where they are in different stores: nothing leads from one to the
    other.
    """
    if folder.startswith(WEB):
        return f"{folder.rstrip('/')}/"
    (here, start), (there, end) = _parts(page), _parts(folder)
    if here != there:
        return None
    return f"{quote(posixpath.relpath(end, start))}/"


def origin(address: str) -> str | None:
    """Scheme and host of a web address; None if it is none, or one that a page's policy could not name."""
    found = _ORIGIN.match(address)
    return found and found[0]


def _parts(address: str) -> tuple[str, str]:
    """The store of an address (scheme and bucket), and the path in it."""
    scheme, _, rest = address.rpartition("://")
    if scheme in ("", "file"):
        return "file", posixpath.join("/", rest)
    bucket, _, path = rest.partition("/")
    return f"{scheme}://{bucket}", f"/{path}"
