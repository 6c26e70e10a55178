"""Reads the bytes of one input: an object, a member of a container, or an address of a list.

From a tar or zip archive it reads only the member, from a table the whole row group, unless another stage
(`pipeline.stages.tables`) has read the row already. A compressed tar
(`.tar.gz`, `.tgz`) can only be read from its beginning: every fetcher unpacks it again, onto local disk.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import threading
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pyarrow as pa

from pipeline.errors import ErrorCode, ItemError, SettingsError
from pipeline.sources.columns import csv_column
from pipeline.sources.containers import UNREADABLE, Kind, container_kind
from pipeline.sources.lists import MAX_LINE, address_in, address_store, is_csv
from pipeline.sources.table import OpenTable
from pipeline.storage.retries import item_error
from pipeline.storage.store import Store

OPEN_CONTAINERS = 4
"""Most containers that a fetcher keeps open."""
UNPACKED = 1 << 20
"""Bytes of a compressed tar that are unpacked at a time."""


class Fetcher:
    """Reads the bytes of inputs. Threads may share a fetcher; it cannot be pickled.

    Args:
        source: the store that keys are relative to.
        limit: most bytes of one image, unpacked.
    """

    def __init__(self, source: Store, limit: int) -> None:
        self._source, self._limit = source, limit
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, row: Mapping[str, Any]) -> bytes:
        """The bytes of an input, given its row of the listing, which may hold them. Raises ItemError."""
        if code := row.get("refused"):
            raise ItemError(ErrorCode(code), row["reason"])
        if (data := row.get("data")) is not None:
            return bytes(data)
        kind, offset, size = Kind(row["kind"]), int(row["offset"]), int(row["source_size"])
        if size > self._limit:
            raise ItemError(ErrorCode.TOO_LARGE, f"{size} bytes exceed the limit of {self._limit}")
        match kind:
            case Kind.OBJECT:
                return self._source.read(row["source_key"], self._limit)
            case Kind.TAR:
                return self._source.read_path(self._source.path(row["container"]), offset, offset + size)
            case Kind.BROKEN:
                # raises if the object itself cannot be read
                self._source.read_path(self._source.path(row["container"]), 0, 1)
                what = "is not what its extension says, or has no column that is known"
                raise ItemError(ErrorCode.UNREADABLE, f"{row['source_uri']} {what}")
        try:
            if kind is Kind.ADDRESS:
                place = address_store(self._source, row["container"], row["source_uri"])
                return place.read("", self._limit)
            if kind is Kind.SIGNED:
                return self._read_signed(row["container"], offset)
            with self._lock:
                return self._opened(kind, row["container"]).read(offset, size)
        except ItemError:
            raise
        except SettingsError as error:
            raise ItemError(ErrorCode.UNSUPPORTED, str(error)) from error
        except (*UNREADABLE, pa.ArrowException, KeyError, NotImplementedError) as error:
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
        """Read an object by its signed address, which only the list holds."""
        path = self._source.path(container)
        if container_kind(container) is Kind.TABLE:
            with self._lock:
                address = self._opened(Kind.TABLE, container).read(offset, -1).decode()
        else:
            line = self._source.read_path(path, offset, offset + MAX_LINE).partition(b"\n")[0].decode()
            column = None
            if is_csv(container):
                column, _ = csv_column(io.BytesIO(self._source.read_path(path, 0, MAX_LINE)))
            address = address_in(line, column) or ""
        return address_store(self._source, container, address).read("", self._limit)


class _Opened(Protocol):
    """An open container."""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes of a member, given the offset and size in the listing; a size of -1 is unknown."""
        ...

    def close(self) -> None:
        """Close the container."""
        ...


class _OpenTarGz:
    """A compressed tar, unpacked onto local disk up to the last member that was read."""

    def __init__(self, source: Store, container: str, _limit: int) -> None:
        self._packed = source.fs.open(source.path(container), "rb")
        self._stream = gzip.GzipFile(fileobj=self._packed)
        self._unpacked = tempfile.TemporaryFile(prefix="i2r-")  # noqa: SIM115 - closed with this
        self._end = 0
        weakref.finalize(self, self._unpacked.close)

    def read(self, offset: int, size: int) -> bytes:
        """The member whose content begins at an offset."""
        self._unpacked.seek(self._end)
        while self._end < offset + size:
            chunk = self._stream.read(UNPACKED)
            if not chunk:
                raise EOFError(f"the archive ends before byte {offset + size}")
            self._end += self._unpacked.write(chunk)
        self._unpacked.seek(offset)
        return self._unpacked.read(size)

    def close(self) -> None:
        """Close the container, and free its disk space."""
        for file in (self._unpacked, self._stream, self._packed):
            file.close()


class _OpenZip:
    """An open zip archive."""

    def __init__(self, source: Store, container: str, limit: int) -> None:
        self._archive = zipfile.ZipFile(source.fs.open(source.path(container), "rb"))
        self._infos = {info.header_offset: info for info in self._archive.infolist()}
        self._limit = limit

    def read(self, offset: int, size: int) -> bytes:
        """The member whose header begins at an offset."""
        info = self._infos[offset]
        if info.flag_bits & 1:
            raise ItemError(ErrorCode.UNSUPPORTED, f"{info.filename} is encrypted")
        with self._archive.open(info) as member:
            data = member.read(self._limit + 1)
        if len(data) > self._limit:
            raise ItemError(ErrorCode.TOO_LARGE, f"{info.filename} unpacks to more than {self._limit} bytes")
        return data

    def close(self) -> None:
        """Close the container."""
        self._archive.close()


_OPENERS: Mapping[Kind, Callable[[Store, str, int], _Opened]] = {
    Kind.TAR_GZ: _OpenTarGz,
    Kind.ZIP: _OpenZip,
    Kind.TABLE: OpenTable,
}
