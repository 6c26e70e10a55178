"""Address space of this process."""

from __future__ import annotations

import os
import resource
from functools import cache


def address_space() -> int:
    """Bytes of address space in use; 0 if the system does not report it."""
    try:
        return int(os.pread(_counts(), 64, 0).split()[0]) * resource.getpagesize()
    except OSError:
        return 0


@cache
def _counts() -> int:
    """The kernel's counts of this process' pages, left open: a confined process could not open them."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
