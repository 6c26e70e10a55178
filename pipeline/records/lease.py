"""Who writes to a destination: numbered objects under `DEST/_i2r/lease/`, each created only if absent.

Taking over creates the next epoch. An owner that sees a higher epoch than its own stops. Time is the store's
own clock: an owner that has not renewed its object for longer than it promised is taken to be dead. One that
is known to be dead is taken over at once: its process is gone from this host, or it is an earlier attempt of
the same job (whoever starts an attempt sees to it that the one before has ended).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ItemError, LeaseHeldError, LeaseLostError, RunError
from pipeline.storage import PRIVATE, Store

FOLDER = f"{PRIVATE}/lease"
JOB_VARIABLE = "I2R_JOB"
"""Names the job that this process is an attempt of: a later attempt takes over from an earlier one."""
SUBMISSION_VARIABLE = "I2R_SUBMISSION"
"""Marks this very attempt: `<id of the job on its cluster>/<something random>`."""
KEPT_EPOCHS = 16
_RENEWALS = 4
"""Signs of life within the time after which an owner counts as dead."""


class Lease:
    """The right to write to a destination; a context manager.

    Args:
        store: the destination.
        run_id: of the run that holds it.
        seconds: without a sign of life, after which others may take it over.

    Raises:
        LeaseHeldError: on entry, if another run holds it.
        RunError: on entry, if the destination takes no writes.
    """

    def __init__(self, store: Store, run_id: str, seconds: float) -> None:
        self._store, self._run_id, self._seconds = store, run_id, seconds
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.epoch = 0

    def __enter__(self) -> Lease:
        held = epochs(self._store)
        last = held[-1] if held else 0
        if last and not self._may_take(last, holder := read_holder(self._store, last)):
            raise LeaseHeldError(
                f"{self._store.uri()} is being written by {describe(holder)}: "
                "wait for it, stop it, or choose another DEST"
            )
        self.epoch = last + 1
        content = self._content()
        # An answer may have been lost: what a repetition finds there is this run's own then.
        if (
            not self._store.create(_key(self.epoch), content)
            and self._store.read(_key(self.epoch)) != content
        ):
            raise LeaseHeldError(f"{self._store.uri()} was just taken by another run: wait for it")
        if epochs(self._store)[-1] > self.epoch:
            raise LeaseHeldError(f"{self._store.uri()} was just taken by another run: wait for it")
        for old in held[:-KEPT_EPOCHS]:
            self._store.delete(_key(old))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if not self._lost.is_set():
            with contextlib.suppress(ItemError, RunError):  # it expires by itself then
                self._store.write(_key(self.epoch), self._content(released=True))

    def check(self) -> None:
        """Raise LeaseLostError if another run took over."""
        if self._lost.is_set():
            raise LeaseLostError(
                f"another run took over {self._store.uri()}, as this one gave no sign of life: this one stops"
            )

    def _may_take(self, epoch: int, holder: Mapping[str, Any]) -> bool:
        if holder.get("released") or is_dead(holder):
            return True
        if (job := os.environ.get(JOB_VARIABLE)) and holder.get("job") == job:
            return True
        return self._now() - self._store.modified(_key(epoch)) > float(holder.get("seconds", self._seconds))

    def _now(self) -> float:
        """The time by the store's clock: that of an object written just now."""
        probe = f"{FOLDER}/clock-{secrets.token_hex(8)}"
        self._store.write(probe, b"")
        try:
            return self._store.modified(probe)
        finally:
            self._store.delete(probe)

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / _RENEWALS):
            try:
                if epochs(self._store)[-1] > self.epoch:
                    self._lost.set()
                    return
                self._store.write(_key(self.epoch), self._content())
            except (ItemError, RunError, IndexError):
                continue  # the store is away for now; whoever takes over meanwhile is seen once it is back

    def _content(self, *, released: bool = False) -> bytes:
        return json.dumps(
            {"run_id": self._run_id, "seconds": self._seconds, "released": released, **identity()}, indent=1
        ).encode()


def epochs(store: Store) -> list[int]:
    """Epochs of a destination, ascending."""
    return sorted(int(name) for name in store.names(FOLDER) if name.isdigit())


def read_holder(store: Store, epoch: int) -> dict[str, Any]:
    """Who holds, or held, an epoch; empty if it does not say."""
    try:
        content = json.loads(store.read(_key(epoch)))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def identity() -> dict[str, Any]:
    """This process, told from every other one, on this host and elsewhere."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": os.environ.get(JOB_VARIABLE),
        "submission": os.environ.get(SUBMISSION_VARIABLE),
    }


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a holder ran on this host and its process is gone."""
    if holder.get("boot") != _boot() or holder.get("host") != socket.gethostname() or not _boot():
        return False
    started = _started(int(holder.get("pid", 0)))
    return started is None or started != holder.get("started")


def describe(holder: Mapping[str, Any]) -> str:
    """A holder, for a person."""
    job = f"job {mark.split('/')[0]}, " if (mark := holder.get("submission")) else ""
    place = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return f"run {holder.get('run_id', '?')} ({job}{place})"


def _key(epoch: int) -> str:
    return f"{FOLDER}/{epoch:010d}"


def _boot() -> str:
    """This boot of this host, and its space of process numbers; empty where there is no such thing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot; None if it is gone, or ended and not yet buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
