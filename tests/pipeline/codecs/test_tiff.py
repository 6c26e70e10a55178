"""TIFF as others write it: compressions, layouts, depths, alpha, and tags of any kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from broken_images import gradient, saved
from PIL import Image
from round_trips import again, decoded, exif_block, psnr, smooth


@pytest.mark.parametrize(
    "compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "jpeg", "group4"]
)
def test_tiffs_of_any_compression_are_read(compression: str) -> None:
    image = gradient().convert("1") if compression == "group4" else gradient()
    picture = decoded(saved("TIFF", image, compression=compression))
    assert psnr(picture.pixels[..., 0], np.asarray(image.convert("RGB"))[..., 0]) > 30


@pytest.mark.parametrize("turn", range(1, 9))
def test_pages_of_one_bit_are_turned_and_lose_no_pixel(turn: int) -> None:
    page = Image.fromarray(np.random.default_rng(0).random((40, 52)) < 0.1)
    stream = io.BytesIO()
    page.save(stream, "TIFF", compression="group4", tiffinfo={0x0112: turn})
    with Image.open(io.BytesIO(stream.getvalue())) as stored:
        stored.load()  # which turns it
        expected = np.asarray(stored.convert("L"))
    first = decoded(stream.getvalue())
    assert expected.shape == ((40, 52) if turn < 5 else (52, 40))
    np.testing.assert_array_equal(first.pixels[..., 0], expected)
    np.testing.assert_array_equal(decoded(again(first).data).pixels, first.pixels)


def test_channels_beyond_colour_and_alpha_are_left_out_by_name() -> None:
    samples = smooth(20, 30, 3, 8, 1)
    for depth in (np.uint8, np.uint16):
        stream = io.BytesIO()
        extra = np.dstack([samples, samples[..., :1]]).astype(depth)
        tifffile.imwrite(stream, extra, photometric="rgb", extrasamples=["unspecified"])
        picture = decoded(stream.getvalue())
        assert (picture.alpha, picture.losses) == (None, ("extra_channels",))
        np.testing.assert_array_equal(picture.pixels, samples)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_tiffs_of_others_keep_every_bit(
    planar: str, compression: str, order: str, channels: int
) -> None:
    samples = smooth(20, 33, 3, 16, 2)
    samples = np.concatenate([samples, 65535 - samples[..., :1]], axis=2)[
        ..., [[0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels - 1]
    ]
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.moveaxis(samples, -1, 0) if planar == "separate" and channels > 1 else np.squeeze(samples),
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig=planar if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression=compression,
        byteorder=order,
        bigtiff=planar == "separate",
        tile=(16, 16) if compression == "lzw" else None,
    )
    picture = decoded(stream.getvalue())
    found = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    np.testing.assert_array_equal(found, samples)
    np.testing.assert_array_equal(np.squeeze(samples), tifffile.imread(io.BytesIO(again(picture).data)))


def test_associated_alpha_of_16_bits_is_divided_out() -> None:
    colours, alpha = smooth(12, 10, 3, 16, 3), smooth(12, 10, 1, 16, 4)
    stored = np.rint(colours * (alpha / 65535)).astype(np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.dstack([stored, alpha]), photometric="rgb", extrasamples=["assocalpha"])
    picture = decoded(stream.getvalue())
    assert psnr(picture.pixels, colours) > 60


def test_white_is_zero_is_turned_round() -> None:
    for bits in (8, 16):
        pixels = smooth(9, 7, 1, bits, 3)
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.iinfo(pixels.dtype).max - pixels[..., 0], photometric="miniswhite")
        np.testing.assert_array_equal(decoded(stream.getvalue()).pixels, pixels)


def test_tags_move_between_tiff_and_other_formats() -> None:
    tiff = again(decoded(saved("JPEG", exif=b"Exif\0\0" + exif_block(6))), "TIFF")
    with Image.open(io.BytesIO(tiff.data)) as image:
        assert image.size == (64, 96)
        assert image.tag_v2[0x010F] == "Kodak"
        assert image.getexif().get_ifd(0x8769)[0x9003] == "1911:05:01 12:00:00"
    png = again(decoded(tiff.data), "PNG")
    with Image.open(io.BytesIO(png.data)) as image:
        assert image.getexif()[0x010F] == "Kodak"
        assert 0x0100 not in image.getexif()


def test_tags_that_we_do_not_know_stay_in_a_tiff() -> None:
    stream = io.BytesIO()
    place = (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0)
    tifffile.imwrite(
        stream, np.asarray(gradient()), photometric="rgb", extratags=[(33922, 12, 6, place, True)]
    )
    encoded = again(decoded(stream.getvalue()))
    assert encoded.losses == ()
    with tifffile.TiffFile(io.BytesIO(encoded.data)) as file:
        assert file.pages[0].tags[33922].value == place


def test_tiff_previews_and_masks_are_left_out_by_name() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.asarray(gradient()), photometric="rgb")
        writer.write(np.asarray(gradient().resize((24, 16))), photometric="rgb", subfiletype=1)
    assert decoded(stream.getvalue()).losses == ("secondary_images",)
