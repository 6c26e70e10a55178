"""Memory of the machine that a process runs on."""

from __future__ import annotations

import contextlib
import os
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
