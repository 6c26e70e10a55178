"""What a SOURCE address can mean, and how the objects under it are found without holding them all."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass

from fsspec.core import has_magic

from pipeline.containers import Found, container_kind, members
from pipeline.errors import RunError, SettingsError
from pipeline.storage import Store, local_version, open_store, version_of

PAGE = 1000
"""Keys that one request to an object store lists."""


@dataclass(frozen=True)
class Source:
    """Objects that a SOURCE address names.

    Attributes:
        address: as it was given.
        store: what keys are relative to.
        pattern: a glob of keys, or None for everything; without a wildcard, the key of a single object.
    """

    address: str
    store: Store
    pattern: str | None

    @property
    def extent(self) -> Store:
        """What an output must not lie in: the prefix that is listed, or the single object."""
        return Store(self.store.fs, self.store.path(self.pattern or "")) if self.single else self.store

    @property
    def single(self) -> bool:
        """Whether it is one object, which may hold many images."""
        return self.pattern is not None and not has_magic(self.pattern)

    def names(self, key: str) -> bool:
        """Whether an object of this key, or a member of a container, would be listed."""
        parts = key.split("/")
        places = ["/".join(parts[: number + 1]) for number in range(len(parts) - 1)]
        containers = [place for place in places if container_kind(place) is not None]
        if self.pattern is None:
            return not containers
        return any(matches_whole(place, self.pattern) for place in containers or [key])

    def inputs(self) -> Iterator[Found]:
        """Every object, and, in place of a container that the address names, what is in it.

        A prefix does not name the containers under it: a zip archive among photographs is left alone.

        Raises:
            RunError: it cannot be listed.
        """
        for found in self.objects():
            if self.pattern is not None and container_kind(found.key) is not None:
                yield from members(self.store, found)
            else:
                yield found

    def objects(self) -> Iterator[Found]:
        """Every object, as the file system lists them. Raises RunError if it cannot be listed."""
        try:
            if self.single and self.pattern is not None:
                path = self.store.path(self.pattern)
                yield Found(self.pattern, path, *self.store.describe(path), self.store.uri_of(path))
                return
            for found in walk(self.store):
                if self.pattern is None or matches_whole(found.key, self.pattern):
                    yield found
        except FileNotFoundError as error:
            raise RunError(f"{self.store.uri()} vanished while it was listed") from error
        except PermissionError as error:
            raise RunError(f"{self.store.uri()} may not be listed with these credentials") from error
        except OSError as error:
            raise RunError(f"{self.store.uri()} cannot be listed: {error}") from error


def open_source(address: str) -> Source:
    """Find out what an address means.

    Raises:
        SettingsError: there is nothing at it, or it cannot be read.
    """
    store = open_store(address)
    if has_magic(store.root) and not store.fs.exists(store.root):
        parts = store.root.split("/")
        first = next(i for i, part in enumerate(parts) if has_magic(part))
        base = Store(store.fs, "/".join(parts[:first]) or "/")
        _require(base, address)
        return Source(address, base, "/".join(parts[first:]))
    if _require(store, address) == "file":
        folder, _, name = store.root.rpartition("/")
        return Source(address, Store(store.fs, folder or "/"), name)
    return Source(address, store, None)


def _require(store: Store, address: str) -> str:
    """The kind of what lies at a store's root: `file` or `directory`."""
    try:
        if store.is_local and not os.access(store.root, os.R_OK) and os.path.exists(store.root):
            raise PermissionError
        return str(store.fs.info(store.root)["type"])
    except FileNotFoundError as error:
        raise SettingsError(f"SOURCE {store.uri()} does not exist: check the address") from error
    except PermissionError as error:
        raise SettingsError(
            f"SOURCE {store.uri()} may not be read: check the credentials and rights"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(f"SOURCE {store.uri()} cannot be read: {reason}") from error


def matches(key: str, pattern: str) -> bool:
    """Whether a key matches a glob: as a whole, or, where the pattern has no `/`, in its last part."""
    return matches_whole(key if "/" in pattern or pattern == "**" else key.rsplit("/", 1)[-1], pattern)


def matches_whole(key: str, pattern: str) -> bool:
    """Whether a whole key matches a glob: `*` stays within a part, `**` spans parts."""
    return _match_parts(key.split("/"), pattern.split("/"))


def _match_parts(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[i:], patterns[1:]) for i in range(len(parts) + 1))
    return (
        bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _match_parts(parts[1:], patterns[1:])
    )


def walk(store: Store) -> Iterator[Found]:
    """Every object under a store, however many: one folder or one page at a time."""
    if store.is_local:
        return _walk_local(store)
    if "s3" in store.fs.protocol:
        return _walk_s3(store)
    return _walk_folders(store)


def _walk_local(store: Store) -> Iterator[Found]:
    root = store.root
    start = len(root.rstrip("/")) + 1
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file():
                    uri = store.uri_of(entry.path)
                    yield Found(entry.path[start:], entry.path, *local_version(entry.stat()), uri)


def _walk_s3(store: Store) -> Iterator[Found]:
    """Page by page: what fsspec's own listing remembers of every key would fill the memory."""
    bucket, _, prefix = store.root.partition("/")
    prefix = f"{prefix}/" if prefix else ""
    more: dict[str, str] = {}
    while True:
        page = store.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **more)
        for entry in page.get("Contents", ()):
            key = entry["Key"]
            if not key.endswith("/"):
                path = f"{bucket}/{key}"
                size, uri = int(entry["Size"]), store.uri_of(path)
                yield Found(key[len(prefix) :], path, size, version_of(entry), uri)
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _walk_folders(store: Store) -> Iterator[Found]:
    folders = [store.root]
    while folders:
        folder = folders.pop()
        for info in store.fs.ls(folder, detail=True):
            path = str(info["name"]).rstrip("/")
            if info["type"] == "directory":
                if path != folder:
                    folders.append(path)
            else:
                key = path[len(store.root.rstrip("/")) + 1 :]
                yield Found(key, path, _size(info), version_of(info), store.uri_of(path))
        store.fs.invalidate_cache(folder)


def _size(info: dict[str, object]) -> int:
    size = info.get("size")
    return int(size) if isinstance(size, int) else -1


def overlap(source: Store, dest: Store) -> bool:
    """Whether one of two addresses lies within the other."""
    if type(source.fs) is not type(dest.fs):
        return False
    first, second = (os.path.realpath(s.root) if s.is_local else s.root for s in (source, dest))
    return (
        first == second
        or f"{first}/".startswith(f"{second.rstrip('/')}/")
        or f"{second}/".startswith(f"{first.rstrip('/')}/")
    )
