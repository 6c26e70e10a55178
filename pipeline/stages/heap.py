"""Memory that the stages free stays with their process for the next image, up to a bound."""

from __future__ import annotations

import contextlib
import ctypes

KEPT_BYTES = 64 << 20
"""Of freed memory at the end of a heap, that go back to the system no sooner than there are more of them."""
MAPPED_BYTES = 32 << 20
"""Of one block from which on it is memory of its own, which goes back at once: the most that glibc takes."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Tell glibc so; where there is another C library nothing happens.

    By itself it gives back an image's arrays after each of them, and the next image's have to be faulted in
    page by page: half the time that scoring a small image takes.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
