"""What goes through the codecs comes back: pixels, depth, alpha, and what the file says of itself."""

from __future__ import annotations

import io
import pickle
import struct
import sys
from dataclasses import fields, replace
from typing import NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from broken_images import BROKEN, gradient, saved
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inks import cmyk_profile, srgb_profile
from PIL import Image, ImageOps
from round_trips import HEIF, XMP, again, decoded, exif_block, psnr, smooth

from pipeline.codecs import ifd
from pipeline.codecs.codec import SUPPORTED_EXTENSIONS, Metadata, Picture, decode, encode
from pipeline.errors import MAX_MESSAGE, CodecError, ErrorCode

IPTC = b"\x1c\x02\x05\x00\x07Harbour\x1c\x02\x50\x00\x07Unknown"
CHUNKS = ((b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0Harbour"))


class Kind(NamedTuple):
    """A format, and what it holds in which mode."""

    format: str
    mode: str
    channels: int
    alpha: bool = False
    bits: int = 8
    lossless: bool = True
    keeps: str = ""


_PNG, _TIFF, _JP2 = "exif xmp iptc icc dpi chunks", "exif xmp iptc icc dpi", "exif xmp iptc icc"
KINDS = [
    Kind("JPEG", "L", 1, lossless=False, keeps="exif xmp iptc icc dpi comment"),
    Kind("JPEG", "RGB", 3, lossless=False, keeps="exif xmp iptc icc dpi comment"),
    Kind("PNG", "L", 1, keeps=_PNG),
    Kind("PNG", "LA", 1, alpha=True, keeps=_PNG),
    Kind("PNG", "RGB", 3, keeps=_PNG),
    Kind("PNG", "RGBA", 3, alpha=True, keeps=_PNG),
    Kind("PNG", "I;16", 1, bits=16, keeps=_PNG),
    Kind("PNG", "LA;16", 1, alpha=True, bits=16, keeps=_PNG),
    Kind("PNG", "RGB;16", 3, bits=16, keeps=_PNG),
    Kind("PNG", "RGBA;16", 3, alpha=True, bits=16, keeps=_PNG),
    Kind("WEBP", "RGB", 3, keeps="exif xmp icc"),
    Kind("WEBP", "RGBA", 3, alpha=True, keeps="exif xmp icc"),
    Kind("WEBP", "RGB", 3, lossless=False, keeps="exif xmp icc"),
    Kind("TIFF", "L", 1, keeps=_TIFF),
    Kind("TIFF", "LA", 1, alpha=True, keeps=_TIFF),
    Kind("TIFF", "RGB", 3, keeps=_TIFF),
    Kind("TIFF", "RGBA", 3, alpha=True, keeps=_TIFF),
    Kind("TIFF", "I;16", 1, bits=16, keeps=_TIFF),
    Kind("TIFF", "LA;16", 1, alpha=True, bits=16, keeps=_TIFF),
    Kind("TIFF", "RGB;16", 3, bits=16, keeps=_TIFF),
    Kind("TIFF", "RGBA;16", 3, alpha=True, bits=16, keeps=_TIFF),
    Kind("AVIF", "L", 1, lossless=False, keeps="exif xmp icc"),
    Kind("AVIF", "RGB", 3, lossless=False, keeps="exif xmp icc"),
    Kind("AVIF", "RGBA", 3, alpha=True, lossless=False, keeps="exif xmp icc"),
    Kind("BMP", "L", 1, keeps="icc dpi"),
    Kind("BMP", "RGB", 3, keeps="icc dpi"),
    Kind("BMP", "RGBA", 3, alpha=True, keeps="icc dpi"),
    Kind("JPEG2000", "L", 1, keeps=_JP2),
    Kind("JPEG2000", "LA", 1, alpha=True, keeps=_JP2),
    Kind("JPEG2000", "RGB", 3, keeps=_JP2),
    Kind("JPEG2000", "RGBA", 3, alpha=True, keeps=_JP2),
    Kind("JPEG2000", "I;16", 1, bits=16, keeps=_JP2),
    Kind("JPEG2000", "LA;16", 1, alpha=True, bits=16, keeps=_JP2),
    Kind("JPEG2000", "RGB;16", 3, bits=16, keeps=_JP2),
    Kind("JPEG2000", "RGBA;16", 3, alpha=True, bits=16, keeps=_JP2),
    Kind("JPEG2000", "RGB", 3, lossless=False, keeps=_JP2),
    Kind("PPM", "L", 1),
    Kind("PPM", "RGB", 3),
    Kind("PPM", "I;16", 1, bits=16),
    Kind("PPM", "RGB;16", 3, bits=16),
    Kind("HEIF", "L", 1, lossless=False, keeps="exif xmp icc"),
    Kind("HEIF", "RGB", 3, lossless=False, keeps="exif xmp icc"),
    Kind("HEIF", "RGBA", 3, alpha=True, lossless=False, keeps="exif xmp icc"),
]
KINDS = [kind for kind in KINDS if kind.format in SUPPORTED_EXTENSIONS.values()]


def tags(exif: bytes) -> ifd.Directory:
    """The tags of an EXIF block, without the orientation."""
    layout = ifd.Layout.of(exif)
    found = layout.directory(exif, layout.first)
    found.pop(ifd.ORIENTATION, None)
    return found


def turned(samples: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, …) samples as EXIF orientation `turn` means them."""
    mirrored = samples[:, ::-1] if turn in (2, 4, 5, 7) else samples
    return np.rot90(mirrored, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[turn])


@st.composite
def pictures(draw: st.DrawFn, turns: int = 1) -> tuple[Kind, Picture]:
    """A picture of some kind, with any metadata, its orientation up to `turns`."""
    kind = draw(st.sampled_from(KINDS))
    height, width, seed = draw(st.integers(1, 48)), draw(st.integers(1, 48)), draw(st.integers(0, 2**16))
    pixels = smooth(height, width, kind.channels, kind.bits, seed)
    alpha = None
    if kind.alpha:
        alpha = smooth(height, width, 1, kind.bits, seed + 1)[..., 0]
        alpha[0, 0] = 0
    metadata = Metadata(
        exif=draw(st.none() | st.builds(exif_block, st.integers(1, turns), st.just(width), st.just(height))),
        xmp=draw(st.sampled_from([None, XMP])),
        iptc=draw(st.sampled_from([None, IPTC, IPTC + b"\0"])),
        icc=draw(st.sampled_from([None, srgb_profile()])) if kind.channels == 3 else None,
        dpi=draw(st.sampled_from([None, (300.0, 300.0), (72.0, 144.0)])),
        comment=draw(st.sampled_from([None, b"from the album"])),
        chunks=draw(st.sampled_from([None, CHUNKS])),
    )
    return kind, Picture(pixels, alpha, kind.format, kind.mode, metadata, lossless=kind.lossless)


def assert_same(found: Metadata, wanted: Metadata, keeps: str, format: str) -> None:
    for field in fields(Metadata):
        value = getattr(found, field.name)
        expected = getattr(wanted, field.name) if field.name in keeps.split() else None
        if field.name == "dpi" and expected is not None:
            assert value == pytest.approx(expected, rel=2e-3)
        elif field.name == "dpi":
            continue  # resolution may also come from EXIF
        elif field.name == "exif" and expected is not None and format in ("AVIF", "TIFF"):
            assert tags(value) == tags(
                expected
            )  # these hold the orientation, or all tags, in a way of their own
        else:
            assert value == expected, field.name


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(pictures(turns=8))
def test_every_kind_comes_back(drawn: tuple[Kind, Picture]) -> None:
    kind, picture = drawn
    first = again(picture)
    assert again(picture) == first
    assert SUPPORTED_EXTENSIONS[first.extension] == kind.format
    said = {field.name for field in fields(Metadata) if getattr(picture.metadata, field.name) is not None}
    assert set(first.losses) == said - set(kind.keeps.split())
    found = decoded(first.data)
    exif = picture.metadata.exif
    turn = 1
    if exif is not None and "exif" in kind.keeps and kind.format != "AVIF":  # which is written upright
        turn = ifd.orientation(exif)
        size = (picture.width, picture.height) if turn < 5 else (picture.height, picture.width)
        metadata = replace(picture.metadata, exif=exif_block(1, *size))
        alpha = None if picture.alpha is None else turned(picture.alpha, turn)
        picture = replace(picture, pixels=turned(picture.pixels, turn), alpha=alpha, metadata=metadata)
    gray = kind.format == "WEBP" and found.pixels.shape[2] == 1  # one column of waves may happen to be gray
    assume(not gray)
    assert (found.format, found.mode) == (kind.format, kind.mode)
    assert found.pixels.dtype == picture.pixels.dtype
    assert found.pixels.shape == picture.pixels.shape
    assert found.losses == ()
    assert_same(found.metadata, picture.metadata, kind.keeps, kind.format)
    if kind.lossless:
        np.testing.assert_array_equal(found.pixels, picture.pixels)
        second = again(found)
        assert second == replace(first, losses=()) if turn == 1 else decoded(second.data).losses == ()
    else:
        assert psnr(found.pixels, picture.pixels) > 33
    assert (found.alpha is None) == (picture.alpha is None)
    if picture.alpha is not None and found.alpha is not None:
        assert found.alpha.dtype == picture.alpha.dtype
        if kind.format in ("AVIF", "HEIF"):
            assert psnr(found.alpha, picture.alpha) > 30
        else:
            np.testing.assert_array_equal(found.alpha, picture.alpha)


class Stored(NamedTuple):
    """How a program stores pictures, and the word for what a result cannot store so."""

    format: str
    mode: str
    losses: tuple[str, ...] = ()
    exif: bool = True
    lossless: bool = True


STORED = [
    *(
        Stored(format, "1", ("bilevel",), exif=format in ("PNG", "TIFF"))
        for format in ("PNG", "TIFF", "BMP", "PPM")
    ),
    *(Stored(format, "P", ("palette",), exif=format != "BMP") for format in ("PNG", "TIFF", "BMP")),
    Stored("TIFF", "CMYK", ("separation",)),
    Stored("JPEG", "CMYK", ("separation",), lossless=False),
    Stored("JPEG", "L", lossless=False),
    Stored("JPEG", "RGB", lossless=False),
    *(Stored(format, mode) for format in ("PNG", "TIFF", "WEBP") for mode in ("RGB", "RGBA")),
    *(Stored(format, mode) for format in ("PNG", "TIFF") for mode in ("L", "LA")),
    *(Stored("AVIF", mode, lossless=False) for mode in ("L", "RGB", "RGBA")),
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(STORED), st.integers(1, 8), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_what_others_stored_comes_upright_and_stays(
    stored: Stored, turn: int, height: int, width: int, seed: int
) -> None:
    image = Image.fromarray(smooth(height, width, 3, 8, seed))
    image = image.quantize(16) if stored.mode == "P" else image.convert(stored.mode)
    options: dict[str, object] = (
        {"exif": b"Exif\0\0" + exif_block(turn, width, height)} if stored.exif else {}
    )
    if stored.mode == "CMYK":
        options["icc_profile"] = cmyk_profile()
    options |= {
        "JPEG": {"quality": 100, "subsampling": 0},
        "AVIF": {"quality": 95, "subsampling": "4:0:0" if stored.mode == "L" else "4:4:4"},
        "WEBP": {"lossless": True, "exact": True},
    }.get(stored.format, {})
    # The ideal inks of the profile are those of Pillow's own conversion.
    expected = turned(np.asarray(image.convert("RGBA")), turn if stored.exif else 1)
    picture = decoded(saved(stored.format, image, **options))
    encoded = again(picture)
    assert picture.losses == encoded.losses == stored.losses
    again_found = decoded(encoded.data)
    assert again_found.losses == (("separation",) if stored.mode == "CMYK" else ())
    for found in (picture, again_found):
        colours = np.broadcast_to(found.pixels, (*expected.shape[:2], 3))
        if stored.lossless and stored.mode != "CMYK":
            np.testing.assert_array_equal(colours, expected[..., :3])
            if found.alpha is not None:
                np.testing.assert_array_equal(found.alpha, expected[..., 3])
        else:
            assert psnr(colours, expected[..., :3]) > 30
        assert (found.alpha is not None) == stored.mode.endswith("A")
        assert found.mode.endswith("CMYK") == (stored.mode == "CMYK")
        if stored.exif:
            assert found.metadata.exif is not None
            assert ifd.orientation(found.metadata.exif) == 1
            assert ifd.dimensions(found.metadata.exif) == expected.shape[1::-1]
            exif = Image.Exif()
            exif.load(found.metadata.exif)
            assert (exif[0x010F], exif.get_ifd(0x8825)[1]) == ("Kodak", "N")


@settings(max_examples=80)
@given(pictures(), st.sampled_from(sorted(set(SUPPORTED_EXTENSIONS.values()))))
def test_another_format_names_what_it_cannot_keep(drawn: tuple[Kind, Picture], target: str) -> None:
    _, picture = drawn
    encoded = again(picture, target.lower())
    found = decoded(encoded.data)
    assert found.format == target
    kinds = [kind for kind in KINDS if kind.format == target]
    assert ("alpha" in encoded.losses) == (
        picture.alpha is not None and not any(kind.alpha for kind in kinds)
    )
    deep = any(kind.bits == 16 for kind in kinds)
    assert ("bit_depth" in encoded.losses) == (picture.pixels.dtype == np.uint16 and not deep)
    assert found.pixels.shape[:2] == picture.pixels.shape[:2]
    for name in ("exif", "xmp", "iptc", "icc"):
        value = getattr(picture.metadata, name)
        assert (getattr(found.metadata, name) is None) == (
            value is None or name in encoded.losses
        ) or name == "exif"


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_no_damage_raises_anything_else(kind: Kind, data: st.DataObject) -> None:
    pixels = smooth(24, 20, kind.channels, kind.bits, 5)
    alpha = smooth(24, 20, 1, kind.bits, 6)[..., 0] if kind.alpha else None
    metadata = Metadata(exif_block(), XMP, IPTC, srgb_profile() if kind.channels == 3 else None)
    whole = bytearray(
        again(Picture(pixels, alpha, kind.format, kind.mode, metadata, lossless=kind.lossless)).data
    )
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.binary(min_size=1, max_size=8))
        whole[start : start + len(change)] = change
    try:
        picture = decode(bytes(whole[: data.draw(st.integers(1, len(whole)))]), max_pixels=100_000)
    except CodecError:
        return
    again(picture)


def test_a_library_that_is_missing_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("PNG", gradient().convert("L").convert("I;16"))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImportError):
        decode(data, max_pixels=1_000_000)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_name_their_reason(name: str) -> None:
    make, extension, code = BROKEN[name]
    assert extension in SUPPORTED_EXTENSIONS
    with pytest.raises(CodecError) as caught:
        decoded(make())
    assert caught.value.code is code
    assert 10 < len(str(caught.value)) <= MAX_MESSAGE
    assert str(caught.value).isprintable()
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message  # noqa: S301


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.98])
def test_a_cut_is_told_from_damage(format: str, share: float) -> None:
    data = saved(format)
    with pytest.raises(CodecError) as caught:
        decoded(data[: int(len(data) * share)])
    assert caught.value.code is ErrorCode.TRUNCATED


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", *HEIF])
def test_orientation_is_applied_once(format: str, turn: int) -> None:
    pixels = np.asarray(gradient())
    if format in ("JPEG2000", "HEIF"):  # Pillow writes no EXIF there
        data = again(Picture(pixels, None, format, "RGB", Metadata(exif=exif_block(turn)))).data
    else:
        data = saved(format, exif=b"Exif\0\0" + exif_block(turn))
    upright = Image.fromarray(pixels)
    upright.getexif()[0x0112] = turn
    expected = np.asarray(ImageOps.exif_transpose(upright))
    first = decoded(data)
    second = decoded(again(first).data)
    for found in (first, second):
        assert found.pixels.shape == expected.shape
        assert psnr(found.pixels, expected) > 30
        assert found.metadata.exif is not None
        assert ifd.orientation(found.metadata.exif) == 1
        exif = Image.Exif()
        exif.load(found.metadata.exif)
        assert exif[0x010F] == "Kodak"
        assert exif.get_ifd(0x8825)[1] == "N"
        size = exif.get_ifd(0x8769)
        assert (size[0xA002], size[0xA003]) == ((64, 96) if turn > 4 else (96, 64))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000", "PPM"])
def test_an_ordinary_file_loses_nothing(format: str) -> None:
    exif, icc = b"Exif\0\0" + exif_block(), srgb_profile()
    more = {"xmp": XMP, "comment": b"from the album"} if format == "JPEG" else {}
    data = saved(format, exif=exif, icc_profile=icc, dpi=(300, 300), **more)
    assert again(decoded(data)).losses == ()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_others_read_the_16_bits_that_we_write(channels: int) -> None:
    pixels = smooth(30, 20, min(channels, 3), 16, 8)
    alpha = 65535 - pixels[..., 0] if channels == 4 else None
    samples = np.squeeze(pixels if alpha is None else np.dstack([pixels, alpha]))
    source = Picture(pixels, alpha, "PNG", "any")
    np.testing.assert_array_equal(imagecodecs.png_decode(again(source).data), samples)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(again(source, "TIFF").data)), samples)
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(again(source, "JPEG2000").data), samples)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000", "PPM"])
def test_pillow_reads_what_we_write(format: str) -> None:
    metadata = Metadata(exif=exif_block(), xmp=XMP, icc=srgb_profile(), dpi=(300.0, 300.0))
    for mode in ("L", "RGB") if format in ("JPEG", "PPM") else ("L", "RGB", "LA", "RGBA"):
        samples = np.asarray(gradient().convert(mode)).reshape(64, 96, -1)
        alpha = samples[..., -1] if mode.endswith("A") else None
        pixels = samples if alpha is None else samples[..., :-1]
        data = again(Picture(pixels, alpha, format, mode, metadata)).data
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == format
            found = np.asarray(image.convert(mode)).reshape(samples.shape)
            assert psnr(found, samples) > 30
            if format not in ("BMP", "PPM", "JPEG2000"):
                assert image.getexif()[0x010F] == "Kodak"
                assert ("icc_profile" in image.info) == (pixels.shape[2] == 3)


def test_metadata_that_others_wrote_is_found() -> None:
    exif = b"Exif\0\0" + exif_block()
    for format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        icc = srgb_profile()
        picture = decoded(
            saved(format, exif=exif, icc_profile=icc, **({} if format == "TIFF" else {"xmp": XMP}))
        )
        assert picture.metadata.icc == icc
        assert picture.metadata.exif is not None
        tags = Image.Exif()
        tags.load(picture.metadata.exif)
        assert tags[0x010F] == "Kodak"
        assert tags.get_ifd(0x8825)[1] == "N"
        if format in ("JPEG", "WEBP", "AVIF"):
            assert picture.metadata.xmp == XMP


def test_gray_that_becomes_colour_is_named() -> None:
    gray = decoded(saved("PNG", gradient().convert("L")))
    faded = decoded(saved("PNG", gradient().convert("LA")))
    assert again(gray, "WEBP").losses == ("gray",)
    assert [again(gray, format).losses for format in ("BMP", "AVIF", "TIFF", "JPEG2000")] == [()] * 4
    assert [again(faded, format).losses for format in ("BMP", "AVIF")] == [("gray",)] * 2


def test_what_was_transparent_becomes_white_without_alpha() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    alpha = np.zeros((4, 4), np.uint8)
    alpha[:, 2:] = 255
    encoded = again(Picture(pixels, alpha, "PNG", "RGBA"), "PPM")
    assert encoded.losses == ("alpha",)
    np.testing.assert_array_equal(decoded(encoded.data).pixels[0, :, 0], [255, 255, 0, 0])


def test_wrong_use_of_encode_is_refused() -> None:
    picture = decoded(saved("PNG"))
    with pytest.raises(ValueError, match="the image is"):
        encode(picture, np.zeros((3, 3, 3), np.float32))
    with pytest.raises(CodecError) as caught:
        encode(picture, np.full(picture.pixels.shape, np.nan, np.float32))
    assert caught.value.code is ErrorCode.NUMERICAL
    with pytest.raises(CodecError, match="choose one of JPEG"):
        again(picture, "GIF")


def test_values_beyond_the_range_are_clipped_and_halves_rounded() -> None:
    picture = Picture(np.zeros((1, 4, 1), np.uint8), None, "PNG", "L")
    image = np.array([-1.0, 2.0, 0.5, 0.999], np.float32).reshape(1, 4, 1)
    assert decoded(encode(picture, image).data).pixels.ravel().tolist() == [0, 255, 128, 255]


def test_only_our_formats_are_inputs() -> None:
    assert SUPPORTED_EXTENSIONS[".jpg"] == "JPEG"
    assert ".pdf" not in SUPPORTED_EXTENSIONS
    assert ".gif" not in SUPPORTED_EXTENSIONS
    assert SUPPORTED_EXTENSIONS.get(".hif") == ("HEIF" if HEIF else None)
    assert ".jpx" not in SUPPORTED_EXTENSIONS  # it would have to be written with boxes of its own
    assert all(extension == extension.lower() and extension[0] == "." for extension in SUPPORTED_EXTENSIONS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", *HEIF])
def test_a_copy_whose_end_was_never_written_is_truncated(format: str) -> None:
    data = again(Picture(np.asarray(gradient(300, 200)), None, format, "RGB")).data
    with pytest.raises(CodecError) as caught:
        decoded(data[: len(data) // 2] + bytes(len(data) // 2))
    assert caught.value.code is ErrorCode.TRUNCATED
