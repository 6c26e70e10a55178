"""Address space of this process."""

from __future__ import annotations

import resource
from pathlib import Path


def address_space() -> int:
    """Bytes of address space in use; 0 if the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
