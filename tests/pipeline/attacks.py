"""A decoder for the sandbox's child that attacks: what hostile bytes could do once they run there.

The image is JSON: the attack's name, and what it aims at. The answer is a `CodecError` whose message is
`done`, or the name of the kernel's error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.codecs.codec import Picture
from pipeline.errors import CodecError, ErrorCode

DECODE = "attacks:decode"
"""For `Decoder(…, decode=…)`; this folder is on the path of every test."""

METADATA = ("169.254.169.254", 80)
"""Where clouds hand out the credentials of a machine."""

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_CALLS = {  # on x86_64, on aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "pidfd_open": (434, 434),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "keyctl": (250, 219),
    "clone": (56, 220),
}


def _call(name: str, *arguments: int) -> int:
    number = _CALLS[name][os.uname().machine == "aarch64"]
    result = _LIBRARY.syscall(*map(ctypes.c_long, (number, *arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _fork(pid: int, path: str) -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _clone(pid: int, path: str) -> None:
    if (child := _call("clone", 17, 0, 0, 0, 0)) == 0:  # 17 is SIGCHLD: a process, not a thread
        os._exit(0)
    os.waitpid(child, 0)


def _vfork(pid: int, path: str) -> None:
    subprocess.run(["/bin/true"], check=True)


def _connect(pid: int, path: str) -> None:
    with socket.socket() as connection:
        connection.settimeout(2)
        connection.connect(METADATA)


def _datagram(pid: int, path: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"a secret", METADATA)


def _thread(pid: int, path: str) -> None:
    thread = threading.Thread(target=lambda: None)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error
    thread.join()


def _trace(pid: int, path: str) -> None:
    seize = 0x4206  # unlike PTRACE_ATTACH, it does not stop its victim
    _call("ptrace", seize, pid, 0, 0)


ATTACKS: dict[str, Callable[[int, str], object]] = {
    "read the parent's environment": lambda pid, path: Path(f"/proc/{pid}/environ").read_bytes(),
    "open the parent's memory": lambda pid, path: os.open(f"/proc/{pid}/mem", os.O_RDWR),
    "copy the parent's memory": lambda pid, path: _call("process_vm_readv", pid, 0, 0, 0, 0, 0),
    "trace the parent": _trace,
    "signal the parent": lambda pid, path: os.kill(pid, 0),
    "open the parent by its id": lambda pid, path: _call("pidfd_open", pid, 0),
    "limit the parent": lambda pid, path: resource.prlimit(pid, resource.RLIMIT_CORE),
    "read a file": lambda pid, path: Path(path).read_bytes(),
    "read a file by another call": lambda pid, path: _call("openat2", 0, 0, 0, 0),
    "list a folder": lambda pid, path: os.listdir("/"),
    "write a file": lambda pid, path: Path(path + ".new").write_bytes(b""),
    "empty a file": lambda pid, path: os.truncate(path, 0),
    "rename a file": lambda pid, path: os.rename(path, path),
    "change a file's mode": lambda pid, path: os.chmod(path, 0o644),
    "make a folder": lambda pid, path: os.mkdir(path + ".folder"),
    "link a file": lambda pid, path: os.symlink(path, path + ".link"),
    "delete a file": lambda pid, path: os.remove(path),
    "ask the metadata service": _connect,
    "send a datagram": _datagram,
    "open a socket of this machine": lambda pid, path: socket.socket(socket.AF_UNIX),
    "fork": _fork,
    "clone a process": _clone,
    "start a program": _vfork,
    "become a program": lambda pid, path: os.execv("/bin/true", ["true"]),
    "make a file in memory": lambda pid, path: os.memfd_create("payload"),
    "copy a descriptor": lambda pid, path: os.dup(0),
    "ask past the filter": lambda pid, path: _call("io_uring_setup", 1, 0),
    "leave a namespace": lambda pid, path: _call("unshare", 0x10000000),
    "read the keyring": lambda pid, path: _call("keyctl", 0, -3, 0),
}

THREAD = "start a thread"


def request(name: str, pid: int, path: Path) -> bytes:
    """The image that attacks a process, or a file."""
    return json.dumps([name, pid, str(path)]).encode()


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Do what the image says. Raises CodecError: how it went."""
    name, pid, path = json.loads(data)
    outcome = "done"
    try:
        (ATTACKS | {THREAD: _thread})[name](pid, path)
    except OSError as error:
        outcome = type(error).__name__
        with suppress(KeyError):
            outcome = errno.errorcode[error.errno or 0]
    raise CodecError(ErrorCode.UNSUPPORTED, outcome)
