"""Containers, objects with many images: tar and WebDataset shards, zip archives, Parquet tables, lists of
addresses.

This module lists the members of a container and their offsets, in bounded memory. `pipeline.sources.fetcher`
reads the bytes of a member. Listing a compressed tar unpacks it once.
"""

from __future__ import annotations

import csv
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RunError, SettingsError
from pipeline.sources.columns import address_column, image_column
from pipeline.sources.lists import address_store, addressed_lines, without_detours
from pipeline.storage.redaction import public_uri
from pipeline.storage.retries import item_error
from pipeline.storage.store import Store

HEADS = 32
"""Objects of a list whose size and version are requested at once."""
ROWS = 1024


class Kind(StrEnum):
    """Where an input's bytes are."""

    OBJECT = "object"
    TAR = "tar"
    TAR_GZ = "tar.gz"
    ZIP = "zip"
    TABLE = "table"
    ADDRESS = "address"
    SIGNED = "signed"
    BROKEN = "broken"
    """A container that cannot be read: one input that fails, in place of its members."""
    LINK = "link"
    """A link to a folder, which is no input. It is not followed: it may form a loop, or list files twice."""


EXTENSIONS = {".tar": Kind.TAR, ".tgz": Kind.TAR_GZ, ".zip": Kind.ZIP, ".parquet": Kind.TABLE}
LISTS = {".txt", ".lst", ".csv"}


class Found(NamedTuple):
    """One input.

    Attributes:
        key: relative to the source.
        path: of its object or container, in the file system's own form.
        size: in bytes, -1 if unknown.
        version: changes when the input changes.
        uri: its public address.
        kind: where its bytes are.
        container: key of the container that holds it or the list that names it; empty for a plain object.
        offset: of its bytes (tar) or header (zip) within the container, its row number (table) or its
            line's offset (list).
        row_group: of its row (table).
    """

    key: str
    path: str
    size: int
    version: str
    uri: str
    kind: Kind = Kind.OBJECT
    container: str = ""
    offset: int = 0
    row_group: int = 0


def container_kind(key: str) -> Kind | None:
    """The kind of container that an object's extension stands for, or None."""
    if key.lower().endswith(".tar.gz"):
        return Kind.TAR_GZ
    suffix = PurePosixPath(key).suffix.lower()
    return Kind.ADDRESS if suffix in LISTS else EXTENSIONS.get(suffix)


UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    pa.ArrowInvalid,
    UnicodeDecodeError,
    csv.Error,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
)


def members(store: Store, container: Found, *, strict: bool = True) -> Iterator[Found]:
    """Yield the members of a container.

    Args:
        store: of the source.
        container: an object whose `container_kind` is not None.
        strict: whether a container that cannot be read is an error; otherwise it is yielded as an input that
            fails later.

    Raises:
        RunError: the container cannot be read, or is not what its extension says.
    """
    kind = container_kind(container.key)
    walks = {Kind.TAR: _tar, Kind.TAR_GZ: _tar_gz, Kind.ZIP: _zip, Kind.TABLE: _table}
    walk = walks.get(kind, _text_list) if kind else _text_list
    try:
        yield from _with_unique_keys(walk(store, container), container)
    except Exception as error:
        if not strict:
            yield container._replace(kind=Kind.BROKEN, size=-1, container=container.key)
        elif isinstance(error, UNREADABLE):
            raise RunError(f"{container.uri} cannot be read as its extension says: {error}") from error
        elif isinstance(error, RunError):
            raise
        else:
            raise RunError(str(item_error(error, container.uri))) from error


def _with_unique_keys(found: Iterator[Found], container: Found) -> Iterator[Found]:
    """Give members unique keys: the offset is put before a name that occurred earlier in the container.

    Addresses of a list are left as they are.
    """
    seen: set[int] = set()
    for member in found:
        if member.kind not in (Kind.ADDRESS, Kind.SIGNED):
            name = member.key.removeprefix(f"{container.key}/")
            if (mark := hash(name)) in seen:
                name = f"{member.offset}/{name}"
                member = member._replace(key=f"{container.key}/{name}", uri=f"{container.uri}/{name}")
            seen.add(mark)
        yield member


def _member(container: Found, name: str, size: int, offset: int, kind: Kind) -> Found:
    name = name.removeprefix("./")
    return Found(
        f"{container.key}/{name}",
        container.path,
        size,
        f"{container.version}+{offset}",
        f"{container.uri}/{name}",
        kind,
        container.key,
        offset,
    )


def _tar(store: Store, container: Found) -> Iterator[Found]:
    with store.fs.open(container.path, "rb") as file:
        yield from _tar_members(container, file, Kind.TAR)


def _tar_gz(store: Store, container: Found) -> Iterator[Found]:
    with store.fs.open(container.path, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
        yield from _tar_members(container, file, Kind.TAR_GZ)


def _tar_members(container: Found, file: Any, kind: Kind) -> Iterator[Found]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # otherwise it keeps every header
            if info.isreg():
                yield _member(container, info.name, info.size, info.offset_data, kind)


def _zip(store: Store, container: Found) -> Iterator[Found]:
    with store.fs.open(container.path, "rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield _member(container, info.filename, info.file_size, info.header_offset, Kind.ZIP)


def _table(store: Store, container: Found) -> Iterator[Found]:
    with store.fs.open(container.path, "rb") as file, pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        if (address := address_column(schema)) is not None:
            lines = ((number, text) for number, text in enumerate(_column(table, address)) if text)
            yield from _addresses(store, container, lines)
            return
        column = image_column(schema)
        names = _column(table, f"{column}.path") if pa.types.is_struct(schema.field(column).type) else None
        number = 0
        for group in range(table.num_row_groups):
            for _ in range(table.metadata.row_group(group).num_rows):
                name = next(names) if names is not None else None
                member = _member(container, name or str(number), -1, number, Kind.TABLE)
                yield member._replace(row_group=group)
                number += 1


def _column(table: pq.ParquetFile, name: str) -> Iterator[str | None]:
    """Yield the values of a text column, which may be a field of a struct."""
    for batch in table.iter_batches(batch_size=ROWS, columns=[name]):
        column = batch.column(0)
        yield from (column.field(0) if pa.types.is_struct(column.type) else column).to_pylist()


def _text_list(store: Store, container: Found) -> Iterator[Found]:
    """Yield the inputs of a list: one address a line, or in a column of a CSV file; skips lines with `#`."""
    with store.fs.open(container.path, "rb") as file:
        yield from _addresses(store, container, addressed_lines(file, container.key))


def _addresses(store: Store, container: Found, lines: Iterator[tuple[int, str]]) -> Iterator[Found]:
    """Yield an input for every address, many requests at once; one without an object fails when fetched."""
    with ThreadPoolExecutor(HEADS) as threads:
        while some := list(islice(lines, 32 * HEADS)):
            yield from threads.map(lambda line: _ask(store, container, *line), some)


def _ask(store: Store, container: Found, offset: int, address: str) -> Found:
    address = without_detours(address)
    uri = public_uri(address)
    kind = Kind.ADDRESS if uri == address else Kind.SIGNED
    size, version = -1, ""
    try:
        place = address_store(store, container.key, address)
        uri = place.uri()
        size, version = place.describe(place.path())
    except SettingsError as error:
        if isinstance(error.__cause__, ImportError):  # a missing client is no fault of the image
            raise
    except Exception:  # fetching the input will raise it again
        pass
    key = uri.partition("://")[2].strip("/") if "://" in address else address.strip("/")
    return Found(key, uri, size, version, uri, kind, container.key, offset)
