"""Regions: the parts of an image in which local damage is detected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

Region = tuple[slice, slice]
"""Rows and columns of a part of an image."""


@dataclass(frozen=True)
class RegionTuning:
    """How large regions are, and how many are measured together.

    Attributes:
        side: about theirs, in pixels: the size of calibration crops.
        pixels_on_cpu, pixels_on_gpu: of regions measured together: they fit its caches, or keep it busy.
    """

    side: int = 192
    pixels_on_cpu: int = 1 << 16
    pixels_on_gpu: int = 3 << 19


REGION = RegionTuning()


def regions(height: int, width: int) -> list[Region]:
    """An image cut evenly into parts, row by row."""
    rows, columns = ([slice(*ends) for ends in pairwise(edges(length))] for length in (height, width))
    return list(product(rows, columns))


def edges(length: int) -> list[int]:
    """Where the parts of a side of an image begin, and its end."""
    count = max(1, round(length / REGION.side))
    return [length * index // count for index in range(count + 1)]


def adjoining(height: int, width: int, indices: Collection[int]) -> set[int]:
    """The regions of an image, by their index, that adjoin some of its regions, also at a corner."""
    rows, columns = (len(edges(length)) - 1 for length in (height, width))
    found = set()
    for row, column in (divmod(index, columns) for index in indices):
        down, across = (
            range(max(0, at - 1), min(at + 2, end)) for at, end in ((row, rows), (column, columns))
        )
        found |= {columns * other + one for other, one in product(down, across)}
    return found


def touched(mask: Tensor) -> frozenset[int]:
    """The regions of an image, by their index, that hold some pixel of a mask (H, W)."""
    held = by_region([lambda parts: parts.flatten(1).any(dim=1)], mask).flatten()
    return frozenset(held.nonzero().flatten().tolist())


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


def by_region(measures: Sequence[Callable[..., Tensor]], *planes: Tensor) -> Tensor:
    """Measure every region of an image: (R, M), in the order of :func:`regions`.

    Args:
        measures: M of them; each maps a stack of N regions of every plane to (N,).
        planes: (..., H, W), of one image.
    """
    height, width = planes[0].shape[-2:]
    rows, columns = (np.diff(edges(length)).tolist() for length in (height, width))
    parts = [[part for band in plane.split(rows, -2) for part in band.split(columns, -1)] for plane in planes]
    # Memory of its own: small tensors that outlive a stack would leave holes too narrow for the next one.
    found = planes[0].new_empty(len(rows) * len(columns), len(measures))
    order: list[int] = []
    for indices in alike(height, width, REGION.pixels_on_gpu if found.is_cuda else REGION.pixels_on_cpu):
        stacks = [torch.stack([of_plane[index] for index in indices]) for of_plane in parts]
        values = [measure(*stacks) for measure in measures]
        torch.stack(values, dim=1, out=found[len(order) : len(order) + len(indices)])
        order += indices
    return found[torch.tensor(order, device=found.device).argsort()]
