"""Fully blind restoration: screen, rectify what is atypical, regenerate.

The setting of Algorithm 2 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486). The noise that the
prior sees in an image decides everything: which of its statistics are atypical chooses the corrections
(:mod:`i2r.rectification`), how atypical they are chooses their depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2r.errors import FormError, SettingsError
from i2r.form_names import BLIND
from i2r.forms import Jpeg, JpegTables
from i2r.prior import Prior
from i2r.reconstruction import reconstruct
from i2r.rectification import fill_damage, remove_blocks, remove_noise, sharpen
from i2r.sampling import Process, Query, counted, drive
from i2r.settings import RestoreSettings
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
        parameters: of the degradation, as far as they were found: plain JSON, by form.
        message: why, for ``REJECTED`` and ``FAILED``, and where the image does not show the form it was told.
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
    parameters: dict[str, Any] = field(default_factory=dict)
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


Correction = tuple[Tensor, Tensor, dict[str, Any], Screening, Screening]
"""The corrected canvas, the mask of the pixels that moved, parameters, the screening before and after."""


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
        if self.settings.overlap % prior.space.factor:
            raise SettingsError(
                f"overlap {self.settings.overlap} does not fit the prior {prior.name}: "
                f"give a multiple of {prior.space.factor}"
            )
        if self.settings.told and not prior.space.of_pixels:
            raise SettingsError(
                f"the prior {prior.name} sees latents, in which {', '.join(self.settings.forms)} is unknown: "
                "give a prior of pixels, or forms=auto"
            )
        self.space = prior.space
        self.evaluator = FixedShapeEvaluator(
            prior, self.settings.tile // self.space.factor, self.settings.tiles_per_batch
        )

    def restore(
        self,
        images: Sequence[NDArray[np.float32]],
        seeds: Sequence[int],
        tables: Sequence[JpegTables | None] | None = None,
    ) -> list[Restoration]:
        """Restore images of mixed sizes, sharing network batches between them.

        Args:
            images: each (H, W, C) float32 in [0, 1], C 1 or 3.
            seeds: one per image, for what is random. Nothing of the present method is, so that neighbours,
                order and retries change nothing.
            tables: what the JPEG file that an image came from tells of itself, where it came from one.

        Returns:
            One :class:`Restoration` per image, in order.
        """
        told = tables or [None] * len(images)
        finite = [bool(np.isfinite(image).all()) for image in images]
        usable = [image for image, _, good in zip(images, seeds, finite, strict=True) if good]
        grids = [
            TileGrid(image.shape[0], image.shape[1], self.settings.tile, self.settings.overlap)
            for image in usable
        ]
        processes = [
            self._restore(image, grid, [Jpeg(file)] if file else [])
            for image, grid, file in zip(usable, grids, compress(told, finite), strict=True)
        ]
        results = iter(drive(processes, [self.space.grid(grid) for grid in grids], self.evaluator))
        unusable = "the image holds values that are not finite"
        return [
            next(results) if good else Restoration(Outcome.FAILED, image, message=unusable)
            for image, good in zip(images, finite, strict=True)
        ]

    def _restore(
        self, image: NDArray[np.float32], pixels: TileGrid, known: Sequence[Jpeg]
    ) -> Process[Restoration]:
        y = self.space.encode(pixels.pad(self._to_tensor(image)), pixels)
        grid = self.space.grid(pixels)
        correction = self._reconstruct if self.settings.told else self._rectify
        try:
            (x, mask, parameters, before, after), nfe = yield from counted(correction(y, grid, known))
        except FloatingPointError as error:
            return Restoration(Outcome.FAILED, image, message=str(error))
        except FormError as error:
            return Restoration(Outcome.UNCHANGED, image, message=str(error))
        seen = Restoration(
            Outcome.UNCHANGED,
            image,
            atypical=tuple(sorted(before.atypical)),
            nfe=nfe,
            typicality_before=before.typicality,
            typicality_after=after.typicality,
            parameters=parameters,
        )
        if not mask.any():
            return seen
        restored = self._to_image(pixels.crop(self.space.decode(x, pixels)), image.shape[2])
        mse = float(np.square(restored - image).mean(dtype=np.float64))
        return replace(
            seen,
            outcome=Outcome.RESTORED,
            image=restored,
            rectified_fraction=grid.crop(mask[None]).float().mean().item(),
            consistency_psnr=-10 * math.log10(mse) if mse else math.inf,
        )

    def _reconstruct(self, y: Tensor, grid: TileGrid, known: Sequence[Jpeg]) -> Process[Correction]:
        """Undo the forms that the settings tell."""
        before = yield from self._screen(y, grid)
        told = [form for form in known if form.name in self.settings.forms]
        found = yield from reconstruct(y, self.settings.forms, grid, self.calibration, told)
        if not found.x.isfinite().all():
            raise FloatingPointError("the prior diverged on this image")
        after = yield from self._screen(found.x, grid)
        mask = torch.ones(y.shape[1:], dtype=torch.bool, device=y.device)
        return found.x, mask, found.parameters, before, after

    def _rectify(self, y: Tensor, grid: TileGrid, known: Sequence[Jpeg]) -> Process[Correction]:
        """Correct what is atypical."""
        before = yield from self._screen(y, grid)
        parameters: dict[str, Any] = {}
        x, mask = y, torch.zeros(y.shape[1:], dtype=torch.bool, device=y.device)
        if not before.atypical:
            return x, mask, parameters, before, before
        if not self.space.of_pixels:
            # Damage, blur and blocks look like nothing known in latents: regenerating is left.
            x = yield from remove_noise(x, grid, self.calibration, self.settings.steps)
            return x, torch.ones_like(mask), parameters, before, (yield from self._screen(x, grid))
        if "tails" in before.atypical:
            x, mask = yield from fill_damage(x, self.calibration)
        # Noise drowns the other statistics, and low resolution by two looks like a grid as well.
        everywhere = before.atypical - {"tails"}
        if "scale" in everywhere:
            x = yield from remove_noise(x, grid, self.calibration, self.settings.steps)
        elif "lag" in everywhere:
            x = yield from sharpen(x, grid, self.calibration)
        elif "period" in everywhere:
            x, parameters = yield from self._undo_blocks(x, grid, known)
        if everywhere:
            mask = torch.ones_like(mask)
        after = yield from self._screen(x, grid)
        return x, mask, parameters, before, after

    def _undo_blocks(
        self, y: Tensor, grid: TileGrid, known: Sequence[Jpeg]
    ) -> Process[tuple[Tensor, dict[str, Any]]]:
        """With the tables of the file, or those that the pixels show, or without any."""
        if self.settings.forms != BLIND:
            try:
                found = yield from reconstruct(y, (Jpeg.name,), grid, self.calibration, known)
            except FormError:  # blocks that were moved, or mixed with others since
                pass
            else:
                return found.x, found.parameters
        return (yield from remove_blocks(y, grid, self.calibration, self.settings.steps)), {}

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
