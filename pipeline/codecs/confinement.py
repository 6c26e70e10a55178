"""Confines a process for good: it computes on what it has, and reaches nothing else, not even as root.

    layers = confine()      # of Linux, what this kernel has

A confined process opens no file and no socket, starts no process, and looks into, traces and signals none.
It may take memory, start threads, and use the file descriptors that it has: load every library before.

Seccomp lets the calls in a list through and no other, so it is enough alone; it is written for x86_64 and
aarch64. Landlock judges files, TCP, signals and tracing, whatever call asks for them: a second wall behind
the first, or a lower one where there is no first. `RLIMIT_NPROC` would be no limit of this process: it counts
all threads of a user, and decoding HEIF takes some.

Sources: the kernel's `Documentation/userspace-api/seccomp_filter.rst` and `landlock.rst`, `linux/filter.h`;
numbers of calls from `asm/unistd_64.h` (x86_64) and `asm-generic/unistd.h` (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from enum import IntFlag

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION = 1  # the flag that asks for it
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS = 1, 1

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {
    # memory
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    # the file descriptors that are open
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "close": (3, 57),
    # threads; `clone`, `prlimit64` and `tgkill` are below
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # signals and clocks
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "setitimer": (38, 103),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    # what the machine has
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
}
"""Calls that are allowed whatever their arguments are, with their numbers on x86_64 and aarch64."""

_CLONE, _CLONE3 = (56, 220), (435, 435)
_PRLIMIT64, _TGKILL = (302, 261), (234, 131)
_CLONE_THREAD = 0x00010000

# Instructions of classic BPF, on the kernel's record of a call: its number, its architecture, its arguments.
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL, _FAIL_WITH = 0x7FFF0000, 0x80000000, 0x00050000


class Layer(IntFlag):
    """What confines a process."""

    LANDLOCK = 1
    SECCOMP = 2


def confine() -> Layer:
    """Confine this process and all that it starts, for good.

    Returns:
        the layers that hold; a kernel that lacks one, or whose own guard refuses it, goes without.
    """
    held = Layer(0)
    if sys.platform != "linux":
        return held
    kernel = _Kernel()
    kernel.control(_PR_SET_NO_NEW_PRIVS, 1)
    for layer, raise_it in ((Layer.LANDLOCK, _raise_landlock), (Layer.SECCOMP, _raise_seccomp)):
        try:
            raise_it(kernel)
        except OSError:
            continue
        held |= layer
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    return held


def hide() -> None:
    """Refuse processes of this user a look into this one: its environment, its memory, a trace.

    Ray's monitors are refused, too, so this is for where no layer holds.
    """
    if sys.platform == "linux":
        _Kernel().control(_PR_SET_DUMPABLE, 0)


class _Kernel:
    """Calls of the kernel that Python has no function for. Raises OSError for those that fail."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def call(self, number: int, *arguments: int) -> int:
        return self._checked(self._library.syscall(*map(ctypes.c_long, (number, *arguments))))

    def control(self, option: int, value: int) -> int:
        return self._checked(self._library.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result


def _raise_landlock(kernel: _Kernel) -> None:
    """Handle every right that the kernel's version knows, and grant none of them."""
    version = kernel.call(_LANDLOCK_CREATE_RULESET, 0, 0, _LANDLOCK_VERSION)
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1  # moving, truncating, devices
    tcp = 0b11 if version >= 4 else 0  # bind, connect
    scopes = 0b11 if version >= 6 else 0  # abstract sockets and signals of other processes
    rights = ctypes.create_string_buffer(struct.pack("=QQQ", files, tcp, scopes), 24)
    rules = kernel.call(_LANDLOCK_CREATE_RULESET, ctypes.addressof(rights), 24, 0)
    try:
        kernel.call(_LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _raise_seccomp(kernel: _Kernel) -> None:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter is written for {machine}")
    instructions = filter_program(machine, os.getpid())
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = ctypes.create_string_buffer(struct.pack("HP", len(instructions) // 8, ctypes.addressof(code)))
    address = ctypes.addressof(program)
    if kernel.call(_SECCOMP[machine], _SECCOMP_SET_MODE_FILTER, _SECCOMP_ALL_THREADS, address):
        raise OSError(errno.EBUSY, "a thread has a filter of its own")


def filter_program(machine: str, pid: int) -> bytes:
    """The seccomp filter of a process, as an array of the kernel's `struct sock_filter`.

    Args:
        machine: `x86_64` or `aarch64`.
        pid: of the process, which may send signals to its own threads: `abort` does.
    """
    column = list(_ARCHITECTURES).index(machine)
    allow = _instruction(_RETURN, _ALLOW)
    refuse = _instruction(_RETURN, _FAIL_WITH | errno.EPERM)
    argument = _instruction(_LOAD, _FIRST_ARGUMENT)  # its low half, on little-endian machines

    def answer(call: tuple[int, int], *instructions: bytes) -> list[bytes]:
        return [_instruction(_IF_EQUAL, call[column], 0, len(instructions)), *instructions]

    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_IF_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _instruction(_RETURN, _KILL),  # the numbers below mean other calls there
        _instruction(_LOAD, _NUMBER),
    ]
    for call in _CALLS.values():
        program += answer(call, allow)
    program += answer(_CLONE, argument, _instruction(_IF_ANY_BIT, _CLONE_THREAD, 0, 1), allow, refuse)
    program += answer(_PRLIMIT64, argument, _instruction(_IF_EQUAL, 0, 0, 1), allow, refuse)
    program += answer(_TGKILL, argument, _instruction(_IF_EQUAL, pid, 0, 1), allow, refuse)
    # A filter does not see the flags of `clone3`; the C library then uses `clone`.
    program += answer(_CLONE3, _instruction(_RETURN, _FAIL_WITH | errno.ENOSYS))
    return b"".join([*program, refuse])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One `struct sock_filter`; the jumps are numbers of instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
