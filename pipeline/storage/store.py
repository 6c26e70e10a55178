"""Objects under one address, on local disk or on any fsspec file system.

Writes are atomic: a temporary name and a rename on local disk, one put on object stores. One exception: on a
disk without hard links a new object may be empty at first (`_name_new`). Errors become this package's
own: an error of one object is an `ItemError`, an error of the whole address (no space left, a bucket
that denies writing) is a `RunError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.storage.reach import public_client
from pipeline.storage.redaction import public_uri, without_secrets
from pipeline.storage.retries import item_error, retried, takes_no_more
from pipeline.storage.web import read_web

PRIVATE = "_i2r"
"""Folder of a destination that holds everything this package writes except restored images."""

_ONE_TRY = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
"""Options that turn off the retries of S3's client: it would retry each of ours, for minutes in all."""

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems without hard links."""

_TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created")

_TYPED: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "s3": lambda media_type: {"ContentType": media_type},
    "gs": lambda media_type: {"content_type": media_type},
    "abfs": lambda media_type: {"content_settings": {"content_type": media_type}},
}
"""How clients of object stores are told an object's type, by protocol: a browser opens no page without."""

Result = TypeVar("Result")


def size_of(info: Mapping[str, Any]) -> int:
    """The size of an object in bytes, from its fsspec info, -1 if unknown."""
    size = info.get("size")
    return size if isinstance(size, int) else -1


def version_of(info: Mapping[str, Any]) -> str:
    """The version of an object, from its fsspec info: an ETag or hash, else its size and time."""
    for name in ("ETag", "etag", "md5Hash", "content_md5", "blob_id"):
        if info.get(name):
            return str(info[name]).strip('"')
    modified = next((info[name] for name in _TIMES if info.get(name)), "")
    if isinstance(modified, datetime):
        modified = modified.timestamp()
    stamp = f"{modified:.6f}" if isinstance(modified, float) else str(modified)
    return f"{info.get('size')}-{stamp}"


def local_version(found: os.stat_result) -> tuple[int, str]:
    """Size and version of a file on this machine."""
    return found.st_size, f"{found.st_size}-{found.st_mtime_ns}"


def open_store(address: str, *, private: bool = True, **options: Any) -> Store:
    """Open the store at an address: a local path or `protocol://…`.

    Args:
        address: of the store.
        private: whether HTTP may reach this machine and private networks.
        options: of fsspec's file system.

    Raises:
        SettingsError: the protocol is unknown, or its client is not installed.
    """
    base, query = address, ""
    if address.lower().startswith(("http://", "https://")):
        base, mark, text = address.partition("?")
        query = mark + text
        if not private:
            options["get_client"] = public_client
    if base.startswith(("s3://", "s3a://")):
        options = _ONE_TRY | fsspec.config.conf.get("s3", {}) | options
    try:
        fs, path = url_to_fs(base, **options)
    except (ValueError, ImportError) as error:
        raise SettingsError(f"cannot open {without_secrets(address)}: {error}") from error
    return Store(fs, path.rstrip("/") or "/", query, private)


@dataclass(frozen=True)
class Store:
    """Objects under one address; keys are relative to it. Picklable.

    Args:
        fs: the file system.
        root: path of the address in the file system's own form, without a slash at its end.
        query: of a web address, with its `?`: may be a signature, so it is sent with requests and never
            recorded.
        private: whether HTTP to it and what its lists name may reach this machine and private networks.
    """

    fs: AbstractFileSystem
    root: str
    query: str = ""
    private: bool = True

    @property
    def is_local(self) -> bool:
        """Whether the store is on this machine's disk."""
        return "file" in self._protocols

    @property
    def _protocols(self) -> tuple[str, ...]:
        return self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,)

    @property
    def is_web(self) -> bool:
        """Whether the store is reached by HTTP(S), where objects are listed from the links on pages."""
        return self.root.startswith(("http://", "https://"))

    def path(self, key: str = "") -> str:
        """The path of a key in the file system's own form."""
        return (f"{self.root.rstrip('/')}/{key}" if key else self.root) + self.query

    def uri(self, key: str = "") -> str:
        """The public address of a key: without query, signature or user."""
        return self.uri_of(self.path(key))

    def uri_of(self, path: str) -> str:
        """The public address of a path of this file system."""
        return public_uri(str(self.fs.unstrip_protocol(path)))

    def read(self, key: str, most: int | None = None) -> bytes:
        """The bytes of an object, `most` at most. Raises ItemError."""
        path = self.path(key)
        if most is None:
            return self.read_path(path)
        # One byte more tells a larger object, whatever length the store says it has, or if it says none.
        if len(data := self.read_path(path, 0, most + 1)) > most:
            raise ItemError(ErrorCode.TOO_LARGE, f"{self.uri(key)} has more bytes than the limit of {most}")
        return data

    def read_path(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes of the object at a path of this file system, or from `start` to before `end`.

        Raises ItemError.
        """
        if start == end:
            return b""
        try:
            return retried(lambda: self._fetch(path, start, end))
        except EOFError:
            return b""
        except Exception as error:
            raise item_error(error, self.uri_of(path)) from error

    def _fetch(self, path: str, start: int, end: int | None) -> bytes:
        if self.is_local:
            with open(path, "rb") as file:
                file.seek(start)
                # Python takes the memory for as many bytes as it is asked for, though the file has fewer.
                room = -1 if end is None else max(0, min(end, os.fstat(file.fileno()).st_size + 1) - start)
                return file.read(room)
        if end is None:
            return bytes(self.fs.cat_file(path))
        if self.is_web:
            return read_web(self.fs, path, start, end)
        return bytes(self.fs.cat_file(path, start=start, end=end))

    def fetch(self, key: str, file: Path) -> None:
        """Download an object of any size to a file on this machine. Raises ItemError."""
        try:
            retried(lambda: self.fs.get_file(self.path(key), str(file)))
        except Exception as error:
            raise item_error(error, self.uri(key)) from error

    def describe(self, path: str) -> tuple[int, str]:
        """Size in bytes (-1 if unknown) and version of the object at a path of this file system.

        Raises:
            OSError, or an error of the store's client: there is no object, or its info cannot be read.
        """
        if self.is_local:
            return local_version(os.stat(path))
        info = self.fs.info(path)
        return size_of(info), version_of(info)

    def write(self, key: str, data: bytes, media_type: str | None = None) -> None:
        """Store an object atomically, replacing an existing one. Web servers then name its type.

        Raises:
            RunError: the store takes no writes: no space left, or denied.
            ItemError: any other error, after a bounded number of retries.
        """
        self._store(key, lambda: self._replace(key, data, media_type))

    def create(self, key: str, data: bytes) -> bool:
        """Store an object if the key is free. Returns whether it was stored. Raises as `write`."""
        return self._store(key, lambda: self._create(key, data))

    def exists(self, key: str) -> bool:
        """Whether there is an object with that key. Raises ItemError if the store does not answer."""

        def look() -> bool:
            if self.is_local:
                return stat.S_ISREG(os.stat(self.path(key)).st_mode)
            return bool(self.fs.info(self.path(key))["type"] == "file")

        try:
            return retried(look)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:
            raise item_error(error, self.uri(key)) from error

    def modified(self, key: str) -> float:
        """Time at which an object was last written, in seconds, on the store's clock. Raises ItemError."""
        try:
            self.fs.invalidate_cache()
            return float(retried(lambda: self.fs.modified(self.path(key))).timestamp())
        except Exception as error:
            raise item_error(error, self.uri(key)) from error

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            retried(lambda: self.fs.rm_file(self.path(key)))
        except FileNotFoundError:
            return
        except Exception as error:
            raise item_error(error, self.uri(key)) from error

    def names(self, folder: str) -> list[str]:
        """Names of objects and folders directly in a folder, sorted; empty if there is no such folder."""
        try:
            found = retried(lambda: self.fs.ls(self.path(folder), detail=False, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise item_error(error, self.uri(folder)) from error
        return sorted({name for path in found if (name := PurePosixPath(path.rstrip("/")).name)})

    def delete_folder(self, folder: str) -> None:
        """Remove a folder and everything under it, if it is there."""
        try:
            retried(lambda: self.fs.rm(self.path(folder), recursive=True))
        except FileNotFoundError:
            return
        except Exception as error:
            raise item_error(error, self.uri(folder)) from error

    def _store(self, key: str, action: Callable[[], Result]) -> Result:
        try:
            return retried(action)
        except PermissionError as error:
            raise RunError(
                f"{self.uri()} denies writing: give this run the right to, or choose another DEST"
            ) from error
        except OSError as error:
            if takes_no_more(error):
                raise RunError(
                    f"{self.uri()} takes no more ({os.strerror(error.errno or 0)}): make room and run again"
                ) from error
            raise item_error(error, self.uri(key)) from error
        except (RunError, ItemError):
            raise
        except Exception as error:
            raise item_error(error, self.uri(key)) from error

    def _replace(self, key: str, data: bytes, media_type: str | None) -> None:
        if self.is_local:
            self._place(key, data, os.replace)
        else:
            self.fs.pipe_file(self.path(key), data, **self._typed(media_type))

    def _typed(self, media_type: str | None) -> dict[str, Any]:
        """The options of this store's client for an object of a media type."""
        return next(
            (_TYPED[name](media_type) for name in _TYPED if media_type and name in self._protocols), {}
        )

    def _create(self, key: str, data: bytes) -> bool:
        try:
            if self.is_local:
                self._place(key, data, _name_new)
            else:
                self.fs.pipe_file(self.path(key), data, mode="create")
        except FileExistsError:
            return False
        return True

    def _place(self, key: str, data: bytes, put: Callable[[str, str], None]) -> None:
        """Write a temporary file on the same disk as `key`, and `put` it in its place once it is complete.

        It makes few system calls, since threads may wait for each other in every one of them, and it makes
        folders only after finding that they are missing.
        """
        folder, path = f"{self.root}/{PRIVATE}/tmp", self.path(key)
        name = f"{folder}/{os.getpid()}-{secrets.token_hex(8)}"
        try:
            file = _in_folder(folder, lambda: os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            try:
                written = os.write(file, data)
                while written < len(data):
                    written += os.write(file, memoryview(data)[written:])
                os.fsync(file)
            finally:
                os.close(file)
            _in_folder(os.path.dirname(path), lambda: put(name, path))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _name_new(file: str, path: str) -> None:
    """Give a complete file its name, unless the name is taken. Raises FileExistsError.

    Without hard links (exFAT, some SMB and FUSE mounts), an empty file is created under the name and then
    replaced by the complete one. A reader between the two steps finds the file empty, and a process that is
    killed there leaves it empty; it is never partial.
    """
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            os.replace(file, path)
        except OSError:
            os.unlink(path)
            raise


def _in_folder(folder: str, action: Callable[[], Result]) -> Result:
    """Run `action()`; if the folder is missing, make it and run the action again."""
    try:
        return action()
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return action()
