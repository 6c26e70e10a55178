"""Process large images a few rows or channels at a time, so that intermediate results stay small."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_PIXELS = 1 << 18


def bands(height: int, width: int, step: int = 1) -> Iterator[slice]:
    """Yield the rows of an image in bands, each a multiple of ``step`` rows except the last."""
    rows = step * max(1, _PIXELS // (step * width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def in_bands(
    local: Callable[..., Tensor], *canvases: Tensor, step: int = 1, out: Tensor | None = None
) -> Tensor:
    """Apply ``local`` to canvases, band by band.

    Args:
        local: maps a band of each canvas to one band. Its result on ``step`` rows, counted from the top of
            the canvas, must depend on those rows alone.
        canvases: (..., H, W), or with sides smaller by a whole factor; the first is the largest.
        step: rows that must be processed together, such as those of a block.
        out: written to and returned; a new canvas by default.
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
    """Apply ``local`` to canvases (C, H, W), a few channels at a time.

    Args:
        local: maps some channels of each canvas to as many channels, each independently of the others.
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
    """Return whether all values are finite, without copying the canvases."""
    return bool(torch.stack([end for x in canvases for end in (x.amin(), x.amax())]).isfinite().all())


def _share(rows: slice, length: int, height: int) -> slice:
    """Scale ``rows`` of a canvas of ``height`` to the rows at the same place of one of ``length``."""
    return slice(rows.start * length // height, rows.stop * length // height)
