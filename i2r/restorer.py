"""Fully blind restoration: screen, rectify what is atypical, regenerate.

The setting of Algorithm 2 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486). The noise that the
prior sees in an image decides everything: which of its statistics are atypical chooses the corrections
(:mod:`i2r.rectification`), how atypical they are chooses their depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2r.errors import SettingsError
from i2r.prior import Prior
from i2r.rectification import fill_damage, remove_blocks, remove_noise, sharpen
from i2r.sampling import Process, Query, counted, drive
from i2r.settings import SMALLEST_TILE, TILE_STEP, RestoreSettings
from i2r.tiling import FixedShapeEvaluator, TileGrid
from i2r.typicality import SMALLEST_SIDE, discoveries, measure, typicality


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
        atypical: the statistics of the noise that failed their tests, in order of their names.
        nfe: network evaluations, in passes over the whole image.
        inversion_psnr: dB between the input and what its inverted noise regenerates; NaN where nothing was
            inverted.
        rectified_fraction: share of the pixels that were replaced or moved.
        typicality_before, typicality_after: see :func:`i2r.typicality.typicality`.
        consistency_psnr: dB between result and input.
        message: why, for ``REJECTED`` and ``FAILED``.
    """

    outcome: Outcome
    image: NDArray[np.float32]
    atypical: tuple[str, ...] = ()
    nfe: int = 0
    inversion_psnr: float = math.nan
    rectified_fraction: float = 0.0
    typicality_before: float = math.nan
    typicality_after: float = math.nan
    consistency_psnr: float = math.inf
    message: str = ""


@dataclass(frozen=True)
class Screening:
    """What the noise of an image shows.

    Attributes:
        p_values: one per statistic; empty for images too small to test.
        atypical: the statistics that fail.
    """

    p_values: dict[str, float]
    atypical: frozenset[str]

    @property
    def typicality(self) -> float:
        return typicality(self.p_values) if self.p_values else math.nan


class Restorer:
    """Restores images without being told what is wrong with them.

    Args:
        prior: the only knowledge of what images look like, with its calibration.
        settings: the same for every image and every degradation.

    Raises:
        PriorError: the prior is not calibrated.
        SettingsError: the tile does not fit the prior's network.
    """

    def __init__(self, prior: Prior, settings: RestoreSettings | None = None) -> None:
        self.prior = prior
        self.calibration = prior.calibration
        self.settings = settings or RestoreSettings()
        if self.settings.tile % prior.stride:
            raise SettingsError(
                f"tile {self.settings.tile} does not fit the prior {prior.name}: "
                f"give a multiple of {prior.stride}"
            )
        self.evaluator = FixedShapeEvaluator(prior, self.settings.tile, self.settings.tiles_per_batch)

    def smaller(self) -> tuple[str, Restorer] | None:
        """A restorer that needs less of the device's memory, and the setting in which it differs.

        Half the tiles in a batch, then half the tile; None once neither can be halved. Its results differ in
        their last digits.
        """
        tiles, side = self.settings.tiles_per_batch // 2, self.settings.tile // 2
        side -= side % math.lcm(TILE_STEP, self.prior.stride)
        if tiles:
            change = {"tiles_per_batch": tiles}
        elif side >= SMALLEST_TILE:
            change = {"tile": side, "overlap": min(self.settings.overlap, side // 2)}
        else:
            return None
        name, value = next(iter(change.items()))
        return f"{name}={value}", Restorer(self.prior, self.settings.model_copy(update=change))

    def restore(self, images: Sequence[NDArray[np.float32]], seeds: Sequence[int]) -> list[Restoration]:
        """Restore images of mixed sizes, sharing network batches between them.

        Args:
            images: each (H, W, C) float32 in [0, 1], C 1 or 3.
            seeds: one per image, for what is random. Nothing of the present method is, so that neighbours,
                order and retries change nothing.

        Returns:
            One :class:`Restoration` per image, in order.
        """
        usable = [image for image, _ in zip(images, seeds, strict=True) if np.isfinite(image).all()]
        grids = [
            TileGrid(image.shape[0], image.shape[1], self.settings.tile, self.settings.overlap)
            for image in usable
        ]
        processes = [
            self._restore(image, grid.pad(self._to_tensor(image)), grid)
            for image, grid in zip(usable, grids, strict=True)
        ]
        results = iter(drive(processes, grids, self.evaluator))
        unusable = "the image holds values that are not finite"
        return [
            next(results)
            if np.isfinite(image).all()
            else Restoration(Outcome.FAILED, image, message=unusable)
            for image in images
        ]

    def _restore(self, image: NDArray[np.float32], y: Tensor, grid: TileGrid) -> Process[Restoration]:
        try:
            (x, mask, before, after), nfe = yield from counted(self._rectify(y, grid))
        except FloatingPointError as error:
            return Restoration(Outcome.FAILED, image, message=str(error))
        seen = Restoration(
            Outcome.UNCHANGED,
            image,
            atypical=tuple(sorted(before.atypical)),
            nfe=nfe,
            typicality_before=before.typicality,
            typicality_after=after.typicality,
        )
        if not before.atypical:
            return seen
        restored = self._to_image(grid.crop(x), image.shape[2])
        mse = float(np.square(restored - image).mean(dtype=np.float64))
        return replace(
            seen,
            outcome=Outcome.RESTORED,
            image=restored,
            rectified_fraction=grid.crop(mask[None]).float().mean().item(),
            consistency_psnr=-10 * math.log10(mse) if mse else math.inf,
        )

    def _rectify(self, y: Tensor, grid: TileGrid) -> Process[tuple[Tensor, Tensor, Screening, Screening]]:
        """The corrected canvas, the mask of the pixels that moved, the screening before and after."""
        before = yield from self._screen(y, grid)
        x, mask = y, torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device)
        if not before.atypical:
            return x, mask, before, before
        if "tails" in before.atypical:
            x, mask = yield from fill_damage(x, self.calibration)
        # Noise drowns the other statistics, and low resolution by two looks like a grid as well.
        everywhere = before.atypical - {"tails"}
        if "scale" in everywhere:
            x = yield from remove_noise(x, grid, self.calibration, self.settings.steps)
        elif "lag" in everywhere:
            x = yield from sharpen(x, grid, self.calibration)
        elif "period" in everywhere:
            x = yield from remove_blocks(x, grid, self.calibration, self.settings.steps)
        if everywhere:
            mask = torch.ones_like(mask)
        after = yield from self._screen(x, grid)
        return x, mask, before, after

    def _screen(self, y: Tensor, grid: TileGrid) -> Process[Screening]:
        if min(grid.height, grid.width) < SMALLEST_SIDE:
            return Screening({}, frozenset())
        eps = grid.crop((yield Query(y, self.calibration.level)))
        coarse = grid.crop((yield Query(y, self.calibration.damage_level)))
        if not (eps.isfinite().all() and coarse.isfinite().all()):
            raise FloatingPointError("the prior diverged on this image")
        magnitude = self.calibration.damage_level * coarse.square().mean(dim=0).sqrt()
        p_values = self.calibration.p_values(measure(eps, magnitude))
        return Screening(p_values, discoveries(p_values, self.settings.false_discovery_rate))

    def _to_tensor(self, image: NDArray[np.float32]) -> Tensor:
        """(H, W, C) in [0, 1] to (3, H, W) in [-1, 1] on the prior's device."""
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(self.prior.device)
        return (pixels.permute(2, 0, 1) * 2 - 1).expand(3, -1, -1)

    def _to_image(self, x: Tensor, channels: int) -> NDArray[np.float32]:
        """The inverse of :meth:`_to_tensor`; gray is the mean of the channels."""
        pixels = ((x.clamp(-1, 1) + 1) / 2).permute(1, 2, 0)
        return (pixels if channels == 3 else pixels.mean(dim=2, keepdim=True)).cpu().contiguous().numpy()
