"""Objects that are no inputs, in words: how many, by extension, and what would make images of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS

_RAW = (
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
_CONTAINERS = (".tar", ".tgz", ".zip", ".parquet")
_ADVICE: Mapping[str, tuple[str, ...]] = {
    "images of phones: pip install 'invert2restore[heif]' restores them": (".heic", ".heif", ".hif"),
    "readings of a sensor, not pictures yet: develop them to TIFF, and restore that": _RAW,
    "at most 256 colours, often in motion, which could not hold a result: convert stills to PNG": (".gif",),
    "JPEG XL is not read yet: convert it to PNG or TIFF (djxl)": (".jxl",),
    "documents: take the pictures out of them (pdfimages)": (".pdf",),
    "layers: save a flat TIFF": (".psd", ".psb", ".xcf"),
    "archives of images are opened if a glob names them, such as '**/*.zip'": _CONTAINERS,
}
"""What to do with files that people take for images, to the extensions of these."""


def in_words(ignored: Mapping[str, int]) -> Iterator[str]:
    """Lines about ignored objects: their numbers by extension, and advice for those that hold pictures."""
    if not ignored:
        return
    yield "ignored: " + ", ".join(f"{number} {extension}" for extension, number in sorted(ignored.items()))
    for advice, extensions in _ADVICE.items():
        found = [extension for extension in extensions if extension in ignored]
        if found and not SUPPORTED_EXTENSIONS.keys() & set(found):
            yield f"  {', '.join(found)}: {advice}"
