"""Large images a part at a time, a few rows or a few channels, so that what is needed in between is small."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_PIXELS = 1 << 18


def bands(height: int, width: int, step: int = 1) -> Iterator[slice]:
    """The rows of an image, a few at a time, and ``step`` or a multiple of them in all bands but the last."""
    rows = step * max(1, _PIXELS // (step * width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def in_bands(
    local: Callable[..., Tensor], *canvases: Tensor, step: int = 1, out: Tensor | None = None
) -> Tensor:
    """What ``local`` makes of canvases, band by band.

    Args:
        local: takes a band of each canvas and gives one back. Every ``step`` rows that it is given, counted
            from the first one of the canvas, must tell it all of what becomes of them.
        canvases: (..., H, W), or of sides that are smaller by a whole number; the first is the largest.
        step: rows that belong together, such as those of a block.
        out: what is written to, and given back; a new canvas by default.
    """
    *_, height, width = canvases[0].shape
    for rows in bands(height, width, step):
        part = local(*(canvas[..., _share(rows, canvas.shape[-2], height), :] for canvas in canvases))
        if out is None:
            length = part.shape[-2] * height // (rows.stop - rows.start)
            out = part.new_empty(*part.shape[:-2], length, part.shape[-1])
        out[..., _share(rows, out.shape[-2], height), :] = part
    assert out is not None
    return out


def in_planes(local: Callable[..., Tensor], *canvases: Tensor) -> Tensor:
    """What ``local`` makes of canvases (C, H, W), of each channel on its own.

    Args:
        local: takes some channels of each canvas and gives them back.
    """
    count, together = len(canvases[0]), max(1, _PIXELS // canvases[0][0].numel())
    out: Tensor | None = None
    for start in range(0, count, together):
        some = slice(start, start + together)
        part = local(*(canvas[some] for canvas in canvases))
        if out is None:
            out = part.new_empty(count, *part.shape[1:])
        out[some] = part
    assert out is not None
    return out


def finite(*canvases: Tensor) -> bool:
    """Whether all of their values are, without copies of them."""
    return bool(torch.stack([end for x in canvases for end in (x.amin(), x.amax())]).isfinite().all())


def _share(rows: slice, length: int, height: int) -> slice:
    """The rows of a canvas of ``length`` that lie where ``rows`` of one of ``height`` do."""
    return slice(rows.start * length // height, rows.stop * length // height)
