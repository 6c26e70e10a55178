"""AVIF: monochrome stays so, and depth beyond eight bits is named."""

from __future__ import annotations

import imagecodecs
from broken_images import gradient, saved
from round_trips import again, decoded, psnr, smooth


def test_monochrome_avif_stays_monochrome() -> None:
    picture = decoded(saved("AVIF", gradient().convert("L")))
    assert picture.pixels.shape == (64, 96, 1)
    assert decoded(again(picture).data).pixels.shape == (64, 96, 1)


def test_avif_of_ten_bits_says_what_it_loses() -> None:
    samples = smooth(32, 32, 3, 16, 1) >> 6
    picture = decoded(bytes(imagecodecs.avif_encode(samples, level=90, bitspersample=10)))
    assert picture.losses == ("bit_depth",)


def test_avif_without_loss_says_that_it_comes_back_with_loss() -> None:
    samples = smooth(48, 64, 3, 8, 1)
    picture = decoded(bytes(imagecodecs.avif_encode(samples)))
    assert (picture.pixels == samples).all()
    assert picture.losses == ()
    encoded = again(picture)
    assert encoded.losses == ("lossless",)
    assert psnr(decoded(encoded.data).pixels, samples) > 48
    assert again(decoded(again(picture, "PNG").data), "AVIF").losses == ()
    assert not decoded(saved("AVIF", quality=100)).lossless
