"""What a destination must allow before a run writes to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.errors import LeaseHeldError, PipelineError, SettingsError
from pipeline.records.lease import Lease
from pipeline.storage.store import Store


def check_writable(dest: Store) -> None:
    """Refuse a local destination that cannot be written, without writing to it.

    Raises:
        SettingsError: why not, and what to do.
    """
    if not dest.is_local:
        return
    place = Path(dest.root)
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise SettingsError(f"DEST {dest.uri()} cannot be a folder, {place} is a file: choose another DEST")
    if not os.access(place, os.W_OK | os.X_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
        raise SettingsError(
            f"DEST {dest.uri()} cannot be written: get the right to write to {place}, or choose another"
        )


class FirstWrite:
    """Enters a lease, the first write of a run: if it fails, the destination is a wrong argument."""

    def __init__(self, dest: Store, lease: Lease) -> None:
        self._dest, self._lease = dest, lease

    def __enter__(self) -> Lease:
        try:
            return self._lease.__enter__()
        except LeaseHeldError:
            raise
        except PipelineError as error:
            raise SettingsError(f"DEST {self._dest.uri()} cannot be written: {error}") from error

    def __exit__(self, *exception: Any) -> None:
        self._lease.__exit__(*exception)
