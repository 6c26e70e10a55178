"""Lists of addresses: their lines, and what an address in one may name.

A list often comes from somebody else. So it names only what is where it is itself, and web addresses: a list
in a bucket or on the web never opens a file of the machine that reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO

from pipeline.errors import SettingsError
from pipeline.sources.columns import csv_column, csv_values
from pipeline.storage.redaction import public_uri
from pipeline.storage.store import Store, open_store

MAX_LINE = 16384
"""Most bytes of a line."""
_CHUNK = 1 << 16
_WEB = {"http", "https"}
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}


def is_csv(key: str) -> bool:
    """Whether a list is a CSV file."""
    return key.lower().endswith(".csv")


def addressed_lines(file: IO[bytes], key: str) -> Iterator[tuple[int, str]]:
    """Yield offset and address of every line of a list that has an address.

    Args:
        file: the list, open at its beginning.
        key: of the list: the extension says of which format it is.

    Raises:
        SettingsError: no column of a CSV file has a known name.
        csv.Error: it is no list.
    """
    column = None
    if is_csv(key):
        column, start = csv_column(_lines(file))
        file.seek(start)
    offset = file.tell()
    for line in _lines(file):
        if address := address_in(line.decode(), column):
            yield offset, address
        offset += len(line)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines, of which none fills the memory: fsspec's own are as long as a file without a line end."""
    rest = b""
    while chunk := file.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if max(map(len, [*whole, rest])) > MAX_LINE:
            raise csv.Error(f"a line has more than {MAX_LINE} bytes")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def address_in(line: str, column: int | None) -> str | None:
    """The address in a line, or in a column of it; None if there is none."""
    if column is not None:
        values = csv_values(line)
        return values[column] if len(values) > column else None
    text = line.removeprefix("\ufeff").strip()
    return None if text.startswith("#") else text


def without_detours(address: str) -> str:
    """A path without the `./` of `find .` and empty parts; `..` stays, since links may change it."""
    if "://" in address:
        return address
    parts = [part for part in address.split("/") if part not in ("", ".")]
    return "/" * address.startswith("/") + "/".join(parts)


def address_store(store: Store, container: str, address: str) -> Store:
    """The store whose root is an address in a list; a relative address is relative to the list's folder.

    Args:
        store: of the list.
        container: key of the list in it.
        address: that the list names.

    Raises:
        SettingsError: a list there may not name it, or its client is not installed.
    """
    if "://" in address:
        scheme, known = address.partition("://")[0].lower(), _schemes(store)
        if scheme not in known:
            raise SettingsError(
                f"cannot open {public_uri(address)}: the list {store.uri(container)} may name only paths "
                f"where it is and {', '.join(sorted(known))}; put the list, or the image, where the other is"
            )
        return open_store(address, private=store.private)
    folder = f"{store.root}/{container}".rpartition("/")[0]
    path = address if address.startswith("/") else f"{folder}/{address}"
    return Store(store.fs, path, private=store.private)


def _schemes(store: Store) -> set[str]:
    """The schemes of the addresses that a list in a store may name."""
    if store.is_web:
        return _WEB
    own = {store.fs.protocol} if isinstance(store.fs.protocol, str) else set(store.fs.protocol)
    return own | _WEB | (_BUCKETS if store.is_local else set())
