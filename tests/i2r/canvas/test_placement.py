"""Canvases live where there is room for them, whatever else is there."""

from __future__ import annotations

import pytest
import torch

from i2r.canvas.placement import BYTES_A_PIXEL, canvas_device, pixels_held

GPU, HOST = torch.device("cuda", 1), torch.device("cpu")


@pytest.mark.parametrize(
    ("gibibytes", "megapixels", "device"),
    [
        (80, 24, GPU),
        (80, 100, HOST),
        (16, 12, GPU),
        (16, 24, HOST),
        (4, 2.5, GPU),
        (4, 12, HOST),
    ],
)
def test_scans_are_too_large_for_small_devices(
    gibibytes: int, megapixels: float, device: torch.device
) -> None:
    assert canvas_device(GPU, gibibytes << 30, round(1e6 * megapixels)) == device


def test_the_host_holds_its_own() -> None:
    assert canvas_device(HOST, 0, 10**9) == HOST


@pytest.mark.parametrize("total_memory", [0, 1 << 30, 141 << 30])
def test_what_is_held_is_a_part_of_the_memory(total_memory: int) -> None:
    most = pixels_held(total_memory)
    assert canvas_device(GPU, total_memory, most) == GPU
    assert canvas_device(GPU, total_memory, most + 1) == HOST
    assert most * BYTES_A_PIXEL <= total_memory / 4
