"""Structure: what a correction took out of a picture and what it put in, in steps from cell to cell.

What was filled is gone from the result, and :func:`i2r.fidelity.consistency_psnr` leaves it out. But content
that was taken for damage gives itself away. Damage does not care for the scene: it lies over bright and dark,
plain and busy parts as they come, while a pupil, a letter or a lamp lies where the scene has it. And damage
covers a scene that has more structure than the damage, while of a page without its strokes little is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from i2r.canvas.bands import bands
from i2r.fidelity import cell_sums

Plane = NDArray[np.float64]


@dataclass(frozen=True)
class StructureTuning:
    """How structure is measured, and what is too much of it.

    Attributes:
        cell: side of the cells that steps lie between, in pixels: single pixels, which sensors lose, weigh
            little in them.
        block: side in cells of the blocks whose colour and busyness are compared.
        samples: blocks that are compared of either kind.
        least_step: added to the mean step of a block, of the range [0, 1]: fainter ones are all plain.
        least_contrast: added to the deviation of the colour, of the range [0, 1].
        least_variety: added to the deviation of the busyness, in logarithms.
        most: largest ratio of structures.
        removed, selectivity, added: bounds that few right corrections exceed
            (docs/decisions/structure.md).
    """

    cell: int = 3
    block: int = 2
    samples: int = 512
    least_step: float = 0.003
    least_contrast: float = 0.02
    least_variety: float = 0.15
    most: float = 1000.0
    removed: float = 0.8
    selectivity: float = 0.8
    added: float = 1.6


STRUCTURE = StructureTuning()


@dataclass(frozen=True)
class StructureChange:
    """How a correction changed the structure of a picture; all zero if it filled and added nothing.

    Attributes:
        removed: steps that went where two by two pixels and more were filled, over the steps of the result.
        selectivity: energy distance (Szekely and Rizzo 2013) of the filled parts of the result from the whole
            of it, in colour and busyness, each over its deviation: 0 for parts that lie as they come.
        added: steps of the result that the input lacks, over the steps of the input.
    """

    removed: float
    selectivity: float
    added: float

    @property
    def doubt(self) -> float:
        """How much the correction looks like one of content: the largest measure, each over its bound."""
        return max(self._doubts.values())

    @property
    def reason(self) -> str:
        """What the doubt rests on, in words."""
        return max(self._doubts, key=self._doubts.__getitem__)

    @property
    def _doubts(self) -> dict[str, float]:
        removed = f"what was filled held {self.removed:.2f} times the structure that is left"
        selective = f"what was filled keeps to some of the scene, as content does (by {self.selectivity:.2f})"
        added = f"the result adds {self.added:.2f} times the structure of the image"
        return {
            removed: self.removed / STRUCTURE.removed,
            selective: self.selectivity / STRUCTURE.selectivity,
            added: self.added / STRUCTURE.added,
        }


def structure_change(
    result: NDArray[np.float32], given: NDArray[np.float32], filled: NDArray[np.bool_]
) -> StructureChange:
    """Measure how the structure of a picture has changed.

    Args:
        result, given: (H, W, C) in [0, 1].
        filled: (H, W), the pixels that were damaged and filled.
    """
    before, after = (_means(image, STRUCTURE.cell) for image in (given, result))
    marks, wide = (_means(mask[..., None], STRUCTURE.cell) for mask in (filled, _wide(filled)))
    had, has = _steps(before), _steps(after)
    gone = np.clip(had - has, 0, None)[_stepped(wide[..., 0] > 0)].sum()
    new = np.clip(has - had, 0, None).sum()
    return StructureChange(
        removed=_ratio(gone, has.sum()),
        selectivity=_selectivity(after, has, marks) if filled.any() else 0.0,
        added=_ratio(new, had.sum()),
    )


def _wide(filled: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the pixels (H, W) in filled squares of two by two: single ones, which sensors lose, hide less."""
    squares = filled[1:, 1:] & filled[1:, :-1] & filled[:-1, 1:] & filled[:-1, :-1]
    wide = np.zeros_like(filled)
    for down, across in product((slice(1, None), slice(None, -1)), repeat=2):
        wide[down, across] |= squares
    return wide


def _selectivity(scene: Plane, steps: Plane, marks: Plane) -> float:
    """Compute the energy distance between the blocks under the marks and all blocks."""
    colour, busy, weight = (_means(x, STRUCTURE.block) for x in (scene, steps[..., None], marks))
    busy = np.log(busy + STRUCTURE.least_step)
    features = np.concatenate(
        [_scaled(colour, STRUCTURE.least_contrast), _scaled(busy, STRUCTURE.least_variety)], axis=-1
    )
    features = features.reshape(-1, features.shape[-1])
    under, every = (features[_evenly(chances)] for chances in (weight.ravel(), np.ones(len(features))))
    return 2 * _apart(under, every) - _apart(under, under) - _apart(every, every)


def _means(image: NDArray[np.generic], side: int) -> Plane:
    """Average (H, W, C) over cells of a side; those at the right and at the bottom may be smaller."""
    height, width, _ = image.shape
    parts = []
    for rows in bands(height, width, side):
        band = image[rows].astype(np.float64)
        parts.append(cell_sums(band, side) / cell_sums(np.ones((*band.shape[:2], 1)), side))
    return np.concatenate(parts)


def _steps(image: Plane) -> Plane:
    """Sum the steps of the gray picture to every cell (H, W) from the ones above and to the left."""
    gray = image.mean(axis=-1)
    steps = np.zeros_like(gray)
    steps[1:] += np.abs(np.diff(gray, axis=0))
    steps[:, 1:] += np.abs(np.diff(gray, axis=1))
    return steps


def _stepped(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the cells (H, W) whose steps depend on some cells: those below and to the right as well."""
    reached = cells.copy()
    reached[1:] |= cells[:-1]
    reached[:, 1:] |= cells[:, :-1]
    return reached


def _scaled(values: Plane, least: float) -> Plane:
    """Divide (H, W, C) by its deviation over all channels together, plus ``least``."""
    return values / (math.sqrt(values.reshape(-1, values.shape[-1]).var(axis=0).sum()) + least)


def _evenly(chances: Plane) -> NDArray[np.intp]:
    """Choose indices by their chances (N,), evenly instead of at random."""
    total = np.cumsum(chances)
    places = (np.arange(STRUCTURE.samples) + 0.5) / STRUCTURE.samples
    return np.searchsorted(total, places * total[-1])


def _apart(one: Plane, other: Plane) -> float:
    """Average the distances of rows (N, K) from rows (M, K)."""
    squares = sum((a[:, None] - b) ** 2 for a, b in zip(one.T, other.T, strict=True))
    return float(np.sqrt(squares).mean())


def _ratio(part: float, whole: float) -> float:
    return float(part / max(whole, part / STRUCTURE.most)) if part else 0.0
