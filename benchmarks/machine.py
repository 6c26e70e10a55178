"""The machine that a benchmark ran on, as far as it decides the time."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2r import Restorer

INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX",
}
"""By their flags in /proc/cpuinfo."""


def machine(restorer: Restorer) -> dict[str, Any]:
    """What computes and in which precision, plain JSON; no name of a host."""
    import torch

    return processor() | {
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        "device": restorer.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def processor() -> dict[str, Any]:
    """The processor: its name and the instructions that networks use."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name") or platform.machine(),
        "instructions": [name for flag, name in INSTRUCTIONS.items() if flag in flags],
    }


def in_words(machine: dict[str, Any]) -> str:
    """As one line."""
    cap = machine["onednn_max_cpu_isa"]
    parts = [
        machine["cpu"],
        "/".join(machine["instructions"]),
        f"oneDNN held to {cap}" if cap else "",
        machine["device"],
        f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}",
        f"torch {machine['torch']}",
    ]
    return ", ".join(part for part in parts if part)
