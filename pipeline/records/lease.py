"""The lease of a destination: numbered objects under `DEST/_i2r/lease/`, each created only if absent.

A number is an epoch; a run takes the lease by creating the next epoch. A holder that sees a higher epoch than
its own stops, and so do the processes that write for it (`Epoch`). Time is measured on the store's clock: a
holder that has not renewed its object for longer than the time recorded in it counts as dead. The lease is
taken at once from a holder that is known to be dead: its process no longer exists on this host, or it is an
earlier attempt of the same job (whatever starts an attempt makes sure that the one before has ended).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ItemError, LeaseHeldError, LeaseLostError, RunError
from pipeline.storage.store import PRIVATE, Store

FOLDER = f"{PRIVATE}/lease"
JOB_VARIABLE = "I2R_JOB"
"""Environment variable with the job of which this process is an attempt: a later one takes the lease over."""
SUBMISSION_VARIABLE = "I2R_SUBMISSION"
"""Environment variable that identifies this attempt: `<id of the job on its cluster>/<random text>`."""
KEPT_EPOCHS = 16
_RENEWALS = 4
"""Renewals, and looks of each process, within the time after which a holder counts as dead."""
_PAUSE = 1.0
"""Seconds from a look that the store did not answer to the next one."""


class Epoch:
    """What a process that writes knows of the lease: whether its epoch is still the highest.

    Threads may share it; it cannot be pickled.

    Args:
        store: the destination.
        number: of the epoch, 0 before there is one.
        seconds: without a renewal, after which other runs may take the lease.
    """

    def __init__(self, store: Store, number: int, seconds: float) -> None:
        self._store, self.number, self._seconds = store, number, seconds
        self._turn, self._due, self._lost = threading.Lock(), 0.0, False

    def check(self, *, now: bool = False) -> None:
        """Raise LeaseLostError if another run took the lease over; to be called before every write.

        It looks at the store every so many seconds, and at once after the process was suspended. Where the
        store does not answer it passes: such a store takes no writes either.

        Args:
            now: look at the store, however long ago the last time was.
        """
        with self._turn:
            if not self._lost and (now or time.monotonic() >= self._due):
                self._look()
            if self._lost:
                raise LeaseLostError(
                    f"another run took over {self._store.uri()}, as this one gave no sign of life: "
                    "this one stops"
                )

    def _look(self) -> None:
        pause = self._seconds / _RENEWALS
        try:
            self._lost = max(epochs(self._store), default=0) > self.number
        except ItemError:
            pause = _PAUSE
        self._due = time.monotonic() + pause


class Lease:
    """The right to write to a destination; a context manager.

    Args:
        store: the destination.
        run_id: of the run that holds it.
        seconds: without a renewal, after which other runs may take the lease.

    Raises:
        LeaseHeldError: on entry, if another run holds it.
        RunError: on entry, if the destination takes no writes, or replaces what is only to be created.
    """

    def __init__(self, store: Store, run_id: str, seconds: float) -> None:
        self._store, self._run_id, self._seconds = store, run_id, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._held = Epoch(store, 0, seconds)

    @property
    def epoch(self) -> int:
        """The epoch that it holds."""
        return self._held.number

    def __enter__(self) -> Lease:
        held = epochs(self._store)
        last = held[-1] if held else 0
        if last and not self._may_take(last, holder := read_holder(self._store, last)):
            raise LeaseHeldError(
                f"{self._store.uri()} is being written by {describe(holder)}: "
                "wait for it, stop it, or choose another DEST"
            )
        self._probe()
        self._held = Epoch(self._store, last + 1, self._seconds)
        content = self._content()
        # If the first request succeeded but its answer did not arrive, the retry finds this run's own object.
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
        with contextlib.suppress(ItemError, RunError):  # the lease is lost, or then expires by itself
            self._held.check()
            self._store.write(_key(self.epoch), self._content(released=True))

    def check(self, *, now: bool = False) -> None:
        """Raise LeaseLostError if another run took the lease over; see `Epoch.check`."""
        self._held.check(now=now)

    def _probe(self) -> None:
        """Create one object twice. Raises RunError if the store lets both do it, as it would let two runs."""
        probe = f"{FOLDER}/probe-{secrets.token_hex(8)}"
        try:
            self._store.create(probe, b"first")
            if self._store.create(probe, b"second") or self._store.read(probe) != b"first":
                raise RunError(
                    f"{self._store.uri()} replaces objects that are to be created only if absent, so two "
                    "runs could write there at once: update the store to a version that heeds If-None-Match, "
                    "or choose another DEST"
                )
        finally:
            self._store.delete(probe)

    def _may_take(self, epoch: int, holder: Mapping[str, Any]) -> bool:
        if holder.get("released") or is_dead(holder):
            return True
        if (job := os.environ.get(JOB_VARIABLE)) and holder.get("job") == job:
            return True
        return self._now() - self._store.modified(_key(epoch)) > float(holder.get("seconds", self._seconds))

    def _now(self) -> float:
        """The time on the store's clock, from an object written just now."""
        probe = f"{FOLDER}/clock-{secrets.token_hex(8)}"
        self._store.write(probe, b"")
        try:
            return self._store.modified(probe)
        finally:
            self._store.delete(probe)

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / _RENEWALS):
            try:
                self._held.check(now=True)
                self._store.write(_key(self.epoch), self._content())
            except LeaseLostError:
                return
            except (ItemError, RunError):
                continue  # the store does not answer; a higher epoch is seen once it does

    def _content(self, *, released: bool = False) -> bytes:
        return json.dumps(
            {"run_id": self._run_id, "seconds": self._seconds, "released": released, **identity()}, indent=1
        ).encode()


def epochs(store: Store) -> list[int]:
    """The epochs of a destination, ascending."""
    return sorted(int(name) for name in store.names(FOLDER) if name.isdigit())


def read_holder(store: Store, epoch: int) -> dict[str, Any]:
    """The holder of an epoch, present or past; empty if its object is not readable JSON."""
    try:
        content = json.loads(store.read(_key(epoch)))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def identity() -> dict[str, Any]:
    """Values that identify this process among all processes on all hosts."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": os.environ.get(JOB_VARIABLE),
        "submission": os.environ.get(SUBMISSION_VARIABLE),
    }


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a holder ran on this host and its process no longer exists."""
    if holder.get("boot") != _boot() or holder.get("host") != socket.gethostname() or not _boot():
        return False
    started = _started(int(holder.get("pid", 0)))
    return started is None or started != holder.get("started")


def describe(holder: Mapping[str, Any]) -> str:
    """A holder in words, for messages."""
    job = f"job {mark.split('/')[0]}, " if (mark := holder.get("submission")) else ""
    place = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return f"run {holder.get('run_id', '?')} ({job}{place})"


def _key(epoch: int) -> str:
    return f"{FOLDER}/{epoch:010d}"


def _boot() -> str:
    """This host's boot id and the process's PID namespace; empty if the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time of a process in ticks since boot; None if it has ended, or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
