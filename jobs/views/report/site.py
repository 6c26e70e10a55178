"""The folder that a page is written to."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass

from jobs.views.report.links import relative
from pipeline.errors import RunError, SettingsError
from pipeline.storage.store import PRIVATE, Store, open_store

_OWN = "tmp"
"""In `PRIVATE`: files that are being written."""


@dataclass(frozen=True)
class Site:
    """The folder of a page.

    Attributes:
        store: the store that it lies in.
        folder: its key there, empty for the whole store.
    """

    store: Store
    folder: str = ""

    @classmethod
    def of_run(cls, dest: Store, run_id: str) -> Site:
        """The folder of a run's page at its destination."""
        return cls(dest, f"{PRIVATE}/report/{run_id}")

    @classmethod
    def at(cls, address: str, source: str | None) -> Site:
        """A folder that somebody has named.

        Raises:
            SettingsError: it is a destination, or lies within the source, whose next run would restore the
                page's pictures.
        """
        store = open_store(address)
        if set(store.names(PRIVATE)) - {_OWN}:
            raise SettingsError(f"--out {store.uri()} is a destination of runs: choose another folder")
        inside = relative(source, store.uri()) if source else None
        if inside is not None and not inside.startswith(("../", "http")):
            raise SettingsError(f"--out {store.uri()} lies in the source: choose a folder outside of it")
        return cls(store)

    @property
    def address(self) -> str:
        """Its public address."""
        return self.store.uri(self.folder)

    def uri(self, name: str) -> str:
        """The public address of a file."""
        return self.store.uri(self._key(name))

    def names(self, folder: str) -> set[str]:
        """Names of the files in a folder of it."""
        return set(self.store.names(self._key(folder)))

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file. Raises RunError or ItemError."""
        try:
            content = data.encode() if isinstance(data, str) else data
            self.store.write(self._key(name), content, mimetypes.guess_type(name)[0])
        except RunError as error:
            raise RunError(f"no page can be written ({error}): --out names another place for it") from error

    def close(self) -> None:
        """Remove what writing has left beside the page."""
        if not self.folder and self.store.is_local:
            self.store.delete_folder(PRIVATE)

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name
