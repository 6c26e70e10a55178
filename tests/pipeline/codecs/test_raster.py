"""One bit and palettes become channels of gray or colour."""

from __future__ import annotations

import numpy as np
from broken_images import gradient, saved
from round_trips import decoded


def test_one_bit_becomes_gray() -> None:
    image = gradient().convert("1")
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        picture = decoded(saved(format, image))
        assert picture.losses == ("bilevel",)
        np.testing.assert_array_equal(picture.pixels[..., 0], np.asarray(image) * np.uint8(255))


def test_a_palette_becomes_full_colour() -> None:
    image = gradient().quantize(16)
    for format in ("PNG", "TIFF", "BMP"):
        picture = decoded(saved(format, image))
        assert (picture.mode, picture.losses) == ("P", ("palette",))
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert("RGB")))
    gray = gradient().convert("L").convert("P")
    assert decoded(saved("PNG", gray)).pixels.shape == (64, 96, 1)
    transparent = decoded(saved("PNG", image, transparency=0))
    assert transparent.alpha is not None
    np.testing.assert_array_equal(transparent.alpha == 0, np.asarray(image) == 0)
