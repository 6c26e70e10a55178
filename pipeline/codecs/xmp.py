"""XMP packets as raw bytes of the file, in UTF-8."""

from __future__ import annotations

import re

_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8](?=\s*(?:["']|</))""")


def upright(packet: bytes) -> bytes:
    """Set the orientation in a packet to 1, as attribute or element, after it was applied to the pixels."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)
