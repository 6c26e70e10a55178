"""XMP packets as raw bytes of the file, in UTF-8."""

from __future__ import annotations

import re

_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8](?=\s*(?:["']|</))""")

_CLAIMS = {
    b"http://ns.google.com/photos/1.0/container/": rb"Directory",
    b"http://ns.google.com/photos/1.0/camera/": rb"(?:MotionPhoto|MicroVideo)\w*",
    b"http://ns.google.com/photos/1.0/depthmap/": rb"\w+",
    b"http://ns.google.com/photos/1.0/image/": rb"\w+",
    b"http://ns.google.com/photos/1.0/audio/": rb"\w+",
    b"http://ns.adobe.com/hdr-gain-map/1.0/": rb"\w+",
    b"http://ns.apple.com/HDRGainMap/1.0/": rb"\w+",
    b"http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP",
    b"http://ns.adobe.com/xap/1.0/": rb"Thumbnails",
}
"""Namespaces, and their properties that are about other parts of the file than its image: videos behind it,
gain maps, depths, sounds, more XMP; and previews, which show the degraded image."""


def upright(packet: bytes) -> bytes:
    """Set the orientation in a packet to 1, as attribute or element, after it was applied to the pixels."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)


def of_the_image_alone(packet: bytes) -> bytes:
    """Remove the properties, as attributes or elements, that speak of parts of the file that are not kept."""
    for namespace, names in _CLAIMS.items():
        declared = re.findall(
            rb"""xmlns:([\w.-]+)\s*=\s*["']""" + re.escape(namespace) + rb"""["']""", packet
        )
        for prefix in set(declared):
            name = re.escape(prefix) + b":" + names
            packet = re.sub(rb"\s+" + name + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", b"", packet)
            element = rb"<(" + name + rb")(?:\s[^>]*?)?(?:/>|>.*?</\1\s*>)"
            packet = re.sub(element, b"", packet, flags=re.DOTALL)
    return packet
