"""Finds the column of a list or table that holds addresses or encoded images."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS
from pipeline.errors import SettingsError, bounded_text

IMAGES = ("image", "images", "img", "bytes", "data", "content")
ADDRESSES = (
    "address",
    "url",
    "image_url",
    "img_url",
    "uri",
    "image_uri",
    "path",
    "image_path",
    "img_path",
    "file_path",
    "file_name",
    "image_name",
    "image",
    "img",
    "file",
    "image_file",
    "key",
)
"""Column names in order of precedence; capitals and separators between words make no difference."""


def csv_column(rows: Iterable[bytes]) -> tuple[int, int]:
    """The number of the address column in a CSV file, and the offset of the first row with an address.

    The first row is a header unless it has an address in it.

    Args:
        rows: the file's lines from its beginning.

    Raises:
        SettingsError: no column of the header has a known name.
    """
    offset, names = 0, list[str]()
    for row in rows:
        if names := csv_values(row.decode()):
            break
        offset += len(row)
    else:
        return 0, offset
    with_scheme = [number for number, value in enumerate(names) if "://" in value]
    if alike := with_scheme or [number for number, value in enumerate(names) if _is_path(value)]:
        return alike[0], offset
    if (column := _known(names, ADDRESSES)) is None:
        raise _unknown("the list has no column that is known, and no address in its first row", names)
    return column, offset + len(row)


def csv_values(line: str) -> list[str]:
    """The values of a line; none for a blank line or a comment."""
    text = line.removeprefix("\ufeff").strip()
    return [] if not text or text.startswith("#") else [value.strip() for value in next(csv.reader([text]))]


def address_column(schema: pa.Schema) -> str | None:
    """The address column of a table; None if there is none, or if the table has encoded images."""
    if any(_holds_bytes(field.type) for field in schema):
        return None
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    column = _known(texts, ADDRESSES)
    return None if column is None else texts[column]


def image_column(schema: pa.Schema) -> str:
    """The column of encoded images: binary, or a struct with `bytes` and `path`. Raises SettingsError."""
    fitting = [field.name for field in schema if _holds_bytes(field.type)]
    if not fitting:
        raise _unknown("the table has no column of encoded images or addresses", schema.names)
    return str(fitting[_known(fitting, IMAGES) or 0])


def _unknown(what: str, names: Sequence[str]) -> SettingsError:
    return SettingsError(
        f"{what}, only {bounded_text(', '.join(names))}: "
        f"rename the one with the addresses to {', '.join(ADDRESSES[:-1])} or {ADDRESSES[-1]}"
    )


def _known(names: Sequence[str], known: Sequence[str]) -> int | None:
    """The number of the column whose name comes first in the known names; None if there is none."""
    plain = [_plain(name) for name in names]
    return next((plain.index(_plain(name)) for name in known if _plain(name) in plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _is_path(value: str) -> bool:
    return value.startswith("/") or PurePosixPath(value).suffix.lower() in SUPPORTED_EXTENSIONS


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return "bytes" in names and "path" in names
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
