"""A decoder for the sandbox's child that does what the image says: real ones crash too, but not on demand."""

from __future__ import annotations

import ctypes
import os
import time

from pipeline.codecs import codec
from pipeline.codecs.codec import Picture

DECODE = "poison:decode"
"""For `Decoder(…, decode=…)`; this folder is on the path of every test."""

CRASH, ABORT, HANG, BOMB, LIE = b"CRASH", b"ABORT", b"HANG", b"BOMB", b"LIE"


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Crash, hang, take all memory or send nonsense if `data` begin with such a word; decode otherwise."""
    if data.startswith(CRASH):
        ctypes.string_at(0)
    if data.startswith(ABORT):
        os.abort()
    if data.startswith(HANG):
        time.sleep(3600)
    if data.startswith(BOMB):
        hoard = []
        while True:
            hoard.append(bytearray(16 << 20))
    if data.startswith(LIE):
        os.write(0, data.removeprefix(LIE))
        time.sleep(3600)
    return codec.decode(data, max_pixels=max_pixels)
