"""Where an image's canvases live: on the device that evaluates the network, or on the host.

The network sees one batch of tiles at a time, however large the image is; the canvases that those are cut
from grow with it. Where a device is too small for them they stay on the host, and batches go there and back.
That is told before anything is evaluated, from the device's memory as a whole and the size of this image
alone: by failing, or by what is free, an image's last digits would depend on its neighbours.
"""

from __future__ import annotations

import torch

BYTES_A_PIXEL = 180
"""Of the canvases of colour that are held at once, where most are: while a motion is undone
(benchmarks/canvas.md)."""

_SHARE = 0.15
"""Of a device's memory, for the canvases of one process: others may share it, and tiles take more."""

_HOST = torch.device("cpu")


def pixels_held(total_memory: int) -> int:
    """Of how many pixels, in one image or several, a device of so many bytes holds the canvases."""
    return int(_SHARE * total_memory) // BYTES_A_PIXEL


def canvas_device(device: torch.device, total_memory: int, pixels: int) -> torch.device:
    """Where the canvases of an image live.

    Args:
        device: that evaluates the network.
        total_memory: of the device, in bytes.
        pixels: of the image.
    """
    return device if device == _HOST or pixels <= pixels_held(total_memory) else _HOST
