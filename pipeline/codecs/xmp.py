"""XMP packets as the bytes that the file holds, in UTF-8."""

from __future__ import annotations

import re

_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8](?=\s*(?:["']|</))""")


def upright(packet: bytes) -> bytes:
    """A packet for an image whose orientation has been applied: 1, as attribute or element, in place."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)
