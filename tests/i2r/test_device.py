"""What a device is good at, asked of devices that are not here as well."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from i2r import device
from i2r.device import Device, check_gpu, device_name, pixels_at_once, precision_name, precision_on
from i2r.errors import DeviceError, SettingsError

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LIMIT = "ONEDNN_MAX_CPU_ISA"


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The instructions of a CPU that a test makes up, which nobody limits."""
    instructions: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.delenv(LIMIT, raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    return instructions


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], memory: int = 8 << 30) -> None:
    """Pretend that there is a GPU, and a torch with kernels from 7.5 on."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Example GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90", "sm_120", "compute_120"])
    properties = SimpleNamespace(total_memory=memory)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda size, device: zeros(size, device=CPU))


@pytest.mark.parametrize("instructions", [["amx_bf16", "avx512_bf16"], ["avx512_bf16"]])
def test_cpus_that_multiply_bfloat16_compute_in_it(able: dict[str, bool], instructions: list[str]) -> None:
    assert precision_on(CPU) is torch.float32
    able |= dict.fromkeys(instructions, True)
    assert precision_on(CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("limit", "precision"),
    [
        ("AVX2", torch.float32),
        ("avx512_core", torch.float32),
        ("AVX512_CORE_VNNI", torch.float32),
        ("AVX512_CORE_BF16", torch.bfloat16),
        ("AVX512_CORE_AMX", torch.bfloat16),
        ("ALL", torch.bfloat16),
        ("", torch.bfloat16),
    ],
)
def test_instructions_that_are_not_to_be_used_do_not_count(
    able: dict[str, bool], monkeypatch: pytest.MonkeyPatch, limit: str, precision: torch.dtype
) -> None:
    able |= {"amx_bf16": True, "avx512_bf16": True}
    monkeypatch.setenv(LIMIT, limit)
    assert precision_on(CPU) is precision


@pytest.mark.parametrize(
    ("capability", "name"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_gpus_compute_in_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str
) -> None:
    gpu(monkeypatch, capability)
    assert precision_name(precision_on(GPU)) == name


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_what_is_told_is_taken(device: torch.device, name: str) -> None:
    assert precision_name(precision_on(device, name)) == name


def test_an_unknown_precision_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'half': choose one of auto, float32, bfloat16"):
        precision_on(CPU, "half")


def test_a_cpu_takes_tiles_one_by_one() -> None:
    assert pixels_at_once(CPU, 1000) == 0
    assert device_name(CPU) == "cpu"


def test_a_gpu_takes_what_it_has_memory_for_and_no_more_than_fills_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu(monkeypatch, (8, 0), memory=1 << 30)
    assert pixels_at_once(GPU, 1000) == int(0.3 * (1 << 30) / 1000)
    most = pixels_at_once(GPU, 1)
    gpu(monkeypatch, (9, 0), memory=80 << 30)
    assert pixels_at_once(GPU, 1000) == most
    assert device_name(GPU) == "Example GPU"


def test_a_gpu_that_torch_has_no_kernels_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability in ((7, 5), (8, 6), (12, 1)):
        gpu(monkeypatch, capability)
        check_gpu(GPU)
    gpu(monkeypatch, (6, 1))
    with pytest.raises(
        DeviceError, match=r"Example GPU has compute capability 6\.1, .*needs 7\.5, .*: install"
    ):
        check_gpu(GPU)


def test_a_process_computes_on_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, (9, 0))
    assert [Device.assigned(share).where for share in (0, 0.5, 1)] == [CPU, GPU, GPU]


def test_a_gpu_that_cannot_be_used_is_no_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the wheel that is installed here: either it has no CUDA, or this machine has no GPU for it."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here that works")
    with pytest.raises(
        DeviceError, match=rf"torch {re.escape(torch.__version__)}.* no NVIDIA driver is seen: "
    ):
        Device.assigned(1)
    said = tmp_path / "version"
    said.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 2021\nGCC version:"
    )
    monkeypatch.setattr(device, "_DRIVER", said)
    with pytest.raises(DeviceError, match=r"the driver is 470\.57\.02: install a .*wheel") as caught:
        Device.assigned(1)
    assert "\n" not in str(caught.value)


def test_a_driver_that_fails_is_named_with_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_device: torch.device) -> tuple[int, int]:
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 11040).\nPlease update"
        )

    gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    with pytest.raises(DeviceError, match=r"made for CUDA 12\.8, fails on it \(The NVIDIA driver .*11040"):
        Device.assigned(1)
