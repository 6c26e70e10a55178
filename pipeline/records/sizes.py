"""How large the images of a listing are, from the sizes and names of their files: before any is read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS

PIXELS_PER_BYTE = {"JPEG": 8, "JPEG2000": 8, "WEBP": 12, "AVIF": 16, "HEIF": 16, "PNG": 2}
"""Bytes of pixels for a byte of a photograph's file, by format; others hold pixels as they are."""
UNKNOWN_BYTES = 2 << 20
"""Assumed size of a file that the listing does not know: of rows of tables, and some web addresses."""
SHARE = 0.95
"""Of all bytes of pixels: those in images no larger than `PixelSizes.large`."""


class PixelSizes:
    """Counts bytes of pixels by the power of two that the image's own do not exceed."""

    def __init__(self) -> None:
        self._bytes = np.zeros(64)

    def add(self, inputs: pa.RecordBatch) -> None:
        """Count inputs, with the columns of a listing."""
        endings = pc.utf8_lower(pc.replace_substring_regex(inputs["source_key"], r"^.*\.", "."))
        endings = endings.dictionary_encode()
        formats = [SUPPORTED_EXTENSIONS.get(ending, "JPEG") for ending in endings.dictionary.to_pylist()]
        ratios = np.array([PIXELS_PER_BYTE.get(name, 1) for name in formats], np.float64)
        sizes = inputs["source_size"].to_numpy()
        pixels = np.maximum(np.where(sizes < 0, UNKNOWN_BYTES, sizes) * ratios[endings.indices], 1)
        self._bytes += np.bincount(np.ceil(np.log2(pixels)).astype(int), pixels, len(self._bytes))

    def large(self) -> int:
        """Bytes of pixels of an image that is larger than most. Rare larger ones meet each other rarely."""
        sums = np.cumsum(self._bytes)
        return int(2 ** np.searchsorted(sums, SHARE * sums[-1])) if sums[-1] else 0
