"""Objects that hold many images: tar and WebDataset shards, zip archives, Parquet tables, lists of addresses.

Each kind says what is in a container without holding it all in memory, and where; `Fetcher` gets one image's
bytes. From a plain tar, a zip archive and a table it reads only those. A compressed tar (`.tar.gz`, `.tgz`)
has no way in but its beginning: listing unpacks it once, and every fetcher that is asked for a member once
more, onto local disk.
"""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from itertools import accumulate, islice
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.sources.columns import address_column, csv_column, csv_values, image_column
from pipeline.storage import Store, item_error, open_store, public_uri

HEADS = 32
"""Objects of a list that are asked about at once."""
OPEN_CONTAINERS = 4
"""Containers that a fetcher keeps open."""
MAX_LINE = 16384
"""Bytes of a line of a list with a signed address."""
ROWS = 1024
UNPACKED = 1 << 20
"""Bytes of a compressed tar that are unpacked in one go."""


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
    """A container that cannot be read: an input that fails, in place of what would be in it."""
    LINK = "link"
    """A link to a folder, which is no input. It is not followed: it may lead in a circle, or to one twice."""


EXTENSIONS = {".tar": Kind.TAR, ".tgz": Kind.TAR_GZ, ".zip": Kind.ZIP, ".parquet": Kind.TABLE}
LISTS = {".txt", ".lst", ".csv"}


class Found(NamedTuple):
    """One input.

    Attributes:
        key: relative to the source.
        path: of the object that it is, as its file system spells it.
        size: in bytes, -1 where it is not known.
        version: changes when the input changes.
        uri: its public address.
        kind: where its bytes are.
        container: key of the object that they lie in, or that names it; empty for an object of its own.
        offset: of its bytes, its header, its row or its line within the container.
    """

    key: str
    path: str
    size: int
    version: str
    uri: str
    kind: Kind = Kind.OBJECT
    container: str = ""
    offset: int = 0


def container_kind(key: str) -> Kind | None:
    """The kind of container that an object is by its extension, or None."""
    if key.lower().endswith(".tar.gz"):
        return Kind.TAR_GZ
    suffix = PurePosixPath(key).suffix.lower()
    return Kind.ADDRESS if suffix in LISTS else EXTENSIONS.get(suffix)


_UNREADABLE = (
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
    """What lies in a container.

    Args:
        store: of the source.
        container: an object whose `container_kind` is not None.
        strict: one that cannot be read is an error; or it is an input itself, which fails later.

    Raises:
        RunError: it cannot be read, or not as what its extension says it is.
    """
    kind = container_kind(container.key)
    walks = {Kind.TAR: _tar, Kind.TAR_GZ: _tar_gz, Kind.ZIP: _zip, Kind.TABLE: _table}
    walk = walks.get(kind, _text_list) if kind else _text_list
    try:
        yield from _told_apart(walk(store, container), container)
    except Exception as error:
        if not strict:
            yield container._replace(kind=Kind.BROKEN, size=-1, container=container.key)
        elif isinstance(error, _UNREADABLE):
            raise RunError(f"{container.uri} cannot be read as its extension says: {error}") from error
        elif isinstance(error, RunError):
            raise
        else:
            raise RunError(str(item_error(error, container.uri))) from error


def _told_apart(found: Iterator[Found], container: Found) -> Iterator[Found]:
    """Members of one name: the second and later ones have their offset before it. Lists name objects."""
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
            archive.members.clear()  # type: ignore[attr-defined]  # or it remembers every header
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
        for number in range(table.metadata.num_rows):
            name = next(names) if names is not None else None
            yield _member(container, name or str(number), -1, number, Kind.TABLE)


def _column(table: pq.ParquetFile, name: str) -> Iterator[str | None]:
    """The values of a column of text, also of one within a struct."""
    for batch in table.iter_batches(batch_size=ROWS, columns=[name]):
        column = batch.column(0)
        yield from (column.field(0) if pa.types.is_struct(column.type) else column).to_pylist()


def _text_list(store: Store, container: Found) -> Iterator[Found]:
    """Addresses, one a line, or in a column of a CSV file; lines that begin with `#` are left out."""
    with store.fs.open(container.path, "rb") as file:
        column = None
        if is_csv(container.key):
            column, start = csv_column(file)
            file.seek(start)
        yield from _addresses(store, container, _lines(file, column))


def is_csv(key: str) -> bool:
    """Whether a list has columns."""
    return key.lower().endswith(".csv")


def _lines(file: IO[bytes], column: int | None) -> Iterator[tuple[int, str]]:
    """Offset and address of every line."""
    offset = file.tell()
    for line in file:
        if address := _address_in(line.decode(), column):
            yield offset, address
        offset += len(line)


def _address_in(line: str, column: int | None) -> str | None:
    if column is not None:
        values = csv_values(line)
        return values[column] if len(values) > column else None
    text = line.removeprefix("\ufeff").strip()
    return None if text.startswith("#") else text


def _addresses(store: Store, container: Found, lines: Iterator[tuple[int, str]]) -> Iterator[Found]:
    """Ask about every address, many at once; one that is not there is an input too, and fails later."""
    with ThreadPoolExecutor(HEADS) as threads:
        while some := list(islice(lines, 32 * HEADS)):
            yield from threads.map(lambda line: _ask(store, container, *line), some)


def _ask(store: Store, container: Found, offset: int, address: str) -> Found:
    address = _without_detours(address)
    uri = public_uri(address)
    kind = Kind.ADDRESS if uri == address else Kind.SIGNED
    size, version = -1, ""
    try:
        place = address_store(store, container.key, address)
        uri = place.uri()
        size, version = place.describe(place.path())
    except SettingsError as error:
        if isinstance(error.__cause__, ImportError):  # no image is to blame
            raise
    except Exception:  # whatever it is, fetching it will say so
        pass
    key = uri.partition("://")[2].strip("/") if "://" in address else address.strip("/")
    return Found(key, uri, size, version, uri, kind, container.key, offset)


def _without_detours(address: str) -> str:
    """A path as `find .` spells it is that without `./`; `..` stays, for links may lead it anywhere."""
    if "://" in address:
        return address
    parts = [part for part in address.split("/") if part not in ("", ".")]
    return "/" * address.startswith("/") + "/".join(parts)


def address_store(store: Store, container: str, address: str) -> Store:
    """The store whose root is an address of a list; a relative one is relative to the list's folder."""
    if "://" in address:
        return open_store(address)
    folder = f"{store.root}/{container}".rpartition("/")[0]
    return Store(store.fs, address if address.startswith("/") else f"{folder}/{address}")


class Fetcher:
    """Gets the bytes of inputs. Threads may share one; make one where it is used.

    Args:
        source: the store that keys are relative to.
        limit: bytes that one image may have when it is unpacked.
    """

    def __init__(self, source: Store, limit: int) -> None:
        self._source, self._limit = source, limit
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, row: Mapping[str, Any]) -> bytes:
        """The bytes of an input, by its row of the listing. Raises ItemError."""
        kind, offset, size = Kind(row["kind"]), int(row["offset"]), int(row["source_size"])
        if size > self._limit:
            raise ItemError(ErrorCode.TOO_LARGE, f"{size} bytes exceed the limit of {self._limit}")
        match kind:
            case Kind.OBJECT:
                return self._source.read(row["source_key"])
            case Kind.TAR:
                return self._source.read_path(self._source.path(row["container"]), offset, offset + size)
            case Kind.BROKEN:
                self._source.read_path(self._source.path(row["container"]), 0, 1)  # or it says why not
                what = "is not what its extension says, or has no column that is known"
                raise ItemError(ErrorCode.UNREADABLE, f"{row['source_uri']} {what}")
        try:
            if kind is Kind.ADDRESS:
                return open_store(row["source_uri"]).read("")
            if kind is Kind.SIGNED:
                return self._read_signed(row["container"], offset)
            with self._lock:
                return self._opened(kind, row["container"]).read(offset, size)
        except ItemError:
            raise
        except SettingsError as error:
            raise ItemError(ErrorCode.UNSUPPORTED, str(error)) from error
        except (*_UNREADABLE, pa.ArrowException, KeyError, NotImplementedError) as error:
            raise ItemError(
                ErrorCode.UNREADABLE, f"{row['source_uri']} cannot be unpacked: {error}"
            ) from error
        except Exception as error:
            raise item_error(error, row["source_uri"]) from error

    def _opened(self, kind: Kind, container: str) -> _Opened:
        if container in self._open:
            self._open.move_to_end(container)
        else:
            self._open[container] = _OPENERS[kind](self._source, container, self._limit)
            if len(self._open) > OPEN_CONTAINERS:
                self._open.popitem(last=False)[1].close()
        return self._open[container]

    def _read_signed(self, container: str, offset: int) -> bytes:
        """Read by an address whose signature only the list knows."""
        path = self._source.path(container)
        if container_kind(container) is Kind.TABLE:
            with self._lock:
                address = self._opened(Kind.TABLE, container).read(offset, -1).decode()
        else:
            line = self._source.read_path(path, offset, offset + MAX_LINE).partition(b"\n")[0].decode()
            column = None
            if is_csv(container):
                column, _ = csv_column(io.BytesIO(self._source.read_path(path, 0, MAX_LINE)))
            address = _address_in(line, column) or ""
        return address_store(self._source, container, address).read("")


class _Opened(Protocol):
    """A container that is open."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at a place that the listing names, where it knows them, of their size."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class _OpenTarGz:
    """A compressed tar, unpacked onto local disk as far as it was asked for."""

    def __init__(self, source: Store, container: str, _limit: int) -> None:
        self._packed = source.fs.open(source.path(container), "rb")
        self._stream = gzip.GzipFile(fileobj=self._packed)
        self._unpacked = tempfile.TemporaryFile(prefix="i2r-")  # noqa: SIM115 - closed with this
        self._end = 0
        weakref.finalize(self, self._unpacked.close)

    def read(self, offset: int, size: int) -> bytes:
        """The member whose content is at an offset."""
        self._unpacked.seek(self._end)
        while self._end < offset + size:
            chunk = self._stream.read(UNPACKED)
            if not chunk:
                raise EOFError(f"the archive ends before byte {offset + size}")
            self._end += self._unpacked.write(chunk)
        self._unpacked.seek(offset)
        return self._unpacked.read(size)

    def close(self) -> None:
        """Let it go, and the disk that it took."""
        for file in (self._unpacked, self._stream, self._packed):
            file.close()


class _OpenZip:
    """A zip archive, open."""

    def __init__(self, source: Store, container: str, limit: int) -> None:
        self._archive = zipfile.ZipFile(source.fs.open(source.path(container), "rb"))
        self._infos = {info.header_offset: info for info in self._archive.infolist()}
        self._limit = limit

    def read(self, offset: int, size: int) -> bytes:
        """The member whose header is at an offset."""
        info = self._infos[offset]
        if info.flag_bits & 1:
            raise ItemError(ErrorCode.UNSUPPORTED, f"{info.filename} is encrypted")
        with self._archive.open(info) as member:
            data = member.read(self._limit + 1)
        if len(data) > self._limit:
            raise ItemError(ErrorCode.TOO_LARGE, f"{info.filename} unpacks to more than {self._limit} bytes")
        return data

    def close(self) -> None:
        """Let it go."""
        self._archive.close()


class _OpenTable:
    """A Parquet table, open; keeps the row group that was read last."""

    def __init__(self, source: Store, container: str, _limit: int) -> None:
        self._table = pq.ParquetFile(source.fs.open(source.path(container), "rb"))
        schema = self._table.schema_arrow
        self._column = address_column(schema) or image_column(schema)
        groups = range(self._table.metadata.num_row_groups)
        self._starts = [0, *accumulate(self._table.metadata.row_group(group).num_rows for group in groups)]
        self._group, self._values = -1, pa.chunked_array([], pa.binary())

    def read(self, offset: int, size: int) -> bytes:
        """The image, or the address, in the row that is numbered `offset`."""
        row = offset
        group = bisect_right(self._starts, row) - 1
        if group != self._group:
            self._values = self._table.read_row_group(group, columns=[self._column]).column(0)
            self._group = group
        value = self._values[row - self._starts[group]].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if value is None:
            raise ItemError(ErrorCode.NOT_FOUND, f"row {row} of the table has no image in it")
        return value.encode() if isinstance(value, str) else bytes(value)

    def close(self) -> None:
        """Let it go."""
        self._table.close()


_OPENERS: Mapping[Kind, Callable[[Store, str, int], _Opened]] = {
    Kind.TAR_GZ: _OpenTarGz,
    Kind.ZIP: _OpenZip,
    Kind.TABLE: _OpenTable,
}
