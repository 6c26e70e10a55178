"""The device that networks compute on, the precision it computes fastest in, and how many tiles fill it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from i2r.errors import DeviceError, SettingsError
from i2r.settings import BY_DEVICE, PRECISIONS

_FIRST_BFLOAT16 = 8, 0
"""Compute capability of the first GPUs whose matrix units support bfloat16."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that restrict the instructions of oneDNN, which computes convolutions on CPUs."""
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of these variables that rule out the instructions for products of bfloat16."""

_DRIVER = Path("/proc/driver/nvidia/version")
"""File in which NVIDIA's driver says its version."""
_DRIVER_VERSION = re.compile(r"NVRM version:.*?\s(\d+\.[\d.]+)\s")


@dataclass(frozen=True)
class Device:
    """The device of a process: its CPUs, or a GPU that was seen to work.

    A process that was given a GPU never computes on its CPUs instead: that takes hundreds of times as long,
    and nobody would notice.

    Attributes:
        where: as torch calls it.
    """

    where: torch.device

    @classmethod
    def assigned(cls, gpus: float) -> Device:
        """The device of a process that was given so many GPUs, or a share of one: the first that it sees.

        Raises:
            DeviceError: it was given a GPU that it cannot use.
        """
        if not gpus:
            return cls(torch.device("cpu"))
        gpu = torch.device("cuda")
        check_gpu(gpu)
        return cls(gpu)

    @classmethod
    def found(cls) -> Device:
        """The device of a program that nobody gives one: a GPU if the driver shows one, else the CPUs.

        Raises:
            DeviceError: it cannot use the GPU that is there.
        """
        return cls.assigned(torch.cuda.device_count())


@dataclass(frozen=True)
class DeviceTuning:
    """How large the batches of a GPU are.

    Attributes:
        most_pixels: in one batch of tiles: milliseconds of work for a large GPU, more than the launch takes.
        most_memory: share of a GPU's memory for one batch, so that two processes, each with its canvases, can
            share the GPU.
    """

    most_pixels: int = 1 << 21
    most_memory: float = 0.3


DEVICE = DeviceTuning()


def precision_on(device: torch.device, wanted: str = BY_DEVICE) -> torch.dtype:
    """Return the precision to compute in: the ``wanted`` one, or for ``auto`` the faster one on this device.

    bfloat16 gives the same results to 0.01 dB (benchmarks/quality.md). On a CPU that multiplies it natively
    it takes half the time of float32 or less; on one that emulates it, up to seven times as much.

    Raises:
        SettingsError: ``wanted`` is none of ``PRECISIONS``.
    """
    if wanted not in PRECISIONS:
        raise SettingsError(f"no precision {wanted!r}: choose one of {', '.join(PRECISIONS)}")
    if wanted != BY_DEVICE:
        return torch.float32 if wanted == "float32" else torch.bfloat16
    native = _gpu_multiplies_bfloat16(device) if device.type == "cuda" else _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Return a precision's name in settings and manifests, such as ``bfloat16``."""
    return str(precision).removeprefix("torch.")


def pixels_at_once(device: torch.device, bytes_a_pixel: int) -> int:
    """Return the most pixels in one batch of tiles: 0 on a CPU, where every batch is a single tile.

    A GPU's total memory decides, never its free memory: otherwise the batch size, and with it the last digits
    of results, would differ between processes.

    Args:
        device: the device that evaluates the network.
        bytes_a_pixel: memory that one evaluation takes per pixel.
    """
    if device.type != "cuda":
        return 0
    return min(DEVICE.most_pixels, int(DEVICE.most_memory * total_memory(device) / bytes_a_pixel))


def total_memory(device: torch.device) -> int:
    """Return a GPU's memory in bytes; 0 for a CPU, which uses the host's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def device_name(device: torch.device) -> str:
    """Return a device's name in manifests: ``cpu``, or the model of a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_gpu(device: torch.device) -> None:
    """Refuse a GPU that does not compute, or that the installed torch has no kernels for.

    Raises:
        DeviceError: which driver and wheel of torch do not go together, and what to install.
    """
    wheel = f"torch {torch.__version__}"
    if torch.version.cuda is None and torch.version.hip is None:
        raise _unusable(f"{wheel} is a wheel without CUDA", "install a wheel with it")
    try:
        capability = torch.cuda.get_device_capability(device)
        if torch.version.cuda is not None:
            _check_capability(torch.cuda.get_device_name(device), capability, wheel)
        torch.zeros(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        raise _unusable(
            f"{wheel}, made for CUDA {torch.version.cuda}, fails on it ({str(error).splitlines()[0][:120]})",
            "install a driver for this wheel, or a wheel for this driver",
        ) from error


def _check_capability(name: str, capability: tuple[int, int], wheel: str) -> None:
    oldest = min(_capability(architecture) for architecture in torch.cuda.get_arch_list())
    if capability < oldest:
        has, needs = (".".join(map(str, numbers)) for numbers in (capability, oldest))
        raise _unusable(
            f"{name} has compute capability {has}, and {wheel} needs {needs}",
            "install a build of torch for older GPUs",
        )


def _unusable(why: str, mend: str) -> DeviceError:
    driver = driver_version()
    shown = f"the driver is {driver}" if driver else "no NVIDIA driver is seen"
    mend = mend if driver else f"{mend}, let it see a driver"
    return DeviceError(f"its GPU cannot be used: {why}, and {shown}: {mend}, or give it no GPU")


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, or None if this process sees none."""
    try:
        found = _DRIVER_VERSION.search(_DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else None


def _capability(architecture: str) -> tuple[int, int]:
    """Parse ``sm_86`` to (8, 6), ``sm_120a`` or ``compute_120`` to (12, 0)."""
    digits = "".join(character for character in architecture.partition("_")[2] if character.isdigit())
    return int(digits[:-1]), int(digits[-1])


def _gpu_multiplies_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= _FIRST_BFLOAT16


def _cpu_multiplies_bfloat16() -> bool:
    limit = next((os.environ[name] for name in _LIMITS if name in os.environ), "")
    able = torch.cpu.get_capabilities()
    native = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
    return bool(native) and limit.upper() not in _WITHOUT_BFLOAT16
