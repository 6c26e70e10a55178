"""The decoder's child: answers requests on standard input, confined before the first byte of an image comes.

ready     = one byte: the layers of its confinement, see `pipeline.codecs.confinement.Layer`
request   = length of the file, max_pixels: two unsigned 64-bit numbers; the file
reply     = length of the header: an unsigned 32-bit number; the header; pixels; alpha; metadata
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable

import numpy as np

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS, Picture
from pipeline.codecs.confinement import confine
from pipeline.codecs.memory import address_space
from pipeline.errors import CodecError, ErrorCode

REQUEST = struct.Struct(">QQ")
LENGTH = struct.Struct(">I")
RAW_FIELDS = ("exif", "xmp", "iptc", "icc", "comment")


def serve() -> None:
    """Answer requests on standard input until it is closed: the main loop of the child."""
    memory_bytes, seconds, (module, function) = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].split(":")
    decode: Callable[..., Picture] = getattr(importlib.import_module(module), function)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    _load_all()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libraries print warnings about images; the parent reports their errors
    connection = socket.socket(fileno=0)
    connection.sendall(bytes([confine()]))
    requests = connection.makefile("rb")
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        size, max_pixels = REQUEST.unpack(head)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # kills a decoder that hangs after its parent has died
        _limit_memory(memory_bytes)
        try:
            buffers = _answer(decode(requests.read(size), max_pixels=max_pixels))
        except CodecError as error:
            buffers = _refusal(error.code, error.message)
        except MemoryError:
            buffers = _refusal(ErrorCode.OUT_OF_MEMORY, "decoding takes more memory than allowed")
        except Exception as error:  # it fails this image only; the next one may be fine
            buffers = _refusal(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
        for buffer in buffers:
            connection.sendall(buffer)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(picture: Picture) -> list[bytes | memoryview]:
    metadata = picture.metadata
    raw = {name: value for name in RAW_FIELDS if (value := getattr(metadata, name)) is not None}
    chunks = metadata.chunks or ()
    values = [*raw.values(), *(part for chunk in chunks for part in chunk)]
    header = {
        "height": picture.height,
        "width": picture.width,
        "channels": picture.pixels.shape[2],
        "depth": 8 * picture.pixels.itemsize,
        "alpha": picture.alpha is not None,
        "format": picture.format,
        "mode": picture.mode,
        "losses": picture.losses,
        "quality": picture.quality,
        "lossless": picture.lossless,
        "bare": picture.bare,
        "tables": picture.tables and [picture.tables.luma, picture.tables.chroma, picture.tables.sampling],
        "dpi": metadata.dpi and [float(value) for value in metadata.dpi],
        "raw": list(raw),
        "sizes": [len(value) for value in values],
    }
    text = json.dumps(header).encode()
    planes = [plane for plane in (picture.pixels, picture.alpha) if plane is not None]
    return [
        LENGTH.pack(len(text)) + text,
        *(np.ascontiguousarray(plane).data.cast("B") for plane in planes),
        *values,
    ]


def _refusal(code: ErrorCode, message: str) -> list[bytes | memoryview]:
    text = json.dumps({"code": code, "message": message}).encode()
    return [LENGTH.pack(len(text)) + text]


def _load_all() -> None:
    """Load what decoding takes, since a confined process opens no file; lift Pillow's limits."""
    import imagecodecs
    from PIL import AvifImagePlugin, Image

    for name in ("png_decode", "tiff_decode", "jpeg2k_decode"):
        getattr(imagecodecs, name)
    importlib.import_module("simplejpeg")
    importlib.import_module("numpy.ma")  # some functions of numpy do, when they are called
    if "HEIF" in SUPPORTED_EXTENSIONS.values():
        importlib.import_module("pillow_heif")
    address_space()
    warnings.simplefilter("ignore")  # a warning quotes its line of source
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread reserves a stack
    Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is the limit, and is checked before


def _limit_memory(spare: int) -> None:
    """Limit this process to `spare` bytes of address space beyond its present use; on Linux only."""
    if used := address_space():
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + spare, hard))
