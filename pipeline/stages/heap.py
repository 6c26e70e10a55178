"""Keeps memory that a stage frees in its process for the next image, up to a bound."""

from __future__ import annotations

import contextlib
import ctypes

KEPT_BYTES = 64 << 20
"""Freed bytes at the end of a heap that glibc keeps: only beyond them it returns memory to the system."""
MAPPED_BYTES = 32 << 20
"""Size from which glibc maps a block by itself and returns it as soon as it is freed: its highest setting."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Set both thresholds in glibc; does nothing with another C library.

    By default glibc returns an image's arrays to the system after each image, and the next image's arrays are
    faulted in page by page: half the time that scoring a small image takes.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
