"""Inks go to sRGB and back through their profile, and only a profile that fits is used."""

from __future__ import annotations

import io

import numpy as np
import pytest
from broken_images import gradient, saved
from inks import cmyk_profile, srgb_profile
from PIL import Image
from round_trips import again, decoded, psnr, smooth

from pipeline.codecs.codec import Metadata, Picture
from pipeline.errors import CodecError, ErrorCode


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_go_through_their_profile_and_back(format: str) -> None:
    inks = np.concatenate([smooth(40, 50, 3, 8, 4), smooth(40, 50, 1, 8, 9) // 3], axis=2)
    profile = cmyk_profile()
    image = Image.frombytes("CMYK", (50, 40), inks.tobytes())
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    picture = decoded(saved(format, image, icc_profile=profile, **options))
    assert (picture.mode, picture.pixels.shape, picture.losses) == ("CMYK", (40, 50, 3), ("separation",))
    expected = np.rint((1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255) * 255).astype(np.uint8)
    assert psnr(picture.pixels, expected) > 33
    encoded = again(picture)
    with Image.open(io.BytesIO(encoded.data)) as written:
        assert written.mode == "CMYK"
        assert written.info["icc_profile"] == profile
    assert psnr(decoded(encoded.data).pixels, picture.pixels) > 33
    as_png = again(picture, "PNG")
    assert as_png.losses == ("separation", "cmyk")
    assert decoded(as_png.data).metadata.icc is None


def test_inks_without_a_usable_profile_are_refused() -> None:
    image = gradient().convert("CMYK")
    for profile in (None, srgb_profile(), b"no profile" * 20):
        with pytest.raises(CodecError, match="profile") as caught:
            decoded(saved("TIFF", image, icc_profile=profile))
        assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_profile_of_another_colour_space_is_not_written() -> None:
    picture = Picture(smooth(8, 8, 1, 8, 1), None, "PNG", "L", Metadata(icc=srgb_profile()))
    assert again(picture).losses == ("icc",)
