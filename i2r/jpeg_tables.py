"""The quantisation tables of JPEG files: parameters of the degradation that the file itself contains.

This module does not need torch, so that the code that decodes files can read the tables.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from PIL import Image, JpegImagePlugin

from i2r.errors import FormError

SIDE = 8
"""Side of a block in pixels."""


@dataclass(frozen=True)
class JpegTables:
    """Quantisation steps and chroma subsampling of a JPEG file.

    Attributes:
        luma, chroma: 64 quantisation steps each, row by row, in 8-bit units of the orthonormal DCT.
        sampling: image pixels per chroma sample, (down, across).
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    sampling: tuple[int, int]

    @classmethod
    def of_file(cls, picture: JpegImagePlugin.JpegImageFile) -> Self:
        """Read the tables of an opened file. A gray file gets its luma table as chroma, which is never used.

        Raises:
            FormError: the file is neither gray nor RGB, or its subsampling is none of 4:4:4, 4:2:2 and 4:2:0.
        """
        tables = {index: tuple(table) for index, table in picture.quantization.items()}
        if picture.mode == "L":
            luma = tables[picture.layer[0][3]]
            return cls(luma, luma, (1, 1))
        if picture.mode != "RGB":
            raise FormError(f"a JPEG file of mode {picture.mode} holds no luma: only gray and RGB do")
        luma_layer, *chroma_layers = picture.layer
        down, across = luma_layer[2], luma_layer[1]
        if {layer[1:] for layer in chroma_layers} != {(1, 1, chroma_layers[0][3])} or max(down, across) > 2:
            raise FormError(
                f"a JPEG file with the sampling {picture.layer} is none of 4:4:4, 4:2:2 and 4:2:0"
            )
        return cls(tables[luma_layer[3]], tables[chroma_layers[0][3]], (down, across))

    @classmethod
    def standard(cls, quality: int, sampling: tuple[int, int] = (2, 2)) -> Self:
        """Return libjpeg's tables for a quality from 1 to 100."""
        return cls(*standard_steps(quality), sampling)

    def parameters(self) -> dict[str, Any]:
        return {"luma": list(self.luma), "chroma": list(self.chroma), "sampling": list(self.sampling)}


@cache
def standard_steps(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return libjpeg's quantisation steps of luma and chroma for a quality from 1 to 100."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        assert isinstance(picture, JpegImagePlugin.JpegImageFile)
        return tuple(picture.quantization[0]), tuple(picture.quantization[1])
