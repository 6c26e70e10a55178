"""Where to stop an optimisation that fits the image first and its damage after.

The minimum of the variance of the last few images (Wang et al., arXiv 2112.06074): near the clean image the
optimisation lingers, before and beyond it moves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor


def stopped(images: Iterable[Tensor], window: int, patience: int) -> tuple[Tensor, int]:
    """The image at the minimum, and how many were looked at.

    Args:
        images: one an iteration, at least one.
        window: over how many of them the variance is taken.
        patience: the minimum is one that so many after it have not undercut.
    """
    recent: deque[Tensor] = deque(maxlen=window)
    least, best, since, count = float("inf"), torch.empty(0), 0, 0
    for count, image in enumerate(images, 1):  # noqa: B007 - the count is wanted after the loop
        recent.append(image)
        if len(recent) < window:
            best = image
            continue
        variance = torch.stack(tuple(recent)).var(dim=0, correction=0).mean().item()
        since += 1
        if variance < least:
            least, best, since = variance, image, 0
        if since >= patience:
            break
    return best, count
