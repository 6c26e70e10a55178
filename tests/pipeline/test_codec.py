"""What goes through `pipeline.codec` comes back: pixels, depth, alpha, and what the file says of itself."""

from __future__ import annotations

import io
import pickle
import struct
from dataclasses import fields, replace
from functools import partial
from typing import NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from broken_images import BROKEN, MAX_PIXELS, gradient, png_chunk, saved
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inks import cmyk_profile, srgb_profile
from PIL import Image, ImageOps

from pipeline.codec import SUPPORTED_EXTENSIONS, Encoded, Metadata, Picture, decode, encode
from pipeline.codecs import ifd, jpeg
from pipeline.codecs.picture import SizeLimit
from pipeline.errors import MAX_MESSAGE, CodecError, ErrorCode

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><title>Harbour, 1911</title></x:xmpmeta>'
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
HEIF = ["HEIF"] if "HEIF" in SUPPORTED_EXTENSIONS.values() else []
KINDS = [kind for kind in KINDS if kind.format in SUPPORTED_EXTENSIONS.values()]


def exif_block(turn: int = 1, width: int = 96, height: int = 64) -> bytes:
    """An EXIF block with a maker, an orientation, dimensions, a place and a thumbnail."""
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    exif[0x0112] = turn
    exif[0x0132] = "1911:05:01 12:00:00"
    exif.get_ifd(0x8769).update({0xA002: width, 0xA003: height, 0x9003: "1911:05:01 12:00:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (53.0, 32.0, 12.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def tags(exif: bytes) -> ifd.Directory:
    """The tags of an EXIF block, without the orientation."""
    layout = ifd.Layout.of(exif)
    found = layout.directory(exif, layout.first)
    found.pop(ifd.ORIENTATION, None)
    return found


def smooth(height: int, width: int, channels: int, bits: int, seed: int) -> np.ndarray:
    """(H, W, C) waves over the full range, with every bit in use."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width, :channels][:2]
    waves = np.sin(
        rows * random.uniform(0.01, 0.2) + columns * random.uniform(0.01, 0.2) + random.uniform(0, 6)
    )
    waves = waves * [0.45, 0.4, 0.35][:channels] + 0.5
    return np.rint(waves * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)


def turned(samples: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, …) samples as EXIF orientation `turn` means them."""
    mirrored = samples[:, ::-1] if turn in (2, 4, 5, 7) else samples
    return np.rot90(mirrored, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[turn])


def real(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the restorer gives them: float32 in [0, 1]."""
    return (pixels / np.iinfo(pixels.dtype).max).astype(np.float32)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between two arrays of one integer type."""
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(np.iinfo(a.dtype).max ** 2 / error)


def decoded(data: bytes) -> Picture:
    return decode(data, max_pixels=MAX_PIXELS)


def again(picture: Picture, format: str | None = None) -> Encoded:
    return encode(picture, real(picture.pixels), format=format)


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


XMP_TURNED = [
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d" tiff:Make="6"/>',
    b"<rdf:Description tiff:Orientation = '%d'/>",
    b"<rdf:Description><tiff:Orientation>%d</tiff:Orientation><tiff:Make>6</tiff:Make></rdf:Description>",
    b"<rdf:Description><tiff:Orientation>\n %d\n</tiff:Orientation></rdf:Description>",
]


@pytest.mark.parametrize("packet", XMP_TURNED, ids=["attribute", "spaced", "element", "lines"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", *HEIF])
def test_xmp_turns_nothing_again(format: str, bits: int, packet: bytes) -> None:
    pixels = smooth(20, 30, 3, bits, 1)
    metadata = Metadata(exif=exif_block(6), xmp=packet % 6)
    picture = decoded(again(Picture(pixels, None, format, "RGB", metadata)).data)
    if format == "AVIF":  # ours says no orientation there: Pillow's has one
        picture = decoded(saved("AVIF", exif=b"Exif\0\0" + exif_block(6), xmp=packet % 6))
    assert picture.height > picture.width
    assert picture.metadata.xmp == packet % 1


@pytest.mark.parametrize("packet", XMP_TURNED, ids=["attribute", "spaced", "element", "lines"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", *HEIF])
@pytest.mark.parametrize("exif", [None, exif_block(1)])
def test_xmp_alone_turns_nothing(format: str, packet: bytes, exif: bytes | None) -> None:
    metadata = Metadata(exif=exif, xmp=packet % 6)
    picture = decoded(again(Picture(smooth(20, 30, 3, 8, 1), None, format, "RGB", metadata)).data)
    assert picture.width > picture.height
    assert picture.metadata.xmp == packet % (1 if format == "HEIF" else 6)


@pytest.mark.skipif(not HEIF, reason="needs pillow-heif")
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_alone_turns_no_heif(turn: int) -> None:
    pixels = np.asarray(gradient())
    plain = again(Picture(pixels, None, "HEIF", "RGB", Metadata(exif=exif_block(1)))).data
    picture = decoded(plain.replace(exif_block(1), exif_block(turn)))
    assert psnr(picture.pixels, pixels) > 30
    assert picture.metadata.exif == exif_block(1)


@pytest.mark.parametrize("format", ["JPEG", *HEIF])
def test_an_exif_thumbnail_does_not_outlive_the_image_it_shows(format: str) -> None:
    block = bytearray(exif_block())
    layout = ifd.Layout.of(bytes(block))
    _, link = layout.entries(bytes(block), layout.first)
    struct.pack_into(layout.order + "I", block, link, layout.first)
    image = Picture(np.asarray(gradient()), None, format, "RGB", Metadata(exif=bytes(block)))
    picture = decoded(again(image).data)
    assert picture.losses == ("thumbnail",)
    assert picture.metadata.exif is not None
    assert layout.following(picture.metadata.exif, link) == 0


@pytest.mark.parametrize("quality", [20, 50, 75, 90, 95, 97, 100])
def test_a_jpeg_comes_back_at_its_own_quality_or_95(quality: int) -> None:
    picture = decoded(saved("JPEG", quality=quality))
    assert picture.quality == pytest.approx(quality, abs=1)
    with Image.open(io.BytesIO(again(picture).data)) as written:
        assert jpeg.estimate_quality(written.quantization) == pytest.approx(max(quality, 95), abs=1)
        assert [layer[1:3] for layer in written.layer] == [(1, 1)] * 3


def with_segment(marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment at its beginning."""
    data = saved("JPEG")
    return data[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def with_chunk(kind: bytes, body: bytes, mode: str = "RGB") -> bytes:
    """A PNG with one more chunk behind its header."""
    data = saved("PNG", gradient().convert(mode))
    return data[:33] + png_chunk(kind, body) + data[33:]


def with_riff(kind: bytes) -> bytes:
    """A WebP with one more chunk at its end."""
    data = saved("WEBP") + kind + struct.pack("<I", 4) + b"more"
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def with_box(format: str, kind: bytes, body: bytes) -> bytes:
    """A file of boxes with one more at its end."""
    data = again(Picture(np.asarray(gradient()), None, format, "RGB")).data
    return data + struct.pack(">I4s", 8 + len(body), kind) + body


def with_resolution() -> bytes:
    """A JPEG 2000 with a resolution in its header box."""
    data = again(Picture(np.asarray(gradient()), None, "JPEG2000", "RGB")).data
    at = data.index(b"jp2h") - 4
    length = struct.unpack_from(">I", data, at)[0]
    more = struct.pack(">I4sI4sHHHHbb", 26, b"res ", 18, b"resc", 11811, 1, 11811, 1, 0, 0)
    head = struct.pack(">I", length + len(more)) + data[at + 4 : at + length] + more
    return data[:at] + head + data[at + length :]


def with_auxiliary(format: str) -> bytes:
    """A file whose alpha is an image for another purpose."""
    pixels = np.asarray(gradient())
    data = again(Picture(pixels, pixels[..., 0], format, "RGBA")).data
    return data.replace(b":auxiliary:alpha\0", b":auxiliary:gains\0").replace(b":auxid:1\0", b":auxid:9\0")


UNKEPT = {
    "JPEG C2PA": (partial(with_segment, 0xEB, b"JP\0\1c2pa"), "other_metadata"),
    "JPEG Ducky": (partial(with_segment, 0xEC, b"Ducky\0\0"), "other_metadata"),
    "JPEG thermal": (partial(with_segment, 0xE1, b"FLIR\0\1\0\1"), "other_metadata"),
    "JPEG FlashPix": (partial(with_segment, 0xE2, b"FPXR\0\0"), "other_metadata"),
    "JPEG old Photoshop": (partial(with_segment, 0xED, b"Adobe_CM\0\2"), "other_metadata"),
    "JPEG preview": (partial(with_segment, 0xE0, b"JFXX\0\x13\1\1abc"), "thumbnail"),
    "JPEG JFIF preview": (
        partial(with_segment, 0xE0, b"JFIF\0\1\1\0\0\1\0\1\1\1abc"),
        "thumbnail",
    ),
    "PNG C2PA": (partial(with_chunk, b"caBX", b"c2pa"), "other_metadata"),
    "PNG own": (partial(with_chunk, b"prVT", b"mine"), "other_metadata"),
    "PNG palette background": (partial(with_chunk, b"bKGD", b"\0", "P"), "other_metadata"),
    "PNG raw profile": (partial(with_chunk, b"tEXt", b"Raw profile type own\0\n"), "other_metadata"),
    "PNG damaged profile": (partial(with_chunk, b"iCCP", b"name\0\0damaged"), "other_metadata"),
    "WEBP own": (partial(with_riff, b"C2PA"), "other_metadata"),
    "AVIF C2PA": (partial(with_box, "AVIF", b"uuid", bytes(16) + b"c2pa"), "other_metadata"),
    "AVIF gains": (partial(with_auxiliary, "AVIF"), "secondary_images"),
    "JPEG2000 XML": (partial(with_box, "JPEG2000", b"xml ", b"<gml/>"), "other_metadata"),
    "JPEG2000 place": (partial(with_box, "JPEG2000", b"uuid", bytes(16) + b"II"), "other_metadata"),
    "JPEG2000 resolution": (with_resolution, "dpi"),
    "PPM comment": (lambda: saved("PPM").replace(b"P6\n", b"P6\n# Created by hand\n"), "comment"),
    "HEIF video": (partial(with_box, "HEIF", b"mpvd", b"moving"), "other_metadata"),
    "HEIF gains": (partial(with_auxiliary, "HEIF"), "secondary_images"),
}
UNKEPT = {name: case for name, case in UNKEPT.items() if HEIF or not name.startswith("HEIF")}


@pytest.mark.parametrize("name", UNKEPT)
def test_what_is_not_kept_is_named(name: str) -> None:
    make, loss = UNKEPT[name]
    picture = decoded(make())
    assert loss in picture.losses
    assert set(picture.losses) <= {loss, "palette"}
    assert decoded(again(picture).data).losses == ()


def test_each_comment_but_the_last_is_named() -> None:
    data = with_segment(0xFE, b"first")
    assert decoded(data).losses == ()
    picture = decoded(data[:2] + with_segment(0xFE, b"second")[2:13] + data[2:])
    assert (picture.metadata.comment, picture.losses) == (b"first", ("comment",))


def test_a_jpeg_names_every_part_that_it_loses() -> None:
    data = with_segment(0xE2, b"MPF\0")
    extension = with_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0")[2:]
    assert jpeg.read(data[:10] + extension, SizeLimit(MAX_PIXELS)).losses == ("secondary_images", "xmp")


@pytest.mark.parametrize(
    ("kind", "body", "mode"),
    [
        (b"bKGD", b"\0\1\0\2\0\3", "RGB"),
        (b"bKGD", b"\0\1", "L"),
        (b"cLLI", bytes(8), "RGB"),
        (b"mDCV", bytes(24), "RGB"),
        (b"pHYs", struct.pack(">IIB", 2, 1, 0), "RGB"),
        (b"oFFs", struct.pack(">iiB", 5, 6, 0), "P"),
        (b"vpAg", struct.pack(">IIB", 100, 70, 0), "RGB"),
        (b"sTER", b"\1", "RGB"),
        (b"tIME", b"\x07\x77\5\1\0\0\0", "RGB"),
    ],
)
def test_chunks_that_still_hold_stay_in_a_png(kind: bytes, body: bytes, mode: str) -> None:
    picture = decoded(with_chunk(kind, body, mode))
    encoded = again(picture)
    assert encoded.losses == picture.losses == (("palette",) if mode == "P" else ())
    assert png_chunk(kind, body) in encoded.data
    assert "chunks" in again(picture, "WEBP").losses


@pytest.mark.parametrize("kind", [b"sBIT", b"iDOT", b"hIST"])
def test_chunks_about_the_layout_are_no_loss(kind: bytes) -> None:
    assert decoded(with_chunk(kind, b"\5\6\5")).losses == ()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000", "PPM"])
def test_an_ordinary_file_loses_nothing(format: str) -> None:
    exif, icc = b"Exif\0\0" + exif_block(), srgb_profile()
    more = {"xmp": XMP, "comment": b"from the album"} if format == "JPEG" else {}
    data = saved(format, exif=exif, icc_profile=icc, dpi=(300, 300), **more)
    assert again(decoded(data)).losses == ()


def test_second_pictures_in_a_jpeg_are_left_out_by_name() -> None:
    picture = decoded(saved("MPO", save_all=True, append_images=[gradient().rotate(180)]))
    assert (picture.format, picture.losses) == ("JPEG", ("secondary_images",))
    assert psnr(picture.pixels, np.asarray(gradient())) > 30


@pytest.mark.parametrize(
    "compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "jpeg", "group4"]
)
def test_tiffs_of_any_compression_are_read(compression: str) -> None:
    image = gradient().convert("1") if compression == "group4" else gradient()
    picture = decoded(saved("TIFF", image, compression=compression))
    assert psnr(picture.pixels[..., 0], np.asarray(image.convert("RGB"))[..., 0]) > 30


def test_channels_beyond_colour_and_alpha_are_left_out_by_name() -> None:
    samples = smooth(20, 30, 3, 8, 1)
    for depth in (np.uint8, np.uint16):
        stream = io.BytesIO()
        extra = np.dstack([samples, samples[..., :1]]).astype(depth)
        tifffile.imwrite(stream, extra, photometric="rgb", extrasamples=["unspecified"])
        picture = decoded(stream.getvalue())
        assert (picture.alpha, picture.losses) == (None, ("extra_channels",))
        np.testing.assert_array_equal(picture.pixels, samples)


@pytest.mark.parametrize("dpi", [(0.0, 300.0), (1e9, 1e9), (float("nan"), 300.0), (-72.0, 72.0)])
def test_a_resolution_that_is_nonsense_is_none(dpi: tuple[float, float]) -> None:
    assert Metadata(dpi=dpi).dpi is None


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


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_transparent_colour_becomes_alpha(depth: int, channels: int) -> None:
    pixels = smooth(8, 9, channels, depth, 1)
    data = imagecodecs.png_encode(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    key = png_chunk(b"tRNS", struct.pack(f">{channels}H", *pixels[2, 3].tolist()))
    picture = decoded(data[:33] + key + data[33:])
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, (pixels == pixels[2, 3]).all(axis=2))
    np.testing.assert_array_equal(picture.pixels, pixels)


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


@pytest.mark.parametrize("bits", [10, 12])
def test_jpeg_2000_of_other_depths_fills_16_bits(bits: int) -> None:
    samples = smooth(20, 30, 3, 16, 1) >> (16 - bits)
    data = imagecodecs.jpeg2k_encode(samples, codecformat="jp2", reversible=True, level=0, bitspersample=bits)
    picture = decoded(data)
    expected = np.rint(samples / (2**bits - 1) * 65535).astype(np.uint16)
    np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_bare_code_stream_stays_one(mode: str, bits: int) -> None:
    assert {SUPPORTED_EXTENSIONS[extension] for extension in (".j2k", ".j2c", ".jpc")} == {"JPEG2000"}
    pixels = smooth(20, 30, 1 if mode[0] == "L" else 3, bits, 1)
    alpha = smooth(20, 30, 1, bits, 2)[..., 0] if mode.endswith("A") else None
    stored = imagecodecs.jpeg2k_encode(
        np.squeeze(pixels if alpha is None else np.dstack([pixels, alpha])),
        level=0,
        reversible=True,
        codecformat="j2k",
    )
    picture = decoded(bytes(stored))
    assert picture.bare
    np.testing.assert_array_equal(picture.pixels, pixels)
    encoded = again(picture)
    assert encoded.data.startswith(b"\xff\x4f\xff\x51")
    assert encoded.losses == ()
    found = decoded(encoded.data)
    np.testing.assert_array_equal(found.pixels, pixels)
    if alpha is not None and found.alpha is not None:
        np.testing.assert_array_equal(found.alpha, alpha)
    assert again(picture, "JPEG2000").data == encoded.data
    assert not decoded(again(decoded(again(picture, "PNG").data), "JPEG2000").data).bare
    told = replace(picture, metadata=Metadata(exif=exif_block(), xmp=XMP))
    assert again(told).losses == ("exif", "xmp")


@pytest.mark.parametrize("maximum", [15, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm_of_any_maximum(kind: int, maximum: int) -> None:
    channels = 3 if kind in (3, 6) else 1
    values = np.random.default_rng(1).integers(0, maximum + 1, (5, 7, channels))
    header = b"P%d # made by hand\n7 5\n%d\n" % (kind, maximum)
    if kind < 4:
        body = b" ".join(b"%d" % value for value in values.ravel())
    else:
        body = values.astype(">u2" if maximum > 255 else "u1").tobytes()
    picture = decoded(header + body)
    full = 65535 if maximum > 255 else 255
    assert picture.pixels.dtype.itemsize == (2 if maximum > 255 else 1)
    assert np.abs(picture.pixels - values / maximum * full).max() <= 1


def test_monochrome_avif_stays_monochrome() -> None:
    picture = decoded(saved("AVIF", gradient().convert("L")))
    assert picture.pixels.shape == (64, 96, 1)
    assert decoded(again(picture).data).pixels.shape == (64, 96, 1)


def test_avif_of_ten_bits_says_what_it_loses() -> None:
    samples = smooth(32, 32, 3, 16, 1) >> 6
    picture = decoded(bytes(imagecodecs.avif_encode(samples, level=90, bitspersample=10)))
    assert picture.losses == ("bit_depth",)


def test_gray_webp_stays_gray() -> None:
    for lossless in (False, True):
        picture = decoded(saved("WEBP", gradient().convert("L"), lossless=lossless))
        assert (picture.pixels.shape, picture.lossless) == ((64, 96, 1), lossless)
        assert decoded(again(picture).data).pixels.shape == (64, 96, 1)


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


def test_metadata_too_long_for_a_jpeg_is_named() -> None:
    picture = replace(decoded(saved("JPEG")), metadata=Metadata(xmp=XMP * 2000, comment=b"kept"))
    encoded = again(picture)
    assert encoded.losses == ("xmp",)
    assert decoded(encoded.data).metadata == Metadata(comment=b"kept", dpi=decoded(encoded.data).metadata.dpi)


def test_a_profile_of_another_colour_space_is_not_written() -> None:
    picture = Picture(smooth(8, 8, 1, 8, 1), None, "PNG", "L", Metadata(icc=srgb_profile()))
    assert again(picture).losses == ("icc",)


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


def test_pictures_can_be_pickled() -> None:
    picture = decoded(saved("PNG", exif=b"Exif\0\0" + exif_block()))
    copy = pickle.loads(pickle.dumps(picture))  # noqa: S301
    np.testing.assert_array_equal(copy.pixels, picture.pixels)
    assert copy.metadata == picture.metadata


def test_only_our_formats_are_inputs() -> None:
    assert SUPPORTED_EXTENSIONS[".jpg"] == "JPEG"
    assert ".pdf" not in SUPPORTED_EXTENSIONS
    assert ".gif" not in SUPPORTED_EXTENSIONS
    assert SUPPORTED_EXTENSIONS.get(".hif") == ("HEIF" if HEIF else None)
    assert ".jpx" not in SUPPORTED_EXTENSIONS  # it would have to be written with boxes of its own
    assert all(extension == extension.lower() and extension[0] == "." for extension in SUPPORTED_EXTENSIONS)
