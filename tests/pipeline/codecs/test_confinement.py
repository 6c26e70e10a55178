"""Code that runs in the decoder's child reaches nothing: every attack is made there, and refused."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attacks
import numpy as np
import pytest
from attacks import ATTACKS, THREAD
from broken_images import MAX_PIXELS, gradient, saved
from inks import cmyk_profile
from round_trips import exif_block, smooth

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS, Metadata, Picture, decode, encode
from pipeline.codecs.confinement import filter_program
from pipeline.codecs.sandbox import Decoder
from pipeline.errors import CodecError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"),
    reason="only Linux on x86_64 and aarch64 is confined",
)

SECCOMP = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine, 0)
LANDLOCK = 444


@pytest.fixture(scope="module")
def attacker() -> Iterator[Decoder]:
    with Decoder(512 << 20, 20.0, decode=attacks.DECODE) as shared:
        yield shared


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text("a secret")
    return path


def outcome(attacker: Decoder, name: str, path: Path) -> str:
    with pytest.raises(CodecError) as caught:
        attacker.decode(attacks.request(name, os.getpid(), path), max_pixels=MAX_PIXELS)
    return caught.value.message


def on_old_kernel(path: Path, calls: list[int], names: tuple[str, ...]) -> tuple[list, list[str]]:
    """What `old_kernel.py` found, and the lines that it logged."""
    script = Path(__file__).parents[1] / "old_kernel.py"
    done = subprocess.run(
        [sys.executable, str(script), str(path), json.dumps(calls), json.dumps(names)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr.splitlines()


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused(attacker: Decoder, secret: Path, name: str) -> None:
    child = attacker.pid
    assert outcome(attacker, name, secret) == "EPERM"
    assert attacker.pid == child
    assert secret.read_text() == "a secret"
    assert [path.name for path in secret.parent.iterdir()] == ["credentials"]


def test_threads_run(attacker: Decoder, secret: Path) -> None:
    assert outcome(attacker, THREAD, secret) == "done"


def test_no_file_and_no_core_can_be_made(attacker: Decoder, secret: Path) -> None:
    outcome(attacker, THREAD, secret)
    limits = Path(f"/proc/{attacker.pid}/limits").read_text().splitlines()
    for name in ("Max open files", "Max file size", "Max core file size"):
        line = next(line for line in limits if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == ["0", "0"]


@pytest.mark.skipif(ctypes.CDLL(None).syscall(LANDLOCK, None, 0, 1) < 1, reason="this kernel has no Landlock")
def test_landlock_alone_keeps_files_and_processes(secret: Path) -> None:
    names = ("trace the parent", "empty a file", "rename a file", "make a folder", "delete a file", "fork")
    (outcomes, width, dumpable, warning), logged = on_old_kernel(secret, [SECCOMP], names)
    assert outcomes == dict.fromkeys(names, "EACCES") | {"trace the parent": "EPERM", "fork": "done"}
    assert (width, dumpable) == (96, 1)
    assert "start processes and reach the network" in warning
    assert logged == [warning]


def test_seccomp_alone_refuses_everything(secret: Path) -> None:
    (outcomes, width, dumpable, warning), logged = on_old_kernel(secret, [LANDLOCK], tuple(ATTACKS))
    assert outcomes == dict.fromkeys(ATTACKS, "EPERM")
    assert (width, dumpable, warning, logged) == (96, 1, None, [])


def test_a_kernel_with_neither_is_said_once(secret: Path) -> None:
    """Images are decoded, and attacks succeed, but for those that need a file descriptor."""
    names = ("ask the metadata service", "write a file", "empty a file", "fork", "delete a file")
    (outcomes, width, dumpable, warning), logged = on_old_kernel(secret, [SECCOMP, LANDLOCK], names)
    assert outcomes == dict.fromkeys(names[:2], "EMFILE") | dict.fromkeys(names[2:], "done")
    assert (width, dumpable) == (96, 0)
    assert "no seccomp" in warning
    assert logged == [warning]


def test_a_run_says_it_once_too(source: Path, tmp_path: Path) -> None:
    """What decoders of other processes find out comes to the log of the run."""
    script = (
        "import logging, sys\n"
        "from old_kernel import refuse\n"
        "from standin import StandIn\n"
        "from pipeline import RunSettings, restore_dataset\n"
        "logging.basicConfig(level=logging.WARNING, format='%(message)s')\n"
        "refuse([int(number) for number in sys.argv[3:]])\n"
        "settings = RunSettings(batch=1, workers=1)\n"
        "summary = restore_dataset(sys.argv[1], sys.argv[2], settings, restorer_factory=StandIn())\n"
        "print(summary.counts['restored'])\n"
    )
    calls = [str(number) for number in (SECCOMP, LANDLOCK)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path / "dest"), *calls],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["6"]
    assert done.stderr.count("decoding is not confined") == 1


@pytest.mark.parametrize("format", sorted(set(SUPPORTED_EXTENSIONS.values())))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_every_format_is_decoded_as_it_is_here(format: str, channels: int, bits: int) -> None:
    """In a fresh child, whose first image it is: whatever it takes must have been loaded before."""
    pixels = smooth(48, 80, channels, bits, seed=3)
    alpha = np.full((48, 80), np.iinfo(pixels.dtype).max // 3, pixels.dtype)
    metadata = Metadata(exif=exif_block(6, 80, 48), xmp=b"<x:xmpmeta/>", dpi=(300, 300))
    picture = Picture(pixels, alpha, "PNG", "RGBA", metadata)
    data = encode(picture, pixels, format=format).data
    with Decoder(512 << 20, 20.0) as fresh:
        there = fresh.decode(data, max_pixels=MAX_PIXELS)
    here = decode(data, max_pixels=MAX_PIXELS)
    assert there.format == format
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there.metadata == here.metadata


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_become_colours(format: str) -> None:
    data = saved(format, gradient().convert("CMYK"), icc_profile=cmyk_profile())
    with Decoder(512 << 20, 20.0) as fresh:
        there = fresh.decode(data, max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(there.pixels, decode(data, max_pixels=MAX_PIXELS).pixels)


ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(machine: str, number: int, argument: int = 0, *, on: str | None = None) -> int:
    """What the filter of process 1234 says to a call: the kernel's virtual machine, as far as it is used."""
    record = struct.pack("<IIQQ", number, ARCHITECTURES[on or machine], 0, argument)
    program = list(struct.iter_unpack("<HBBI", filter_program(machine, 1234)))
    at = value = 0
    while True:
        code, hit, miss, operand = program[at]
        at += 1
        match code:
            case 0x20:
                value = int.from_bytes(record[operand : operand + 4], "little")
            case 0x15:
                at += hit if value == operand else miss
            case 0x45:
                at += hit if value & operand else miss
            case 0x06:
                return operand


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_speaks_the_machines_numbers(machine: str) -> None:
    numbers = {  # x86_64, aarch64
        "read": (0, 63),
        "mmap": (9, 222),
        "openat": (257, 56),
        "unlinkat": (263, 35),
        "execve": (59, 221),
        "socket": (41, 198),
        "connect": (42, 203),
        "sendmsg": (46, 211),
        "ptrace": (101, 117),
        "kill": (62, 129),
    }
    column = list(ARCHITECTURES).index(machine)
    for name, both in numbers.items():
        expected = ALLOW if name in ("read", "mmap") else REFUSE
        assert verdict(machine, both[column]) == expected, name
    clone, tgkill, prlimit64 = ((56, 220)[column], (234, 131)[column], (302, 261)[column])
    assert verdict(machine, clone, 0x3D0F00) == ALLOW  # as the C library starts threads
    assert verdict(machine, clone, 0x01200011) == REFUSE  # as it forks
    assert verdict(machine, 435) == 0x00050000 | errno.ENOSYS
    assert verdict(machine, tgkill, 1234) == verdict(machine, prlimit64, 0) == ALLOW
    assert verdict(machine, tgkill, 1) == verdict(machine, prlimit64, 1) == REFUSE
    assert verdict(machine, 63, on=({*ARCHITECTURES} - {machine}).pop()) == KILL
    assert verdict("x86_64", 0x40000000) == REFUSE  # the x32 way to say `read`
