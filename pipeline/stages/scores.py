"""Scores of an image on its way, by the manifest's names less their `_before` and `_after`."""

from __future__ import annotations

import numpy as np

from pipeline.codecs.depth import to_float

SCORED = 1024
"""Most pixels along a side that are looked at without a reference."""


def scores(image: np.ndarray, reference: np.ndarray | None = None) -> dict[str, float]:
    """Scores of (H, W, C) pixels of any depth.

    Those without a reference are those of the middle of the green channel: a fraction of the cost, and as
    telling.

    Args:
        image: what is measured.
        reference: a better version of it, of its shape; PSNR and SSIM are told where there is one.
    """
    from i2r import metrics

    measured = metrics.no_reference(_middle(image))
    if reference is not None:
        pair = to_float(image), to_float(reference)
        measured |= {"psnr": metrics.psnr(*pair), "ssim": metrics.ssim(*pair)}
    return measured


def _middle(image: np.ndarray) -> np.ndarray:
    """At most `SCORED` x `SCORED` floats of one channel, whose corner lies on the grid of JPEG's blocks."""
    top, left = ((side - min(side, SCORED)) // 16 * 8 for side in image.shape[:2])
    channel = image.shape[2] // 2
    part = image[top : top + SCORED, left : left + SCORED, channel : channel + 1]
    return to_float(np.ascontiguousarray(part))
