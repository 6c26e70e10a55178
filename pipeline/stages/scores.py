"""Scores of an image, under the manifest's names without `_before` and `_after`."""

from __future__ import annotations

import numpy as np

from pipeline.codecs.depth import to_float

SCORED = 1024
"""Most pixels along a side that scores without a reference are computed from."""


def scores(image: np.ndarray, reference: np.ndarray | None = None) -> dict[str, float]:
    """Scores of (H, W, C) pixels of any depth.

    Scores without a reference are computed from the middle of the green channel only: a fraction of the cost,
    and as informative.

    Args:
        image: the pixels to score.
        reference: a better version of the same shape; PSNR and SSIM are computed only with one.
    """
    from i2r import metrics

    measured = metrics.no_reference(_middle(image))
    if reference is not None:
        pair = to_float(image), to_float(reference)
        measured |= {"psnr": metrics.psnr(*pair), "ssim": metrics.ssim(*pair)}
    return measured


def _middle(image: np.ndarray) -> np.ndarray:
    """At most `SCORED` x `SCORED` floats of one channel; the corner is on the grid of JPEG's blocks."""
    top, left = ((side - min(side, SCORED)) // 16 * 8 for side in image.shape[:2])
    channel = image.shape[2] // 2
    part = image[top : top + SCORED, left : left + SCORED, channel : channel + 1]
    return to_float(np.ascontiguousarray(part))
