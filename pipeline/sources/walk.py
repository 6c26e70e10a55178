"""Opens a SOURCE address, and lists the objects under it in bounded memory."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fsspec.core import has_magic

from pipeline.errors import PipelineError, RunError, SettingsError, bounded_text
from pipeline.sources.containers import HEADS, Found, Kind, container_kind, members
from pipeline.sources.pages import After, ListPage, Page, page_lister, starts_after
from pipeline.storage.reach import PrivateAddressError, refusal_in
from pipeline.storage.redaction import without_secrets
from pipeline.storage.retries import retried, translated
from pipeline.storage.store import Store, local_version, open_store, size_of, version_of
from pipeline.storage.web import links_of

PAGE = 1000
"""Most keys that one request to an object store lists."""
WALKERS = 8
"""Folders or pages that are listed at once."""
MOST_FOLDERS = 100
"""Folders on the first of several pages above which a prefix is listed with everything below it, not by
folder."""
_QUERY = re.compile("[?#]")


@dataclass(frozen=True)
class Source:
    """Objects that a SOURCE address names.

    Attributes:
        address: as it was given.
        store: the store that keys are relative to.
        pattern: a glob of keys, or None for all keys; without a wildcard, the key of a single object.
    """

    address: str
    store: Store
    pattern: str | None

    @property
    def extent(self) -> Store:
        """The prefix that is listed, or the single object: outputs must be outside of it."""
        return replace(self.store, root=f"{self.store.root}/{self.pattern}") if self.single else self.store

    @property
    def single(self) -> bool:
        """Whether the source is one object, which may be a container."""
        return self.pattern is not None and not has_magic(self.pattern)

    def names(self, key: str) -> bool:
        """Whether an input with this key, an object or a member of a container, would be listed."""
        parts = key.split("/")
        places = ["/".join(parts[: number + 1]) for number in range(len(parts) - 1)]
        containers = [place for place in places if container_kind(place) is not None]
        if self.pattern is None:
            return not containers
        return any(matches_whole(place, self.pattern) for place in containers or [key])

    def inputs(self, *, strict: bool = False) -> Iterator[Found]:
        """Yield every object, and the members of containers that the address names.

        A prefix does not name the containers under it: a zip archive among photographs is not opened. If a
        glob names containers, one that cannot be read is an input that fails; with `strict` it is an error.

        Raises:
            RunError: the source cannot be listed.
        """
        for found in self.objects():
            if self.pattern is not None and found.kind is not Kind.LINK and container_kind(found.key):
                yield from members(self.store, found, strict=strict or self.single)
            else:
                yield found

    def objects(self) -> Iterator[Found]:
        """Yield every object that the file system lists. Raises RunError if the source cannot be listed."""
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
        except Exception as error:  # each client raises errors of its own
            reason = bounded_text(without_secrets(str(error)))
            raise RunError(f"{self.store.uri()} cannot be listed: {reason}") from error


def open_source(address: str, *, private: bool = False) -> Source:
    """Open a SOURCE address, and find out whether it is a prefix, a glob or a single object.

    Args:
        address: of the source.
        private: whether HTTP to it and what its lists name may reach this machine and private networks.

    Raises:
        SettingsError: nothing is at the address, or it cannot be read.
    """
    store = open_store(address, private=private)
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
    """Whether a store's root is a `file` or a `directory`. Raises SettingsError."""
    try:
        if store.is_local and not os.access(store.root, os.R_OK) and os.path.exists(store.root):
            raise PermissionError
        if store.is_web:
            return _kind_of_page(store)
        return str(store.fs.info(store.root)["type"])
    except Exception as error:
        match translated(error):
            case FileNotFoundError():
                what = "does not exist: check the address"
            case PermissionError():
                what = "may not be read: check the credentials and rights"
            case PrivateAddressError() as refusal:
                what = f"is refused, {refusal}"
            case _:
                what = f"cannot be read: {bounded_text(without_secrets(str(error))) or type(error).__name__}"
        raise SettingsError(f"SOURCE {store.uri()} {what}") from error


def _kind_of_page(store: Store) -> str:
    """`directory` for an HTML page, `file` for anything else."""
    for path in (store.path(), f"{store.root}/{store.query}"):
        try:
            page = str(store.fs.info(path).get("mimetype", "")).startswith("text/html")
            return "directory" if page else "file"
        except FileNotFoundError as error:
            if (refusal := refusal_in(error)) is not None:
                raise refusal from error
    raise FileNotFoundError


def matches(key: str, pattern: str) -> bool:
    """Whether a key matches a glob; a pattern without `/` is compared with the last part of the key."""
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
    """Yield every object under a store in no particular order, listing some folders or pages at a time."""
    if store.is_local:
        return _spread(_Place(store.root), partial(_list_local, store))
    if (list_page := page_lister(store.fs)) is not None:
        return _spread(_Place(f"{store.root}/"), _Pages(store, list_page))
    return _spread(_Place(store.root), partial(_list_web if store.is_web else _list_folder, store))


@dataclass(frozen=True)
class _Place:
    """A page of a folder that is still to be listed.

    Attributes:
        path: of the folder; on object stores what its keys begin with, with all slashes at the end of a
            folder, since parts of keys may be empty.
        more: a token or the remaining entries of the next page, None for the first page.
        flat: whether the folder is listed with everything below it.
        parts: places that hold together what is left of this one.
    """

    path: str
    more: Any = None
    flat: bool = False
    parts: tuple[_Place, ...] = ()


_Page = tuple[list[Found], list[_Place]]


def _spread(first: _Place, list_page: Callable[[_Place], _Page]) -> Iterator[Found]:
    """List many places at once, a page each, the latest first, so that only the folders of a few pages wait.

    As long as there are too few places for all threads, a place is listed folder by folder, and one with
    more pages part by part. Otherwise it is listed with everything below it, page by page, which takes fewer
    requests.
    """
    with ThreadPoolExecutor(WALKERS) as threads:
        waiting, running = [first], set[Future[_Page]]()
        while waiting or running:
            while waiting and len(running) < WALKERS:
                place = waiting.pop()
                enough = len(waiting) + len(running) >= WALKERS
                if place.parts and not enough:
                    waiting += place.parts
                    continue
                if place.more is None and not place.flat and enough:
                    place = replace(place, flat=True)
                running.add(threads.submit(list_page, place))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found, more = future.result()
                waiting += more
                yield from found


def _list_local(store: Store, place: _Place) -> _Page:
    """List a page of a local folder; entries deleted meanwhile are left out."""
    start = len(store.root.rstrip("/")) + 1
    try:
        entries = os.scandir(place.path) if place.more is None else place.more
    except (FileNotFoundError, NotADirectoryError):
        if place.path == store.root:
            raise
        return [], []
    found: list[Found] = []
    folders: list[_Place] = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(_Place(entry.path))
        elif (file := _local_file(store, entry, entry.path[start:])) is not None:
            found.append(file)
        if len(found) + len(folders) == PAGE:
            return found, [replace(place, more=entries), *folders]
    return found, folders


def _local_file(store: Store, entry: os.DirEntry[str], key: str) -> Found | None:
    """A file or a link as an input; a broken link is an input too, and fails when it is fetched."""
    size, version, kind = -1, "", Kind.OBJECT
    try:
        known = entry.stat()
    except OSError as error:
        if not os.path.islink(entry.path):
            if isinstance(error, FileNotFoundError):
                return None
            raise
    else:
        if stat.S_ISDIR(known.st_mode):
            kind = Kind.LINK
        elif not stat.S_ISREG(known.st_mode):
            return None
        size, version = local_version(known)
    return Found(key, entry.path, size, version, store.uri_of(entry.path), kind)


def _any(key: str) -> bool:
    """Every key."""
    return True


class _Pages:
    """Lists a page of keys of an object store."""

    def __init__(self, store: Store, list_page: ListPage) -> None:
        self._store, self._list_page = store, list_page
        self._starts_after: bool | None = None

    def __call__(self, place: _Place) -> _Page:
        store = self._store
        bucket, _, prefix = place.path.partition("/")
        page = retried(partial(self._list_page, store.fs, bucket, prefix, place.more, place.flat, PAGE))
        if page.token is not None and place.more is None and len(page.prefixes) > MOST_FOLDERS:
            return [], [replace(place, flat=True)]
        holds = place.more.holds if isinstance(place.more, After) else _any
        start, found = len(store.root) + 1, []
        for key, size, info in page.objects:
            if holds(key) and not key.endswith("/"):
                path = f"{bucket}/{key}"
                found.append(Found(path[start:], path, size, version_of(info), store.uri_of(path)))
        folders = [_Place(f"{bucket}/{below}") for below in page.prefixes if holds(below)]
        if page.token is None:
            return found, folders
        parts = self._parts(place, page) if self._can_split(place, page) else ()
        return found, [replace(place, more=page.token, parts=parts), *folders]

    def _can_split(self, place: _Place, page: Page) -> bool:
        """Whether what follows a page can be listed in parts."""
        if len(page.objects) < 2 or page.prefixes:
            return False
        if self._starts_after is None:
            bucket, _, prefix = place.path.partition("/")
            self._starts_after = starts_after(self._store.fs, self._list_page, bucket, prefix, page)
        return self._starts_after

    @staticmethod
    def _parts(place: _Place, page: Page) -> tuple[_Place, ...]:
        """Places of the keys that follow a page; the largest is last, and listed first.

        A key that follows the page's last one differs from it at some character first, in which it is
        greater: there is a part for each such character, up to where the page's own keys differ.
        """
        bucket, _, prefix = place.path.partition("/")
        first, last = page.objects[0][0], page.objects[-1][0]
        pairs = enumerate(zip(first, last, strict=False))
        shared = next((number for number, (one, other) in pairs if one != other), len(first))
        cuts = range(len(prefix), shared + 1)
        further = [
            _Place(f"{bucket}/{last[:cut]}", After(last[: cut + 1], longer=True), place.flat) for cut in cuts
        ]
        return (_Place(f"{bucket}/{last[: shared + 1]}", After(last), place.flat), *reversed(further))


def _list_folder(store: Store, place: _Place) -> _Page:
    """List a folder through fsspec."""
    found: list[Found] = []
    folders: list[_Place] = []
    start = len(store.root.rstrip("/")) + 1
    for info in retried(partial(store.fs.ls, place.path, detail=True)):
        path = str(info["name"]).rstrip("/")
        if info["type"] != "directory":
            found.append(Found(path[start:], path, size_of(info), version_of(info), store.uri_of(path)))
        elif path != place.path:
            folders.append(_Place(path))
    store.fs.invalidate_cache(place.path)
    return found, folders


def _list_web(store: Store, place: _Place) -> _Page:
    """List the links of a web page that lead below it, then request sizes and versions, some at a time."""
    if place.more is None:
        links = retried(partial(links_of, store.fs, f"{place.path}/"))
        below = [link for link in links if link.startswith(f"{place.path}/") and not _QUERY.search(link)]
        keys = [link.removeprefix(f"{store.root}/") for link in below if not link.endswith("/")]
        folders = [_Place(link.rstrip("/")) for link in below if link.endswith("/")]
        return [], [replace(place, more=keys), *(folder for folder in folders if folder != place)]
    some, rest = place.more[:HEADS], place.more[HEADS:]
    return [_ask_web(store, key) for key in some], [replace(place, more=rest)] if rest else []


def _ask_web(store: Store, key: str) -> Found:
    """A link as an input; a broken link fails when it is fetched."""
    try:
        size, version = store.describe(store.path(key))
    except Exception:
        size, version = -1, ""
    return Found(key, store.path(key), size, version, store.uri(key))
