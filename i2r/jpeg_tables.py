"""The quantisation tables of JPEG files: the parameters of a degradation that a file tells of itself.

Nothing here needs torch, so that whoever decodes a file can note them.
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
    """How coarsely a file stores its coefficients.

    Attributes:
        luma, chroma: 64 steps each, row by row, in 8-bit units of the orthonormal transform.
        sampling: pixels of the image in one of chroma, (down, across).
    """

    luma: tuple[int, ...]
    chroma: tuple[int, ...]
    sampling: tuple[int, int]

    @classmethod
    def of_file(cls, picture: JpegImagePlugin.JpegImageFile) -> Self:
        """What an opened file tells of itself; gray files are given chroma that is never seen.

        Raises:
            FormError: the file is of another colour space, or samples its chroma in an unusual way.
        """
        tables = {index: tuple(table) for index, table in picture.quantization.items()}
        if picture.mode == "L":
            luma = tables[picture.layer[0][3]]
            return cls(luma, luma, (1, 1))
        if picture.mode != "RGB":
            raise FormError(f"a JPEG file of mode {picture.mode} tells no luma: only gray and RGB do")
        luma_layer, *chroma_layers = picture.layer
        down, across = luma_layer[2], luma_layer[1]
        if {layer[1:] for layer in chroma_layers} != {(1, 1, chroma_layers[0][3])} or max(down, across) > 2:
            raise FormError(
                f"a JPEG file with the sampling {picture.layer} is none of 4:4:4, 4:2:2 and 4:2:0"
            )
        return cls(tables[luma_layer[3]], tables[chroma_layers[0][3]], (down, across))

    @classmethod
    def standard(cls, quality: int, sampling: tuple[int, int] = (2, 2)) -> Self:
        """The tables that libjpeg makes of a quality from 1 to 100."""
        return cls(*standard_steps(quality), sampling)

    def parameters(self) -> dict[str, Any]:
        return {"luma": list(self.luma), "chroma": list(self.chroma), "sampling": list(self.sampling)}


@cache
def standard_steps(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The steps of luma and chroma that libjpeg makes of a quality from 1 to 100."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        assert isinstance(picture, JpegImagePlugin.JpegImageFile)
        return tuple(picture.quantization[0]), tuple(picture.quantization[1])
