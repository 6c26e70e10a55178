"""AVIF: monochrome stays so, and depth beyond eight bits is named."""

from __future__ import annotations

import imagecodecs
from broken_images import gradient, saved
from round_trips import again, decoded, smooth


def test_monochrome_avif_stays_monochrome() -> None:
    picture = decoded(saved("AVIF", gradient().convert("L")))
    assert picture.pixels.shape == (64, 96, 1)
    assert decoded(again(picture).data).pixels.shape == (64, 96, 1)


def test_avif_of_ten_bits_says_what_it_loses() -> None:
    samples = smooth(32, 32, 3, 16, 1) >> 6
    picture = decoded(bytes(imagecodecs.avif_encode(samples, level=90, bitspersample=10)))
    assert picture.losses == ("bit_depth",)
