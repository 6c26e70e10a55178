"""The machine that a process runs on, and its place in Ray."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import cache
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's memory limit, in control groups version 2 and 1."""


def memory_bytes() -> int:
    """Bytes of memory of this machine, or the limit of its container if that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or its content is `max`
            found = min(found, int(file.read_text()))
    return found


@cache
def node_name() -> str:
    """The name of this machine, as rows record it."""
    return socket.gethostname()


@cache
def place() -> str:
    """Where in Ray this process is: the id of its node, a slash, and the id of its actor.

    A restarted actor keeps its id. Outside of Ray there is no node, and the process id is the actor's.
    """
    import ray

    if not ray.is_initialized():
        return f"/{os.getpid()}"
    here = ray.get_runtime_context()
    return f"{here.get_node_id()}/{here.get_actor_id() or os.getpid()}"


def node_of(place: str) -> str:
    """Ray's id of the node of a place."""
    return place.partition("/")[0]


def assigned(resource: str) -> float:
    """How much of a resource Ray has assigned to this process: `CPU` or `GPU`; 0 outside of an actor."""
    import ray

    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return 0.0
    return float(ray.get_runtime_context().get_assigned_resources().get(resource, 0))


def was_restarted() -> bool:
    """Whether this process is an actor's that has died before."""
    import ray

    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return False
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)
