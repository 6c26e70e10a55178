"""Fidelity: whether a result still shows the content of its input.

Noise, blocks, blur and low resolution affect the detail; the content of a picture lies in its coarse
structure. A result that differs from its input at coarse scale contains invented content.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2r.canvas.bands import bands


@dataclass(frozen=True)
class FidelityTuning:
    """At which scale images are compared.

    Attributes:
        cell: side of the cells over which images are averaged, in pixels: 8 reduce noise of 50/255 to 6/255.
    """

    cell: int = 8


FIDELITY = FidelityTuning()


def consistency_psnr(
    result: NDArray[np.float32], given: NDArray[np.float32], replaced: NDArray[np.bool_] | None = None
) -> float:
    """Compute the PSNR in dB between result and input, both averaged over cells.

    Args:
        result, given: (H, W, C) in [0, 1].
        replaced: (H, W), the damaged pixels that were filled: they are left out of the comparison. None if
            there were none.

    Returns:
        the PSNR; infinite if the means are equal or no pixel is left to compare.
    """
    height, width, _ = given.shape
    error, compared = 0.0, 0.0
    for rows in bands(height, width, FIDELITY.cell):
        difference = result[rows].astype(np.float64) - given[rows]
        weight = np.ones(difference.shape[:2]) if replaced is None else (~replaced[rows]).astype(np.float64)
        share = cell_sums(weight, FIDELITY.cell)
        squares = np.square(cell_sums(difference * weight[..., None], FIDELITY.cell)).mean(axis=-1)
        error += float((squares / np.maximum(share, 1)).sum())
        compared += float(share.sum())
    return -10 * math.log10(error / compared) if error else math.inf


def cell_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sum (H, W, ...) over cells of a side in pixels; those at the right and at the bottom may be smaller."""
    rows, columns = (range(0, length, side) for length in values.shape[:2])
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
