"""What a device is good at: the precision that it computes fastest in, and how many tiles fill it."""

from __future__ import annotations

import os

import torch

from i2r.errors import SettingsError
from i2r.settings import BY_DEVICE, PRECISIONS

_FIRST_BFLOAT16 = 8, 0
"""Compute capability of the first GPUs whose matrix units take bfloat16."""
_MOST_PIXELS = 1 << 21
"""Of tiles that are evaluated together: milliseconds of a large GPU, longer than it takes to ask for it."""
_MOST_MEMORY = 0.3
"""Of a GPU's memory for that, so that two processes can share one, each with its canvases."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables by which people keep oneDNN, which computes convolutions on CPUs, from some instructions."""
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Of its values, those that leave no instruction for products of bfloat16."""


def precision_on(device: torch.device, wanted: str = BY_DEVICE) -> torch.dtype:
    """The precision to compute in: the ``wanted`` one, or for ``auto`` the faster one on this device.

    bfloat16 gives the same results to 0.01 dB (benchmarks/quality.md). On a CPU that multiplies it natively
    it takes half the time of float32 or less; where it is emulated, up to seven times as much.

    Raises:
        SettingsError: there is no such precision.
    """
    if wanted not in PRECISIONS:
        raise SettingsError(f"no precision {wanted!r}: choose one of {', '.join(PRECISIONS)}")
    if wanted != BY_DEVICE:
        return torch.float32 if wanted == "float32" else torch.bfloat16
    native = _gpu_multiplies_bfloat16(device) if device.type == "cuda" else _cpu_multiplies_bfloat16()
    return torch.bfloat16 if native else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """As settings and manifests have it."""
    return str(precision).removeprefix("torch.")


def pixels_at_once(device: torch.device, bytes_a_pixel: int) -> int:
    """How many pixels of tiles to evaluate together: on a CPU none, so that tiles go one by one.

    Of a GPU by its memory as a whole, and never by what is free of it, or results would differ in their last
    digits from one process to the next.

    Args:
        device: that evaluates the network.
        bytes_a_pixel: of memory that an evaluation takes.
    """
    if device.type != "cuda":
        return 0
    return min(_MOST_PIXELS, int(_MOST_MEMORY * total_memory(device) / bytes_a_pixel))


def total_memory(device: torch.device) -> int:
    """Of a GPU, in bytes; of a CPU, which is the host itself, none of its own."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def device_name(device: torch.device) -> str:
    """As manifests have it: ``cpu``, or the model of a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def check_gpu(device: torch.device) -> None:
    """Refuse a GPU that the installed torch was not built for: its kernels would fail one by one.

    Raises:
        SettingsError: it is older than all that this torch has kernels for.
    """
    capability = torch.cuda.get_device_capability(device)
    oldest = min(_capability(name) for name in torch.cuda.get_arch_list())
    if capability < oldest:
        has, needs = (".".join(map(str, numbers)) for numbers in (capability, oldest))
        raise SettingsError(
            f"{torch.cuda.get_device_name(device)} has compute capability {has}, and torch "
            f"{torch.__version__} needs {needs}: install a build of torch for older GPUs, or hide this one "
            "(CUDA_VISIBLE_DEVICES=)"
        )


def _capability(architecture: str) -> tuple[int, int]:
    """(8, 6) of ``sm_86``, (12, 0) of ``sm_120a`` or ``compute_120``."""
    digits = "".join(character for character in architecture.partition("_")[2] if character.isdigit())
    return int(digits[:-1]), int(digits[-1])


def _gpu_multiplies_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= _FIRST_BFLOAT16


def _cpu_multiplies_bfloat16() -> bool:
    limit = next((os.environ[name] for name in _LIMITS if name in os.environ), "")
    able = torch.cpu.get_capabilities()
    native = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
    return bool(native) and limit.upper() not in _WITHOUT_BFLOAT16
