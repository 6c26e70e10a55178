"""Texts and addresses without the secrets in them: fit for a row, a log and an error."""

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
    """`text` without the users and passwords of addresses in it, the queries of web addresses, signatures."""
    return _SIGNED.sub(r"\1=…", _USER.sub("", _QUERY.sub(r"\1", text)))


def public_uri(uri: str) -> str:
    """An address without a query, signature or user: fit for a row, a log and an error text."""
    web = _WEB.match(uri)  # alone, it may have blanks in it
    return _USER.sub("", web[0] if web else _QUERY.sub(r"\1", uri))
