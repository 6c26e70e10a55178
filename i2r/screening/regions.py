"""Regions: the parts of an image in which local damage is detected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

Region = tuple[slice, slice]
"""Rows and columns of a part of an image."""


@dataclass(frozen=True)
class RegionTuning:
    """How large regions are.

    Attributes:
        side: about theirs, in pixels: the size of calibration crops.
    """

    side: int = 192


REGION = RegionTuning()


def regions(height: int, width: int) -> list[Region]:
    """An image cut evenly into parts, row by row."""
    rows, columns = ([slice(*ends) for ends in pairwise(edges(length))] for length in (height, width))
    return list(product(rows, columns))


def edges(length: int) -> list[int]:
    """Where the parts of a side of an image begin, and its end."""
    count = max(1, round(length / REGION.side))
    return [length * index // count for index in range(count + 1)]


def mask_of(where: Sequence[Region], image: Tensor) -> Tensor:
    """The pixels (H, W) of ``image`` (C, H, W) that lie in some regions of it."""
    mask = np.zeros(image.shape[1:], dtype=np.bool_)
    for region in where:
        mask[region] = True
    return torch.from_numpy(mask).to(image.device)


def alike(height: int, width: int, most: int) -> Iterator[list[int]]:
    """The regions of an image by their index, those of one size together, of about ``most`` pixels."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for index, (rows, columns) in enumerate(regions(height, width)):
        of_size.setdefault((rows.stop - rows.start, columns.stop - columns.start), []).append(index)
    for (tall, wide), indices in of_size.items():
        count = max(1, most // (tall * wide))
        for start in range(0, len(indices), count):
            yield indices[start : start + count]
