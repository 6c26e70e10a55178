"""Fully blind restoration: screen, correct what is atypical, regenerate (Chihaoui and Favaro, Algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2r.prior import Prior
from i2r.sampling import Process, Query, drive, generate, levels
from i2r.settings import RestoreSettings
from i2r.tiling import FixedShapeEvaluator, TileGrid
from i2r.typicality import SMALLEST_SIDE, Calibration, discoveries, measure, typicality


class Outcome(StrEnum):
    """How the restoration of an image ended."""

    RESTORED = "restored"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True)
class Restoration:
    """One image's result and what was seen on the way.

    Attributes:
        outcome: how it ended.
        image: (H, W, C) float32 in [0, 1]; the input itself unless ``outcome`` is ``RESTORED``.
        nfe: network evaluations, in passes over the whole image.
        inversion_psnr: dB between the input and what its inverted noise regenerates; NaN where nothing was inverted.
        rectified_fraction: share of the pixels that were replaced or moved.
        typicality_before, typicality_after: see :func:`i2r.typicality.typicality`.
        consistency_psnr: dB between result and input.
        message: why, for ``REJECTED`` and ``FAILED``.
    """

    outcome: Outcome
    image: NDArray[np.float32]
    nfe: int = 0
    inversion_psnr: float = math.nan
    rectified_fraction: float = 0.0
    typicality_before: float = math.nan
    typicality_after: float = math.nan
    consistency_psnr: float = math.inf
    message: str = ""


@dataclass(frozen=True)
class Screening:
    """What reading an image at the calibration's level showed.

    Attributes:
        p_values: one per statistic.
        atypical: the statistics that fail.
    """

    p_values: dict[str, float]
    atypical: set[str]

    @property
    def typicality(self) -> float:
        return typicality(self.p_values)


class Restorer:
    """Restores images without being told what is wrong with them.

    Args:
        prior: the only knowledge of what images look like.
        calibration: what the noise of clean photographs looks like to that prior.
        settings: the same for every image and every degradation.
    """

    def __init__(self, prior: Prior, calibration: Calibration, settings: RestoreSettings | None = None) -> None:
        self.prior = prior
        self.calibration = calibration
        self.settings = settings or RestoreSettings()
        self.evaluator = FixedShapeEvaluator(prior, self.settings.tile, self.settings.tiles_per_batch)

    def restore(self, images: Sequence[NDArray[np.float32]], seeds: Sequence[int]) -> list[Restoration]:
        """Restore images of mixed sizes, sharing network batches between them.

        Args:
            images: each (H, W, C) float32 in [0, 1], C 1 or 3.
            seeds: one per image; with the image it decides every random choice, so that neighbours, order and
                retries change nothing.

        Returns:
            One :class:`Restoration` per image, in order.
        """
        canvases, grids = [], []
        for image in images:
            height, width, _ = image.shape
            grids.append(TileGrid(height, width, self.settings.tile, self.settings.overlap))
            canvases.append(grids[-1].pad(self._to_tensor(image)))
        processes = [self._restore(y, grid) for y, grid in zip(canvases, grids, strict=True)]
        results = drive(processes, grids, self.evaluator)
        return [self._finish(image, grid, *result) for image, grid, result in zip(images, grids, results, strict=True)]

    def _to_tensor(self, image: NDArray[np.float32]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(self.prior.device)
        return (pixels.permute(2, 0, 1) * 2 - 1).expand(3, -1, -1)

    def _restore(self, y: Tensor, grid: TileGrid) -> Process[tuple[Tensor | None, Screening, Screening, int]]:
        before = yield from self._screen(y, grid)
        nfe = 1
        if not before.atypical & {"scale", "period"}:
            return None, before, before, nfe
        entry, evaluations = yield from self._entry_level(y, grid)
        nfe += evaluations
        x = yield from generate(y, levels(entry / 10, entry, self.settings.steps))
        after = yield from self._screen(x, grid)
        return x, before, after, nfe + self.settings.steps + 2

    def _screen(self, y: Tensor, grid: TileGrid) -> Process[Screening]:
        if min(grid.height, grid.width) < SMALLEST_SIDE:
            return Screening({"scale": 1.0}, set())
        eps = grid.crop((yield Query(y, self.calibration.level)))
        p_values = self.calibration.p_values(measure(eps))
        return Screening(p_values, discoveries(p_values, self.settings.false_discovery_rate))

    def _entry_level(self, y: Tensor, grid: TileGrid) -> Process[tuple[float, int]]:
        """The highest level at which the image's noise is as strong as noise of that level would be."""
        evaluations, below = 0, None
        for level, wanted in self.calibration.entry_scale.items():
            excess = measure(grid.crop((yield Query(y, level))))["scale"] - wanted
            evaluations += 1
            if excess < 0:
                if below is None:
                    return level, evaluations
                lower, lower_excess = below
                share = lower_excess / (lower_excess - excess)
                return math.exp(math.log(lower) + share * (math.log(level) - math.log(lower))), evaluations
            below = level, excess
        return level, evaluations

    def _finish(
        self,
        image: NDArray[np.float32],
        grid: TileGrid,
        x: Tensor | None,
        before: Screening,
        after: Screening,
        nfe: int,
    ) -> Restoration:
        if x is None:
            return Restoration(
                Outcome.UNCHANGED,
                image,
                nfe,
                typicality_before=before.typicality,
                typicality_after=before.typicality,
            )
        pixels = ((grid.crop(x).clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
        if image.shape[2] == 1:
            pixels = pixels.mean(axis=2, keepdims=True)
        mse = float(np.square(pixels - image).mean())
        return Restoration(
            Outcome.RESTORED,
            np.ascontiguousarray(pixels),
            nfe,
            typicality_before=before.typicality,
            typicality_after=after.typicality,
            consistency_psnr=-10 * math.log10(max(mse, 1e-12)),
        )
