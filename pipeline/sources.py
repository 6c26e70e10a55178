"""What a SOURCE address can mean, and how the objects under it are found without holding them all."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from fsspec.core import has_magic

from pipeline.containers import HEADS, Found, container_kind, members
from pipeline.errors import PipelineError, RunError, SettingsError, bounded_text
from pipeline.storage import Store, local_version, open_store, retried, version_of, without_secrets

PAGE = 1000
"""Keys that one request to an object store lists."""
_QUERY = re.compile("[?#]")


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
        return replace(self.store, root=f"{self.store.root}/{self.pattern}") if self.single else self.store

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
        except PipelineError:
            raise
        except Exception as error:  # each client has its own
            reason = bounded_text(without_secrets(str(error)))
            raise RunError(f"{self.store.uri()} cannot be listed: {reason}") from error


def open_source(address: str) -> Source:
    """Find out what an address means.

    Raises:
        SettingsError: there is nothing at it, or it cannot be read.
    """
    store = open_store(address)
    if has_magic(store.root) and (store.is_web or not store.fs.exists(store.root)):
        parts = store.root.split("/")
        first = next(i for i, part in enumerate(parts) if has_magic(part))
        base = replace(store, root="/".join(parts[:first]) or "/")
        _require(base, address)
        return Source(address, base, "/".join(parts[first:]))
    if _require(store, address) == "file":
        folder, _, name = store.root.rpartition("/")
        return Source(address, replace(store, root=folder or "/"), name)
    return Source(address, store, None)


def _require(store: Store, address: str) -> str:
    """The kind of what lies at a store's root: `file` or `directory`."""
    try:
        if store.is_local and not os.access(store.root, os.R_OK) and os.path.exists(store.root):
            raise PermissionError
        if store.is_web:
            return _kind_of_page(store)
        return str(store.fs.info(store.root)["type"])
    except FileNotFoundError as error:
        raise SettingsError(f"SOURCE {store.uri()} does not exist: check the address") from error
    except PermissionError as error:
        raise SettingsError(
            f"SOURCE {store.uri()} may not be read: check the credentials and rights"
        ) from error
    except Exception as error:
        reason = bounded_text(without_secrets(str(error))) or type(error).__name__
        raise SettingsError(f"SOURCE {store.uri()} cannot be read: {reason}") from error


def _kind_of_page(store: Store) -> str:
    """A page of links is a folder; whatever else the web serves is a file."""
    for path in (store.path(), f"{store.root}/{store.query}"):
        with contextlib.suppress(FileNotFoundError):
            page = str(store.fs.info(path).get("mimetype", "")).startswith("text/html")
            return "directory" if page else "file"
    raise FileNotFoundError


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
    if store.is_web:
        return _walk_web(store)
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
        ask = partial(store.fs.call_s3, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=PAGE, **more)
        page = retried(ask)
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
        for info in retried(partial(store.fs.ls, folder, detail=True)):
            path = str(info["name"]).rstrip("/")
            if info["type"] == "directory":
                if path != folder:
                    folders.append(path)
            else:
                key = path[len(store.root.rstrip("/")) + 1 :]
                yield Found(key, path, _size(info), version_of(info), store.uri_of(path))
        store.fs.invalidate_cache(folder)


def _walk_web(store: Store) -> Iterator[Found]:
    """Follow the links of pages downwards; sizes and versions are asked for, many at once."""
    folders = [store.root]
    with ThreadPoolExecutor(HEADS) as threads:
        while folders:
            folder = folders.pop()
            links = {str(link) for link in retried(partial(store.fs.ls, f"{folder}/", detail=False))}
            below = sorted(
                link for link in links if link.startswith(f"{folder}/") and not _QUERY.search(link)
            )
            folders += [link.rstrip("/") for link in below if link.endswith("/") and link != f"{folder}/"]
            keys = (link.removeprefix(f"{store.root}/") for link in below if not link.endswith("/"))
            while some := list(islice(keys, 32 * HEADS)):
                yield from threads.map(lambda key: _ask_web(store, key), some)


def _ask_web(store: Store, key: str) -> Found:
    """A link as an input; if it leads nowhere, fetching it will say so."""
    try:
        size, version = store.describe(store.path(key))
    except Exception:
        size, version = -1, ""
    return Found(key, store.path(key), size, version, store.uri(key))


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
