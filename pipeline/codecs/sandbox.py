"""Decodes in a child process: a crash, a hang or a memory bomb fails only one image.

    with Decoder(memory_bytes=2 << 30, seconds=60) as decoder:
        picture = decoder.decode(data, max_pixels=100_000_000)

Hostile bytes may take over the child, so nothing that it sends is trusted: a reply is a short JSON header,
checked field by field, and raw buffers of the sizes in it. The child has no environment but a few settings of
libraries, is confined (`pipeline.codecs.confinement`), and ends when its parent does.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from i2r.jpeg_tables import JpegTables
from pipeline.codecs.child import LENGTH, RAW_FIELDS, REQUEST
from pipeline.codecs.codec import Metadata, Picture
from pipeline.codecs.confinement import Layer, hide
from pipeline.errors import CodecError, ErrorCode, RunError

DECODE = "pipeline.codecs.codec:decode"
"""Function that the child runs, `module:function`, with the signature of `pipeline.codecs.codec.decode`."""

START_SECONDS = 60
GRACE_SECONDS = 5
"""Seconds after the parent's deadline at which the child ends itself, since its parent may have died."""

_MAX_HEADER = 1 << 20
_MAX_METADATA = 256 << 20
_DEPTHS = {8: np.uint8, 16: np.uint16}

_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from pipeline.codecs.child import serve; serve()"

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Decoder:
    """Decodes in a child process, which starts at once and is restarted after each death.

    Threads may share a decoder; they take turns. It cannot be pickled: make one where it is used.

    Attributes:
        warning: what a hostile image could do where the kernel does not confine the child; None before one is
            decoded.

    Args:
        memory_bytes: most memory for decoding one image, besides the child's own (enforced on Linux).
        seconds: wall-clock limit per image.
        decode: `module:function` that the child runs instead of `pipeline.codecs.codec.decode`.
    """

    def __init__(self, memory_bytes: int, seconds: float, *, decode: str = DECODE) -> None:
        if memory_bytes <= 0 or seconds <= 0:
            raise ValueError("a decoder needs a memory limit and a deadline above zero")
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._decode = decode
        self._turn = threading.Lock()
        self._closed = False
        self.warning: str | None = None
        self._process: subprocess.Popen[bytes]
        self._start()

    @property
    def pid(self) -> int:
        """The process id of the current child."""
        return self._process.pid

    def decode(self, data: bytes, *, max_pixels: int) -> Picture:
        """Decode one image, as `pipeline.codecs.codec.decode` does.

        Raises:
            CodecError: with its codes, or for the child itself `timeout`, `too_large` if it takes too much
                memory, `crashed` if it died of the image twice, `worker_died` if it was killed twice.
            RunError: the child does not start.
        """
        if len(data) > self._memory_bytes:
            raise CodecError(ErrorCode.TOO_LARGE, f"the file alone is larger than the limit of {self._limit}")
        with self._turn:
            if self._closed:
                raise RuntimeError("this decoder is closed")
            try:
                return self._decode_once(data, max_pixels)
            except CodecError as error:
                if error.code not in (ErrorCode.CRASHED, ErrorCode.WORKER_DIED):
                    raise
            return self._decode_once(data, max_pixels)  # a second child that dies of it dies of the image

    def _decode_once(self, data: bytes, max_pixels: int) -> Picture:
        """Decode one image in one child. Raises as `decode`."""
        self._await_start()
        try:
            return self._ask(data, max_pixels)
        except CodecError as error:
            if error.code is not ErrorCode.OUT_OF_MEMORY:
                raise
            self._restart()  # a failed allocation may leave the child in a bad state
            message = f"{error.message}: the limit is {self._limit} (decode_memory_mib)"
            raise CodecError(ErrorCode.TOO_LARGE, message) from None
        except TimeoutError:
            self._restart()
            message = f"decoding took longer than {self._seconds:g} s"
            raise CodecError(ErrorCode.TIMEOUT, message) from None
        except (EOFError, ConnectionError):
            status = self._restart(patience=GRACE_SECONDS)
            code = ErrorCode.WORKER_DIED if status == -signal.SIGKILL else ErrorCode.CRASHED
            raise CodecError(code, f"decoding ended its process ({_cause(status)})") from None
        except Exception as error:  # a forged or corrupt header can raise anything
            self._restart()
            message = "the decoding process sent an answer that makes no sense"
            raise CodecError(ErrorCode.CRASHED, message) from error
        except BaseException:
            self._restart()  # interrupted before the reply was read: the next request must not get it
            raise

    def close(self) -> None:
        """End the child; closing twice is harmless."""
        with self._turn:
            self._closed = True
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _limit(self) -> str:
        return f"{self._memory_bytes / 2**20:.0f} MiB"

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        path = [entry or os.getcwd() for entry in sys.path]
        command = [sys.executable, "-I", "-S", "-c", _BOOT]
        arguments = [str(self._memory_bytes), repr(self._seconds + GRACE_SECONDS), self._decode]
        with theirs:
            self._process = subprocess.Popen(
                [*command, *arguments, *path, str(Path(__file__).parents[2])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
            )
        self._ready = False
        self._end = weakref.finalize(self, _end, self._process, self._socket)

    def _await_start(self) -> None:
        if self._ready:
            return
        self._socket.settimeout(START_SECONDS)
        said = b""
        with contextlib.suppress(OSError):
            said = self._socket.recv(1)
        self._ready = len(said) == 1
        if not self._ready:
            self._end()
            status = self._process.returncode
            self._start()
            raise RunError(f"the decoding process does not start ({_cause(status)}): its log says why")
        self.warning = _warning(Layer(said[0]))
        if self.warning:
            _log_once(self.warning)

    def _restart(self, *, patience: float = 0) -> int | None:
        """End the child and start another.

        Returns:
            the exit status of the first one, if it ended by itself within `patience` seconds, or None.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        status: int | None = self._process.poll()
        self._end()
        self._start()
        return status

    def _ask(self, data: bytes, max_pixels: int) -> Picture:
        stream = _Stream(self._socket, time.monotonic() + self._seconds)
        stream.send(REQUEST.pack(len(data), max_pixels))
        stream.send(data)
        length = LENGTH.unpack(stream.receive(LENGTH.size))[0]
        if length > _MAX_HEADER:
            raise ValueError("the header is too long")
        return _parse(json.loads(stream.receive(length)), stream, max_pixels)


class _Stream:
    """The parent's side of the socket, under one deadline for a whole exchange."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def send(self, data: bytes) -> None:
        self._wait()
        self._connection.sendall(data)

    def receive(self, size: int) -> bytes:
        buffer = bytearray(size)
        self.receive_into(memoryview(buffer))
        return bytes(buffer)

    def receive_into(self, view: memoryview) -> None:
        while view:
            self._wait()
            count = self._connection.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)


def _parse(header: dict[str, Any], stream: _Stream, max_pixels: int) -> Picture:
    """The picture in a reply. Raises the `CodecError` in a reply, or `ValueError` for an invalid one."""
    if "code" in header:
        raise CodecError(ErrorCode(header["code"]), str(header["message"]))
    height, width, channels = (_checked(header[name], int) for name in ("height", "width", "channels"))
    if min(height, width) < 1 or height * width > max_pixels or channels not in (1, 3):
        raise ValueError("impossible shape")
    depth = _DEPTHS[header["depth"]]
    pixels = np.empty((height, width, channels), depth)
    stream.receive_into(_flat(pixels))
    alpha = np.empty((height, width), depth) if _checked(header["alpha"], bool) else None
    if alpha is not None:
        stream.receive_into(_flat(alpha))
    sizes = [_checked(size, int) for size in header["sizes"]]
    if min(sizes, default=0) < 0 or sum(sizes) > _MAX_METADATA:
        raise ValueError("impossible sizes of metadata")
    names = [name for name in header["raw"] if name in RAW_FIELDS]
    values = [stream.receive(size) for size in sizes]
    raw, rest = dict(zip(names, values, strict=False)), values[len(names) :]
    chunks = tuple(zip(rest[::2], rest[1::2], strict=True))
    dpi = header["dpi"] and (float(header["dpi"][0]), float(header["dpi"][1]))
    quality = header["quality"]
    return Picture(
        pixels=pixels,
        alpha=alpha,
        format=_checked(header["format"], str),
        mode=_checked(header["mode"], str)[:32],
        metadata=Metadata(dpi=dpi, chunks=chunks or None, **raw),
        losses=tuple(_checked(word, str)[:32] for word in header["losses"][:64]),
        quality=None if quality is None else _checked(quality, int),
        lossless=_checked(header["lossless"], bool),
        bare=_checked(header["bare"], bool),
        tables=None if header["tables"] is None else _parse_tables(header["tables"]),
    )


def _parse_tables(parts: Any) -> JpegTables:
    luma, chroma, sampling = (tuple(_checked(value, int) for value in part) for part in parts)
    lengths = len(luma), len(chroma), len(sampling)
    if lengths != (64, 64, 2) or min(luma + chroma) < 1 or not {1, 2}.issuperset(sampling):
        raise ValueError("impossible quantisation tables")
    return JpegTables(luma, chroma, (sampling[0], sampling[1]))


def _checked(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"not of type {kind.__name__}")
    return value


def _flat(array: np.ndarray) -> memoryview:
    return array.data.cast("B")


def _environment() -> dict[str, str]:
    """The child's environment: where libraries are, and limits to one thread."""
    single = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"
    )
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ} | single


def _warning(layers: Layer) -> str | None:
    """What the missing layers leave open, after closing what this process can; None if nothing is."""
    if Layer.SECCOMP in layers:
        return None
    if not layers:
        hide()
    left = "start processes and reach the network" if layers else "do what this user can"
    return (
        f"decoding is not confined, since this kernel offers no seccomp filter: an image that takes over its "
        f"decoder could {left}; restore what others sent you on Linux with seccomp, on x86_64 or aarch64"
    )


@functools.cache
def _log_once(warning: str) -> None:
    logger.warning(warning)


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()  # an idle child ends by itself when its input does
    process.kill()
    process.wait()


def _cause(status: int | None) -> str:
    if status is None or status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    return f"{name}, perhaps the machine ran out of memory" if name == "SIGKILL" else name
