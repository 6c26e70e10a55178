"""TIFF: one image, 8 or 16 bits, with the tags that describe it.

Pillow decodes 8 bits; imagecodecs' libtiff decodes 16 bits, which Pillow would silently reduce. Files are
written with Deflate and horizontal prediction, which every reader supports.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.codecs import ifd, raster, xmp
from pipeline.codecs.ifd import SHORT, UNDEFINED, Directory, Entry, Layout
from pipeline.codecs.picture import Loss, Metadata, Picture, SizeLimit, unsupported
from pipeline.errors import CodecError, ErrorCode

EXTENSIONS = (".tif", ".tiff")
KEEPS = frozenset(Loss) - {Loss.COMMENT, Loss.CHUNKS}

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = (
    0x00FE,
    0x0100,
    0x0101,
    0x0102,
    0x0103,
    0x0106,
)
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 0x0111, 0x0115, 0x0116, 0x0117
_X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x011C, 0x0128
_PREDICTOR, _TILE_OFFSETS, _TILE_BYTES, _SUB_IFDS = 0x013D, 0x0144, 0x0145, 0x014A
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 0x0152, 0x0153

_STRUCTURAL = {
    0x00FE, 0x00FF, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0107, 0x0108, 0x0109, 0x010A, 0x0111, 0x0115,
    0x0116, 0x0117, 0x0118, 0x0119, 0x011C, 0x0120, 0x0121, 0x0122, 0x0123, 0x0124, 0x0125, 0x0129, 0x012D,
    0x013D, 0x013E, 0x013F, 0x0140, 0x0141, 0x0142, 0x0143, 0x0144, 0x0145, 0x0146, 0x0147, 0x0148, _SUB_IFDS,
    0x014C, 0x014D, 0x014E, 0x0150, 0x0151, 0x0152, 0x0153, 0x0154, 0x0155, 0x0156, 0x0157, 0x0158, 0x0159,
    0x015A, 0x015B, 0x0200, 0x0201, 0x0202, 0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209, 0x0211, 0x0212,
    0x0213, 0x0214, ifd.XMP, ifd.IPTC, ifd.PHOTOSHOP, ifd.ICC,
}  # fmt: skip
"""Tags about the layout of this file, and tags that `Metadata` has a field for. All other tags describe the
picture (name, maker, date, artist, rights, place) and are kept as they are."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED = 0, 1, 2, 5
_CHANNELS = {_RGB: 3, _SEPARATED: 4, 6: 3, 8: 3}
_ADOBE_DEFLATE, _HORIZONTAL = 8, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2
_REDUCED_OR_MASK = 0b101
_STRIP_TARGET = 256 << 10  # bytes before compression: readers decode strip by strip


def read(data: bytes, limit: SizeLimit) -> Picture:
    layout = Layout.of(data)
    tags = layout.directory(data, layout.first)
    width, height = _number(layout, tags, _WIDTH), _number(layout, tags, _HEIGHT)
    limit.check(width, height)
    losses = _secondary_images(data, layout)
    bits = set(_numbers(layout, tags, _BITS, (1,)))
    formats = set(_numbers(layout, tags, _SAMPLE_FORMAT, (1,)))
    if formats - {1, 4}:
        kind = {2: "signed", 3: "floating point"}.get(max(formats), "complex")
        unsupported(f"TIFF of {max(bits)}-bit {kind} samples: convert it to 8 or 16 bits first")
    if max(bits) > 8 and bits != {16}:
        unsupported(
            f"TIFF of {'/'.join(map(str, sorted(bits)))} bits per sample: convert it to 8 or 16 bits first"
        )
    metadata = _read_metadata(layout, tags)
    samples = _number(layout, tags, _SAMPLES, 1)
    has_alpha = _number(layout, tags, _EXTRA_SAMPLES) in (_ASSOCIATED, _UNASSOCIATED)
    if samples > _CHANNELS.get(_number(layout, tags, _PHOTOMETRIC), 1) + has_alpha:
        losses += (Loss.EXTRA_CHANNELS,)
    if ifd.PHOTOSHOP in tags:
        losses += (Loss.PHOTOSHOP,)
    if bits == {16}:
        mode, pixels, alpha = _read_16_bits(data, layout, tags)
    else:
        try:
            opened = TiffImageFile(io.BytesIO(data))
        except SyntaxError as error:
            if "mode" in str(error):
                unsupported(f"TIFF of an unusual kind of pixel ({error})")
            raise
        mode = opened.mode
        # Pillow would apply an orientation that only XMP has, in TIFF alone.
        opened.info.pop("xmp", None)
        pixels, alpha, more = raster.bands(opened, limit)
        losses += more
        turn = 1 if metadata.exif is None else ifd.orientation(metadata.exif)
        # Pillow has applied the orientation already, in TIFF alone.
        if metadata.exif is not None and turn != 1:
            metadata = replace(
                metadata,
                exif=ifd.upright(metadata.exif, swapped=turn > 4)[0],
                xmp=metadata.xmp and xmp.upright(metadata.xmp),
            )
    return Picture(pixels, alpha, "TIFF", mode, metadata, losses)


def write(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    metadata = picture.metadata
    layout, tags = _descriptive(metadata.exif)
    samples = raster.join(picture.pixels, picture.alpha)
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    rows = max(1, _STRIP_TARGET // (width * channels * samples.itemsize))
    strips = [_strip(samples[top : top + rows], layout.order) for top in range(0, height, rows)]
    tags |= {
        _WIDTH: layout.entry(ifd.LONG, width),
        _HEIGHT: layout.entry(ifd.LONG, height),
        _BITS: layout.entry(SHORT, *[8 * samples.itemsize] * channels),
        _COMPRESSION: layout.entry(SHORT, _ADOBE_DEFLATE),
        _PHOTOMETRIC: layout.entry(
            SHORT, {1: _BLACK_IS_ZERO, 3: _RGB, 4: _SEPARATED}[picture.pixels.shape[2]]
        ),
        _SAMPLES: layout.entry(SHORT, channels),
        _ROWS_PER_STRIP: layout.entry(ifd.LONG, rows),
        _STRIP_BYTES: layout.entry(ifd.LONG, *map(len, strips)),
        _PLANAR: layout.entry(SHORT, 1),
        _PREDICTOR: layout.entry(SHORT, _HORIZONTAL),
    }
    if picture.alpha is not None:
        tags[_EXTRA_SAMPLES] = layout.entry(SHORT, _UNASSOCIATED)
    for tag, value in ((ifd.XMP, metadata.xmp), (ifd.IPTC, metadata.iptc), (ifd.ICC, metadata.icc)):
        if value is not None:
            tags[tag] = Entry(UNDEFINED, len(value), value)
    if metadata.dpi is not None and _X_RESOLUTION not in tags:
        for tag, density in zip((_X_RESOLUTION, _Y_RESOLUTION), metadata.dpi, strict=True):
            tags[tag] = Entry(5, 1, struct.pack(layout.order + "II", round(density * 1000), 1000))
        tags[_RESOLUTION_UNIT] = layout.entry(SHORT, 2)
    # Offsets do not change the directory's length: a first pass with zeros gives the start of the strips.
    tags[_STRIP_OFFSETS] = layout.entry(ifd.LONG, *[0] * len(strips))
    start = 8 + len(ifd.serialise(tags, layout.order, 8))
    offsets = start + np.cumsum([0, *map(len, strips[:-1])])
    tags[_STRIP_OFFSETS] = layout.entry(ifd.LONG, *offsets.tolist())
    return ifd.header(layout.order) + ifd.serialise(tags, layout.order, 8) + b"".join(strips), ()


def is_truncated(data: bytes) -> bool:
    try:
        layout = Layout.of(data)
        layout.entries(data, layout.first)
    except (struct.error, ValueError):
        return True
    tags = layout.directory(data, layout.first)
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        pairs = zip(_numbers(layout, tags, offsets, ()), _numbers(layout, tags, sizes, ()), strict=False)
        if any(offset + size > len(data) for offset, size in pairs):
            return True
    return not tags.keys() & {_STRIP_OFFSETS, _TILE_OFFSETS}


def _numbers(layout: Layout, tags: Directory, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    entry = tags.get(tag)
    return layout.numbers(entry) if isinstance(entry, Entry) else default


def _number(layout: Layout, tags: Directory, tag: int, default: int = 0) -> int:
    return _numbers(layout, tags, tag, (default,))[0]


def _secondary_images(data: bytes, layout: Layout) -> tuple[str, ...]:
    """The loss of reduced versions and masks. Raises CodecError if there are more pages."""
    seen = {layout.first}
    entries, link = layout.entries(data, layout.first)
    while offset := layout.following(data, link):
        if offset in seen:
            raise CodecError(ErrorCode.UNREADABLE, "the pages of this TIFF form a loop")
        seen.add(offset)
        page = layout.directory(data, offset)
        if not _number(layout, page, _SUBFILE_TYPE) & _REDUCED_OR_MASK:
            unsupported("TIFF of several pages: only single images are restored; split it first")
        link = layout.entries(data, offset)[1]
    nested = any(tag == _SUB_IFDS for tag, *_ in entries)
    return (Loss.SECONDARY_IMAGES,) if nested or len(seen) > 1 else ()


def _read_16_bits(data: bytes, layout: Layout, tags: Directory) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Decode 16 bits. Returns (mode, pixels, alpha)."""
    import imagecodecs

    photometric = _number(layout, tags, _PHOTOMETRIC)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        what = {3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELAB"}.get(
            photometric, f"photometric {photometric}"
        )
        unsupported(f"TIFF of 16 bits in {what}: convert it to gray or RGB first")
    count = _number(layout, tags, _SAMPLES, 1)
    colours = _CHANNELS.get(photometric, 1)
    if not colours <= count <= colours + 4:
        unsupported(f"TIFF of {count} channels where {colours} are colour: convert it to gray or RGB first")
    samples = np.asarray(imagecodecs.tiff_decode(data))
    if count > 1 and _number(layout, tags, _PLANAR, 1) == 2:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.reshape(*samples.shape[:2], count)
    extra = _number(layout, tags, _EXTRA_SAMPLES)
    has_alpha = count > colours and extra in (_ASSOCIATED, _UNASSOCIATED)
    pixels = np.ascontiguousarray(samples[..., :colours])
    alpha = np.ascontiguousarray(samples[..., colours]) if has_alpha else None
    if photometric == _WHITE_IS_ZERO:
        pixels = ~pixels
    if alpha is not None and extra == _ASSOCIATED:
        pixels = _divided(pixels, alpha)
    mode = "I;16" if colours == 1 and alpha is None else ("L", "RGB")[colours == 3] + "A" * has_alpha + ";16"
    return mode, pixels, alpha


def _divided(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Undo the premultiplication of colours by alpha; 0 where alpha is 0."""
    weight = alpha[..., None].astype(np.float64)
    plain = np.divide(pixels * 65535.0, weight, out=np.zeros(pixels.shape), where=weight > 0)
    return np.rint(np.minimum(plain, 65535)).astype(np.uint16)


def _read_metadata(layout: Layout, tags: Directory) -> Metadata:
    xmp, iptc, icc = (
        entry.value if isinstance(entry := tags.get(tag), Entry) else None
        for tag in (ifd.XMP, ifd.IPTC, ifd.ICC)
    )
    dpi = _dpi(layout, tags)
    known = _STRUCTURAL if dpi is None else _STRUCTURAL | {_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT}
    described = {tag: value for tag, value in tags.items() if tag not in known}
    exif = None
    if described:
        exif = ifd.header(layout.order) + ifd.serialise(described, layout.order, 8)
    return Metadata(exif=exif, xmp=xmp, iptc=iptc, icc=icc, dpi=dpi)


def _dpi(layout: Layout, tags: Directory) -> tuple[float, float] | None:
    values = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        entry = tags.get(tag)
        if not isinstance(entry, Entry) or entry.kind != 5:
            return None
        over, under = struct.unpack_from(layout.order + "II", entry.value)
        values.append(over / under if under else 0.0)
    per_inch = {2: 1.0, 3: 2.54}.get(_number(layout, tags, _RESOLUTION_UNIT, 2))
    return None if per_inch is None or 0.0 in values else (values[0] * per_inch, values[1] * per_inch)


def _descriptive(exif: bytes | None) -> tuple[Layout, Directory]:
    """The tags of an EXIF block that describe the picture, and the layout that they are in."""
    empty = Layout("<", False, 8)
    if exif is None:
        return empty, {}
    try:
        layout = Layout.of(exif)
        tags = layout.directory(exif, layout.first)
    except (struct.error, ValueError):
        return empty, {}  # damaged EXIF has no tags to copy
    return layout, {tag: value for tag, value in tags.items() if tag not in _STRUCTURAL}


def _strip(samples: np.ndarray, order: str) -> bytes:
    """Compress rows as differences to the pixel on the left, in the file's byte order, with Deflate."""
    residual = samples.copy()
    residual[:, 1:] -= samples[:, :-1]
    return zlib.compress(residual.astype(f"{order}u{residual.itemsize}").tobytes(), 6)
