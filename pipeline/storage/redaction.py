"""Removes secrets from texts and addresses before they go into rows, logs and errors."""

from __future__ import annotations

import re

_WEB = re.compile(r"https?://[^?#]*", re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^\s\"?#]+)[?#][^\s'\"]*", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s:]*:[^/\s]*@|((?<=https://)|(?<=http://))[^/\s'\"]*@", re.IGNORECASE)
_SIGNED = re.compile(
    r"\b(X-(?:Amz|Goog)-[\w-]+|sig|[\w-]*(?:signature|token|secret|password|accountkey|accesskeyid|accessid"
    r"|api_?key))=[^\s&;'\"]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """`text` without signatures, queries of web addresses, and users and passwords of any address."""
    return _SIGNED.sub(r"\1=…", _USER.sub("", _QUERY.sub(r"\1", text)))


def public_uri(uri: str) -> str:
    """An address without query, signature or user, for rows, logs and error messages."""
    web = _WEB.match(uri)  # a whole address, unlike one within a text, may have blanks in it
    return _USER.sub("", web[0] if web else _QUERY.sub(r"\1", uri))
