"""A decoder's child crashes, hangs and runs out of memory, and the next image is decoded all the same."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from broken_images import BROKEN, MAX_PIXELS, gradient, png_chunk, saved
from poison import ABORT, BOMB, CRASH, DECODE, HANG, LIE

from i2r import JpegTables
from pipeline.codecs.codec import decode
from pipeline.codecs.sandbox import Decoder
from pipeline.errors import CodecError, ErrorCode, RunError

MEMORY = 512 << 20
SECONDS = 20.0


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(MEMORY, SECONDS) as shared:
        yield shared


@pytest.fixture(scope="module")
def poisoned() -> Iterator[Decoder]:
    with Decoder(MEMORY, 1.0, decode=DECODE) as shared:
        yield shared


def fate(decoder: Decoder, data: bytes) -> CodecError:
    """The error of decoding `data`; the next image has to be decoded as if nothing had been."""
    with pytest.raises(CodecError) as caught:
        decoder.decode(data, max_pixels=MAX_PIXELS)
    assert decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS).pixels.shape == (64, 96, 3)
    return caught.value


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_it_gives_what_decoding_here_gives(decoder: Decoder, mode: str) -> None:
    image = gradient().convert("L").convert("I;16") if mode == "I;16" else gradient().convert(mode)
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08" + bytes(6)
    data = bytearray(saved("PNG", image, exif=exif, dpi=(300, 200)))
    data[33:33] = png_chunk(b"tEXt", b"Title\0Harbour") + png_chunk(b"gAMA", b"\0\0\xb1\x8f")
    here = decode(bytes(data), max_pixels=MAX_PIXELS)
    there = decoder.decode(bytes(data), max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there.pixels.dtype == here.pixels.dtype
    assert there.pixels.flags.writeable
    assert (there.alpha is None) == (here.alpha is None)
    if there.alpha is not None and here.alpha is not None:
        np.testing.assert_array_equal(there.alpha, here.alpha)
    assert there.metadata == here.metadata
    for name in ("format", "mode", "losses", "quality", "lossless", "bare", "tables"):
        assert getattr(there, name) == getattr(here, name)


def test_a_bare_code_stream_stays_one(decoder: Decoder) -> None:
    picture = decoder.decode(saved("JPEG2000", no_jp2=True), max_pixels=MAX_PIXELS)
    assert (picture.format, picture.bare) == ("JPEG2000", True)


def test_a_jpeg_keeps_its_quality(decoder: Decoder) -> None:
    data = saved("JPEG", quality=60, comment=b"from the album")
    picture = decoder.decode(data, max_pixels=MAX_PIXELS)
    assert (picture.quality, picture.lossless, picture.metadata.comment) == (60, False, b"from the album")
    assert picture.tables is not None
    assert picture.tables.luma == JpegTables.standard(60).luma


def test_broken_files_name_the_same_reason(decoder: Decoder) -> None:
    child = decoder.pid
    for name, (make, _, code) in BROKEN.items():
        assert fate(decoder, make()).code is code, name
    assert decoder.pid == child


@pytest.mark.parametrize(("word", "signal_name"), [(CRASH, "SIGSEGV"), (ABORT, "SIGABRT")])
def test_a_crash_is_one_images_error(poisoned: Decoder, word: bytes, signal_name: str) -> None:
    child = poisoned.pid
    error = fate(poisoned, word)
    assert error.code is ErrorCode.CRASHED
    assert signal_name in error.message
    assert poisoned.pid != child
    assert not alive(child)


def test_a_hang_ends_at_the_deadline(poisoned: Decoder) -> None:
    poisoned.decode(saved("PNG"), max_pixels=MAX_PIXELS)
    child, start = poisoned.pid, time.monotonic()
    with pytest.raises(CodecError) as caught:
        poisoned.decode(HANG, max_pixels=MAX_PIXELS)
    assert caught.value.code is ErrorCode.TIMEOUT
    assert 1.0 <= time.monotonic() - start < 10
    assert not alive(child)


def test_a_bomb_ends_at_the_memory_limit() -> None:
    with Decoder(MEMORY, SECONDS, decode=DECODE) as patient:  # a busy machine takes a second to fill memory
        error = fate(patient, BOMB)
    assert error.code is ErrorCode.TOO_LARGE
    assert "decode_memory_mib" in error.message


def test_a_large_file_at_a_small_limit_is_too_large() -> None:
    with Decoder(8 << 20, SECONDS) as small:
        assert fate(small, bytes(9 << 20)).code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "JPEG2000", "PPM"])
def test_a_real_bomb_of_each_format_is_too_large(format: str) -> None:
    data = saved(format, gradient(150, 100).resize((3000, 2000)))
    with Decoder(max(len(data) + (8 << 20), 12 << 20), SECONDS) as small:
        assert fate(small, data).code is ErrorCode.TOO_LARGE


def test_a_slow_image_ends_at_the_deadline() -> None:
    data = saved("PNG", gradient(2000, 2000))
    with Decoder(MEMORY, 0.02) as hasty:
        with pytest.raises(CodecError) as caught:
            hasty.decode(data, max_pixels=MAX_PIXELS)
        assert caught.value.code is ErrorCode.TIMEOUT


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        struct.pack(">I", 2**32 - 1),
        struct.pack(">I", 7) + b"nothing",
        struct.pack(">I", 2) + b"[]",
        {"code": "no such code", "message": "?"},
        {"height": 2**40, "width": 2**40, "channels": 3, "depth": 8},
        {"height": -1, "width": 5, "channels": 3, "depth": 8},
        {"height": 1, "width": 1, "channels": 3, "depth": 64},
        {"height": "1", "width": 1, "channels": 3, "depth": 8},
    ],
)
def test_a_child_that_lies_is_not_believed(poisoned: Decoder, reply: bytes | dict[str, object]) -> None:
    if isinstance(reply, dict):
        text = json.dumps(reply).encode()
        reply = struct.pack(">I", len(text)) + text
    error = fate(poisoned, LIE + reply)
    assert error.code is (ErrorCode.CRASHED if reply else ErrorCode.TIMEOUT)


def test_a_child_killed_between_images_costs_nothing_that_lasts(decoder: Decoder) -> None:
    decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS)
    os.kill(decoder.pid, signal.SIGKILL)
    assert decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS).format == "PNG"


def test_threads_take_turns(decoder: Decoder) -> None:
    files = [saved("PNG", gradient(40 + index, 30)) for index in range(8)]
    widths: list[int] = []

    def work(data: bytes) -> None:
        widths.extend(decoder.decode(data, max_pixels=MAX_PIXELS).width for _ in range(10))

    threads = [threading.Thread(target=work, args=(data,)) for data in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(widths) == sorted(40 + index for index in range(8) for _ in range(10))


def test_closing_leaves_no_process() -> None:
    decoder = Decoder(MEMORY, SECONDS)
    decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS)
    child = decoder.pid
    decoder.close()
    decoder.close()
    assert not alive(child)
    with pytest.raises(RuntimeError, match="closed"):
        decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS)


def test_a_forgotten_decoder_leaves_no_process() -> None:
    decoder = Decoder(MEMORY, SECONDS)
    child = decoder.pid
    del decoder
    assert wait_for_end(child)


@pytest.mark.parametrize("busy", [False, True])
def test_the_child_ends_with_its_parent(busy: bool) -> None:
    """Killed, the parent can say nothing: an idle child sees its input end, a hanging one has an alarm."""
    script = (
        "import sys, threading; sys.path[:] = sys.argv[2:]\n"
        "from pipeline.codecs import sandbox\n"
        "sandbox.GRACE_SECONDS = 1\n"
        "decoder = sandbox.Decoder(1 << 29, 1, decode='poison:decode')\n"
        "def hang(): decoder.decode(b'HANG', max_pixels=1)\n"
        "if sys.argv[1]: threading.Thread(target=hang, daemon=True).start()\n"
        "print(decoder.pid, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, "busy" if busy else "", *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    with parent.stdin, parent.stdout:
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        assert alive(child)
        parent.kill()
        parent.wait()
        assert wait_for_end(child)


def test_the_child_knows_nothing_of_its_parents_environment(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    with Decoder(MEMORY, SECONDS) as fresh:
        fresh.decode(saved("PNG"), max_pixels=MAX_PIXELS)
        environment = Path(f"/proc/{fresh.pid}/environ").read_text().rstrip("\0").split("\0")
    threads = {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "MALLOC_ARENA_MAX=1"}
    assert set(environment) == threads | {"LD_LIBRARY_PATH=/somewhere"}


def test_the_child_is_small_and_loads_no_framework(decoder: Decoder) -> None:
    decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS)
    loaded = Path(f"/proc/{decoder.pid}/maps").read_text()
    for library in ("torch", "_raylet", "libarrow", "pandas"):
        assert library not in loaded
    resident = int(Path(f"/proc/{decoder.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 150 << 20


def test_a_child_that_cannot_start_is_the_runs_error() -> None:
    with Decoder(MEMORY, SECONDS, decode="no.such.module:decode") as decoder:
        for _ in range(2):
            with pytest.raises(RunError, match="does not start"):
                decoder.decode(saved("PNG"), max_pixels=MAX_PIXELS)


def test_limits_have_to_be_above_zero() -> None:
    for memory, seconds in ((0, 1.0), (1, 0.0)):
        with pytest.raises(ValueError, match="above zero"):
            Decoder(memory, seconds)
