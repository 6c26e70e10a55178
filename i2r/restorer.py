"""Restore images: screen the degraded image, correct it, check the result.

Covers both settings of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486). Fully blind (Algorithm 2), the
noise that the prior predicts in the image decides what is corrected (:mod:`i2r.correction.strategies`).
Partially blind (Algorithm 3), the forms of the degradation are specified and their parameters estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2r.canvas.bands import finite
from i2r.canvas.placement import canvas_device
from i2r.correction.filling import start
from i2r.correction.strategies import STRATEGIES, STRATEGY, Correction, Subject, by_forms
from i2r.correction.toning import Toning, find_toning
from i2r.degraded import Degraded
from i2r.device import device_name, pixels_at_once, precision_name, total_memory
from i2r.diffusion.sampling import Process, counted, drive
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.errors import FormError, SettingsError
from i2r.fidelity import consistency_psnr
from i2r.forms import Jpeg
from i2r.prior.network import Prior
from i2r.restoration import Outcome, Restoration
from i2r.screening.calibration import Calibration
from i2r.screening.drawings import is_drawn
from i2r.screening.overlays import OverlayFinder
from i2r.screening.regions import touched
from i2r.screening.risk import correcting_rate
from i2r.screening.screen import screen
from i2r.screening.trace import Screening, Trace
from i2r.settings import BY_DEVICE, SMALLEST_TILE, TILE_STEP, RestoreSettings
from i2r.structure import structure_change
from i2r.verdict import Verdict

_DRAWING = "the image is a drawing, which holds no noise of a photograph, so it was left unchanged"


class Restorer:
    """Restores degraded images with a prior.

    Args:
        prior: the pretrained diffusion model, with its calibration.
        settings: apply to every image; by default ``RestoreSettings()``.

    Raises:
        PriorError: the prior is not calibrated.
        SettingsError: tile, overlap, forms, precision or max_harm do not fit the prior.
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
        if self.settings.specified and not prior.space.of_pixels:
            raise SettingsError(
                f"the prior {prior.name} sees latents, in which {', '.join(self.settings.forms)} is unknown: "
                "give a prior of pixels, or forms=auto"
            )
        if self.settings.precision not in (BY_DEVICE, precision_name(prior.precision)):
            raise SettingsError(
                f"the prior {prior.name} computes in {precision_name(prior.precision)}: "
                f"load it with precision={self.settings.precision!r}"
            )
        for calibration in filter(None, (self.calibration, self.calibration.gray)):
            self._rate(calibration)  # refuses a risk that too few pictures promise, before the first image
        self.space = prior.space
        self.evaluator = FixedShapeEvaluator(prior, self._batch)
        self._finder = OverlayFinder.load(prior.device, prior.precision)

    @property
    def device(self) -> str:
        """Device and precision of the networks, for manifests, such as ``cpu/float32``.

        On a GPU also the batch size for the largest tiles, since it changes the last digits of results.
        """
        parts = [device_name(self.prior.device), precision_name(self.prior.precision)]
        if self.prior.device.type == "cuda":
            parts.append(f"{self._largest_tiles} tiles")
        return "/".join(parts)

    def smaller(self) -> tuple[str, Restorer] | None:
        """Return a restorer that needs less device memory, preceded by the setting that differs.

        Halves the tiles in a batch, and once that is 1, the side of the tile. Returns None if neither can be
        halved. The results of the smaller restorer differ in their last digits.
        """
        tiles, side = self._largest_tiles // 2, self.settings.tile // 2
        side -= side % math.lcm(TILE_STEP, self.prior.stride)
        if tiles:
            change = {"tiles_per_batch": tiles}
        elif side >= SMALLEST_TILE:
            change = {"tile": side, "overlap": min(self.settings.overlap, side // 2)}
        else:
            return None
        name, value = next(iter(change.items()))
        return f"{name}={value}", Restorer(self.prior, self.settings.model_copy(update=change))

    def restore(self, degraded: Sequence[Degraded]) -> list[Restoration]:
        """Restore images of mixed sizes, sharing network batches between them.

        Nothing is random: a result does not depend on the other images, their order, or retries.

        Returns:
            One :class:`Restoration` per image, in order.

        Raises:
            ValueError: an image or a mask has a wrong shape or type, or an image a wrong range.
        """
        pixels = [self._grid(_checked(given.image)) for given in degraded]
        masks = [
            tuple(_checked_mask(mask, given.image) for mask in (given.protected, given.hidden))
            for given in degraded
        ]
        processes = [
            self._restore(given, grid, *of_one)
            for given, grid, of_one in zip(degraded, pixels, masks, strict=True)
        ]
        grids = [self.space.grid(grid) for grid in pixels]
        return drive(processes, grids, self.evaluator, self._finder)

    def _restore(
        self, degraded: Degraded, pixels: TileGrid, protected: NDArray[np.bool_], hidden: NDArray[np.bool_]
    ) -> Process[Restoration]:
        image, trace, protected = degraded.image, degraded.trace, protected | hidden
        if not finite(torch.from_numpy(image)):
            return Restoration(Outcome.FAILED, image, message="the image holds values that are not finite")
        grid = self.space.grid(pixels)
        known = [Jpeg(degraded.tables)] if degraded.tables else []
        # Not kept for `_correct`: of a large image it would lie beside the canvases until the end.
        drawing, drawn = is_drawn(self._to_tensor(image, hidden))
        if drawing and not self.settings.specified:
            return Restoration(Outcome.UNCHANGED, image, message=_DRAWING)
        drawn = drawn if self.space.of_pixels else frozenset()
        try:
            correction, nfe = yield from counted(
                self._correct(image, pixels, known, protected, hidden, drawn, trace)
            )
        except FloatingPointError as error:
            return Restoration(Outcome.FAILED, image, message=str(error))
        corrected, before, after = correction
        verdict = Verdict(
            before, image.shape[:2], self.space.factor, corrected.parameters, self.settings.specified
        )
        seen = Restoration(
            Outcome.UNCHANGED,
            image,
            findings=verdict.of_the_input(),
            nfe=nfe,
            typicality_before=before.typicality,
            typicality_after=after.typicality,
            inversion_psnr=corrected.inversion_psnr,
            message=corrected.message,
        )
        if not corrected.mask.any():
            return seen
        moved, unknown, filled = ~protected, protected, None
        if self.space.of_pixels:
            moved &= grid.crop(corrected.mask[None])[0].cpu().numpy()
            if corrected.damaged is not None:
                damaged = corrected.damaged.items()
                filled = {name: moved & grid.crop(mask[None])[0].cpu().numpy() for name, mask in damaged}
                unknown = np.logical_or.reduce([protected, *filled.values()])
        restored = _to_image(pixels.crop(self.space.decode(corrected.x, pixels)), image.shape[2])
        if not finite(torch.from_numpy(restored)):
            return Restoration(Outcome.FAILED, image, message="the prior diverged on this image")
        np.copyto(restored, image, where=~moved[..., None])
        if trace is not None:
            trace.moved, trace.result = moved, restored
        seen = replace(seen, findings=verdict.of_the_input(filled))
        gated = self._gated(seen, restored, moved, protected, unknown)
        if gated.outcome is Outcome.REJECTED:
            return gated
        return replace(gated, findings=verdict.of_the_result(after, moved, filled))

    def _gated(
        self,
        seen: Restoration,
        restored: NDArray[np.float32],
        moved: NDArray[np.bool_],
        protected: NDArray[np.bool_],
        unknown: NDArray[np.bool_],
    ) -> Restoration:
        """Measure what has changed, and accept the restored image or reject it."""
        reason, compared = "", protected if unknown.all() else unknown
        consistency = consistency_psnr(restored, seen.image, compared)
        seen = replace(seen, rectified_fraction=moved.mean().item(), consistency_psnr=consistency)
        if self.space.of_pixels and not self.settings.specified:
            change = structure_change(restored, seen.image, unknown & moved)
            seen = replace(seen, doubt=change.doubt)
            if not seen.doubt <= self.settings.max_doubt:
                reason = (
                    f"{change.reason}: look at it with i2r inspect, and if it was damage, give max_doubt="
                    f"{math.ceil(10 * seen.doubt) / 10:g}"
                )
        if not consistency >= self.settings.min_consistency:
            reason = (
                f"the result is only {consistency:.1f} dB like the input at coarse scale: "
                "lower the strength, or min_consistency"
            )
        if reason:
            return replace(seen, outcome=Outcome.REJECTED, message=reason)
        return replace(seen, outcome=Outcome.RESTORED, image=restored)

    def _correct(
        self,
        image: NDArray[np.float32],
        pixels: TileGrid,
        known: Sequence[Jpeg],
        protected: NDArray[np.bool_],
        hidden: NDArray[np.bool_],
        drawn: frozenset[int],
        trace: Trace | None,
    ) -> Process[tuple[Correction, Screening, Screening]]:
        """Screen the image, correct it and screen the result; returns all three, the screenings last.

        Raises:
            FloatingPointError: the prior diverged on this image.
        """
        grid = self.space.grid(pixels)
        y = self.space.encode(pixels.pad(self._to_tensor(image, hidden)), pixels)
        toning, before = yield from self._look(y, grid, drawn, trace)
        y = toning.luma if toning else y
        calibration = self._calibration_of(y)
        untouched = Correction(y, torch.zeros_like(y[0], dtype=torch.bool))
        if not (self.settings.specified or before.atypical):
            return untouched, before, before
        strategy = by_forms if self.settings.specified else STRATEGIES[self.settings.strategy]
        try:
            found = yield from strategy(
                Subject(y, grid, calibration, before, self._rate(calibration), known, self.space.of_pixels),
                self.settings,
            )
        except FormError as error:
            return replace(untouched, message=str(error)), before, before
        if not finite(found.x):
            raise FloatingPointError("the prior diverged on this image")
        if self.space.of_pixels and protected.any():
            kept = grid.pad(torch.from_numpy(protected).to(y.device)[None])[0]
            found = replace(found, x=torch.where(kept, y, found.x), mask=found.mask & ~kept)
        del y, untouched  # frees their memory, which the second screening needs
        after = before
        if found.mask.any():
            corrected = None if found.mask.all() else touched(grid.crop(found.mask[None])[0])
            after = yield from self._screen(found.x, grid, calibration, drawn, trace, corrected)
        if self.settings.specified and not before.atypical and after.typicality < STRATEGY.implausible:
            unseen = f"the image does not show {', '.join(self.settings.forms)}: undoing it leaves marks"
            return Correction(found.x, torch.zeros_like(found.mask), message=unseen), before, before
        return replace(found, x=toning.apply(found.x) if toning else found.x), before, after

    def _screen(
        self,
        y: Tensor,
        grid: TileGrid,
        calibration: Calibration,
        drawn: frozenset[int],
        trace: Trace | None,
        corrected: frozenset[int] | None = None,
    ) -> Process[Screening]:
        return (yield from screen(y, grid, calibration, self._rate(calibration), trace, drawn, corrected))

    def _look(
        self, y: Tensor, grid: TileGrid, drawn: frozenset[int], trace: Trace | None
    ) -> Process[tuple[Toning | None, Screening]]:
        """Screen an image; return its toning if it is a toned monochrome with noise and without damage.

        Such an image is screened in gray. All others are screened in their own channels, even if those are
        nearly equal: the prior models colour best.
        """
        toning = find_toning(y) if self.calibration.gray is not None and len(y) == 3 else None
        if toning is not None:
            seen = yield from self._screen(toning.luma, grid, self._calibration_of(toning.luma), drawn, trace)
            if seen.noisy and not seen.damaged:
                return toning, seen
            if trace is not None:
                trace.looks.clear()
        return None, (yield from self._screen(y, grid, self._calibration_of(y), drawn, trace))

    @property
    def _largest_tiles(self) -> int:
        """Batch size for the largest tiles."""
        side = self.settings.tile // self.space.factor
        return self._batch(side, side)

    def _batch(self, height: int, width: int) -> int:
        """Batch size for tiles of a height and width on the canvas."""
        pixels = pixels_at_once(self.prior.device, self.prior.bytes_a_pixel)
        return self.settings.tiles_per_batch or max(1, pixels // (height * width))

    def _grid(self, image: NDArray[np.float32]) -> TileGrid:
        height, width, _ = image.shape
        return TileGrid.fitting(height, width, self.settings.tile, self.settings.overlap, self.prior.stride)

    def _rate(self, calibration: Calibration) -> float:
        """The rate of false discoveries at which pictures of a calibration are corrected."""
        return correcting_rate(calibration.alarms, self.settings.max_harm)

    def _calibration_of(self, canvas: Tensor) -> Calibration:
        gray = self.calibration.gray
        return gray if gray is not None and len(canvas) == 1 else self.calibration

    def _to_tensor(self, image: NDArray[np.float32], hidden: NDArray[np.bool_]) -> Tensor:
        """Convert (H, W, C) in [0, 1] to (3, H, W) in [-1, 1], on the device that holds its canvases.

        What surrounds the ``hidden`` pixels (H, W) is continued into them.

        A gray image becomes (1, H, W) if the prior is calibrated for gray, also one of three equal channels:
        the noise in them is equal too.
        """
        height, width, _ = image.shape
        home = canvas_device(self.prior.device, total_memory(self.prior.device), height * width)
        pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(home)
        if hidden.any():
            pixels = start(pixels.permute(2, 0, 1), torch.from_numpy(hidden).to(home)).permute(1, 2, 0)
        knows_gray = self.calibration.gray is not None
        if knows_gray and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., :1]
        channels = pixels.permute(2, 0, 1).clone(memory_format=torch.contiguous_format).mul_(2).sub_(1)
        return channels if knows_gray else channels.expand(3, -1, -1)


def _checked(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image after checking it. Raises ValueError for a wrong shape, type or range."""
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(f"the image is {image.shape}: give (height, width, channels), of 1 or 3 channels")
    if not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"the image is of {image.dtype}: give floats in [0, 1]")
    finite = np.isfinite(image)
    low, high = image.min(where=finite, initial=np.inf), image.max(where=finite, initial=-np.inf)
    if low < -1 or high > 2:  # unclipped noise lies within, values of 0 to 255 do not
        raise ValueError(f"the image reaches from {low:g} to {high:g}: give floats in [0, 1]")
    return image


def _checked_mask(mask: NDArray[np.bool_] | None, image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of protected pixels after checking it; all False for None.

    Raises ValueError for a wrong shape or type.
    """
    if mask is None:
        return np.zeros(image.shape[:2], dtype=np.bool_)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, its image {image.shape[:2]}: give one of the same size")
    if mask.dtype != np.bool_:
        raise ValueError(f"the mask is of {mask.dtype}: give bool, True where pixels stay")
    return mask


def _to_image(x: Tensor, channels: int) -> NDArray[np.float32]:
    """Convert (C, H, W) in [-1, 1] to (H, W, ``channels``) in [0, 1]; gray is the mean of the channels."""
    if len(x) != channels:
        x = x.mean(dim=0, keepdim=True).expand(channels, -1, -1)
    values = np.empty((*x.shape[1:], channels), np.float32)
    pixels = torch.from_numpy(values).permute(2, 0, 1).copy_(x)
    pixels.clamp_(-1, 1).add_(1).div_(2)
    return values
