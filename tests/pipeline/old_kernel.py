"""Attacks from a decoder's child on a kernel without seccomp, Landlock or both: makes this one refuse them.

    python old_kernel.py FILE CALLS ATTACKS     # two lists in JSON: numbers of calls, names of attacks

Prints JSON: how each attack went, the width of an image that was decoded after them, whether this process may
be dumped, and the decoder's warning. What is logged goes to standard error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import struct
import sys
from pathlib import Path

import attacks
from broken_images import MAX_PIXELS, saved

from pipeline.codecs.sandbox import Decoder
from pipeline.errors import CodecError

PR_GET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 3, 38, 22


def refuse(calls: list[int]) -> None:
    """Make the kernel say to this process, and to all that it starts, that it does not know these calls."""
    load, if_equal, give = 0x20, 0x15, 0x06
    program = struct.pack("=HBBI", load, 0, 0, 0)
    for number in calls:
        program += struct.pack("=HBBI", if_equal, 0, 1, number)
        program += struct.pack("=HBBI", give, 0, 0, 0x00050000 | errno.ENOSYS)
    program += struct.pack("=HBBI", give, 0, 0, 0x7FFF0000)
    code = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    assert library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert library.prctl(PR_SET_SECCOMP, 2, whole) == 0


def outcome(decoder: Decoder, name: str, path: Path) -> str:
    """How an attack on this process went."""
    try:
        decoder.decode(attacks.request(name, os.getpid(), path), max_pixels=MAX_PIXELS)
    except CodecError as error:
        return error.message
    raise AssertionError("an attack gives no picture")


def main() -> None:
    path, calls, names = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    if calls:
        refuse(calls)
    with Decoder(1 << 29, 20.0, decode=attacks.DECODE) as decoder:
        outcomes = {name: outcome(decoder, name, path) for name in names}
    with Decoder(1 << 29, 20.0) as decoder:
        width = decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS).width
    dumpable = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    print(json.dumps([outcomes, width, dumpable, decoder.warning]))


if __name__ == "__main__":
    main()
