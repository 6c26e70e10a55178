"""What the machine that a process runs on has to give."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds what it may take, by the second and the first version of control groups."""


def memory_bytes() -> int:
    """The memory of this machine, or what its container may take of it, if that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says `max`
            found = min(found, int(file.read_text()))
    return found
