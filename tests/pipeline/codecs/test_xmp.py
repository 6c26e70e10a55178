"""XMP that tells an orientation turns no image, and says 1 where another's was applied."""

from __future__ import annotations

import pytest
from broken_images import saved
from round_trips import HEIF, again, decoded, exif_block, smooth

from pipeline.codecs.codec import Metadata, Picture

XMP_TURNED = [
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d" tiff:Make="6"/>',
    b"<rdf:Description tiff:Orientation = '%d'/>",
    b"<rdf:Description><tiff:Orientation>%d</tiff:Orientation><tiff:Make>6</tiff:Make></rdf:Description>",
    b"<rdf:Description><tiff:Orientation>\n %d\n</tiff:Orientation></rdf:Description>",
]


@pytest.mark.parametrize("packet", XMP_TURNED, ids=["attribute", "spaced", "element", "lines"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", *HEIF])
def test_xmp_turns_nothing_again(format: str, bits: int, packet: bytes) -> None:
    pixels = smooth(20, 30, 3, bits, 1)
    metadata = Metadata(exif=exif_block(6), xmp=packet % 6)
    picture = decoded(again(Picture(pixels, None, format, "RGB", metadata)).data)
    if format == "AVIF":  # ours says no orientation there: Pillow's has one
        picture = decoded(saved("AVIF", exif=b"Exif\0\0" + exif_block(6), xmp=packet % 6))
    assert picture.height > picture.width
    assert picture.metadata.xmp == packet % 1


@pytest.mark.parametrize("packet", XMP_TURNED, ids=["attribute", "spaced", "element", "lines"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", *HEIF])
@pytest.mark.parametrize("exif", [None, exif_block(1)])
def test_xmp_alone_turns_nothing(format: str, packet: bytes, exif: bytes | None) -> None:
    metadata = Metadata(exif=exif, xmp=packet % 6)
    picture = decoded(again(Picture(smooth(20, 30, 3, 8, 1), None, format, "RGB", metadata)).data)
    assert picture.width > picture.height
    assert picture.metadata.xmp == packet % (1 if format == "HEIF" else 6)
