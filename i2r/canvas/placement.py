"""Where an image's canvases are kept: on the device that evaluates the network, or on the host.

The network sees one batch of tiles at a time, whatever the size of the image, but the canvases grow with the
image. If the device is too small for them, they stay on the host, and batches are copied back and forth. The
choice depends only on the device's total memory and the size of the image, and is made before any evaluation:
if it depended on free memory or on a failed allocation, the last digits of a result would depend on the other
images.
"""

from __future__ import annotations

import torch

BYTES_A_PIXEL = 180
"""Most memory that the colour canvases of an image take per pixel, reached while motion blur is undone
(benchmarks/canvas.md)."""

_SHARE = 0.15
"""Share of a device's memory for the canvases of one process: tiles and other processes need the rest."""

_HOST = torch.device("cpu")


def pixels_held(total_memory: int) -> int:
    """Return the number of pixels, in one image or several, whose canvases fit on a device.

    Args:
        total_memory: of the device, in bytes.
    """
    return int(_SHARE * total_memory) // BYTES_A_PIXEL


def canvas_device(device: torch.device, total_memory: int, pixels: int) -> torch.device:
    """Return the device that keeps the canvases of an image.

    Args:
        device: the device that evaluates the network.
        total_memory: of the device, in bytes.
        pixels: number of pixels of the image.
    """
    return device if device == _HOST or pixels <= pixels_held(total_memory) else _HOST
