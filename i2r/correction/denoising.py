"""Removal of noise: the image is regenerated from the level of its own noise, as far as that was measured.

Processes from a canvas (C, H, W) in [-1, 1] to a canvas, as in :mod:`i2r.correction.rectification`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2r.canvas.windows import averaged, widened
from i2r.correction.clipping import unclip
from i2r.correction.rectification import RECTIFICATION, regenerate
from i2r.correction.toning import LUMA, luma_of
from i2r.diffusion.sampling import Process, Query
from i2r.diffusion.tiling import TileGrid
from i2r.screening.calibration import Calibration
from i2r.screening.graininess import GRAIN
from i2r.screening.regions import Region, mask_of
from i2r.screening.typicality import calm_scale, difference_scale, evenness, log_scale, noisy_part


@dataclass(frozen=True)
class DenoisingTuning:
    """How noise is removed. Noise levels are in units of the range [-1, 1].

    Attributes:
        calm_values: of the patches of which the calmest bound the noise: 8 pixels a side, in gray 13.
        calmest: quantile of the patches by their noise: all of an image has its noise, its texture has not.
        calm_share: least ratio of the noise of the calmest patches to that of an image: 0.8 and more for
            white noise of 15 to 50 of 255, 0.55 and 0.59 where foliage and crowded shelves were taken for it.
        evenness: least :func:`i2r.screening.typicality.evenness` of noise in a part, in colour and in gray,
            where texture is like noise. In colour it is 0.53 and more for 40 of 48 pictures with noisy
            shadows, and 0.48 and less where fur, grass and gravel were taken for noise; in gray 0.7 and more
            for 35 of 48, and for 8 of 29 with fur.
        entry: entry level over noise level: remaining noise is more visible than missing detail.
        faint: noise level up to which noise stays (2.2 of 255): photographs have such texture of their own.
        plain: noise level from which noise is regenerated in full (7 of 255).
        luma_shares: noise of the luma over that of the channels, up to which the luma stays, and from which
            it changes as they do: 0.99 and more where each channel has noise of its own, 0.6 and less where
            only the colours do.
        soft_edge: pixels over which the correction of a noisy part fades out.
        context: pixels around a noisy part that are regenerated with it.
        smoother: ratio of wider to finest differences that white noise in photographs stays below.
    """

    calm_values: int = 192
    calmest: float = 0.05
    calm_share: float = 0.65
    evenness: tuple[float, float] = (0.52, 0.7)
    entry: float = 1.05
    faint: float = 0.0175
    plain: float = 0.055
    luma_shares: tuple[float, float] = (0.6, 0.9)
    soft_edge: int = 7
    context: int = 16
    smoother: float = 1.3


DENOISING = DenoisingTuning()


def remove_noise(
    y: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[Tensor]:
    """Regenerate image ``y``, taken as a sample at its own noise level times ``strength``.

    The luma stays as far as the noise is one of the colours alone.
    """
    level = yield from entry_level(y, grid, calibration)
    x = yield from _without_noise(y, level, steps, strength)
    kept = 1 - luma_share(grid.crop(y))
    return x.add_(luma_of(y) - luma_of(x), alpha=kept) if kept and x is not y else x


def luma_share(image: Tensor) -> float:
    """How far the noise of (C, H, W) is in its luma: 1 for noise of each channel, 0 for that of colours."""
    if len(image) != len(LUMA):
        return 1.0
    alike = math.hypot(*LUMA)  # standard deviation of the luma of noise of unit variance in each channel
    share = difference_scale(luma_of(image)) / (alike * difference_scale(image) + 1e-6)
    low, high = DENOISING.luma_shares
    return min(max((share.item() - low) / (high - low), 0.0), 1.0)


def _without_noise(
    y: Tensor, level: float, steps: int, strength: float, wanted: Tensor | None = None
) -> Process[Tensor]:
    """Regenerate ``y`` at ``strength`` times its noise level; it approaches ``y`` with falling ``strength``.

    The correction of clipping falls with ``strength`` too. Returns ``y`` itself if its noise is faint.
    """
    if strength * level < RECTIFICATION.least_entry:
        return y
    x = yield from regenerate(y, strength * level, steps, wanted)
    return unclip(x, min(strength, 1.0) * level)


def find_noisy_part(
    y: Tensor, grid: TileGrid, calibration: Calibration, where: Sequence[Region]
) -> Process[Tensor]:
    """Find the mask (height, width) of noisy pixels in the given regions of an image, and adjoining them."""
    image = grid.crop(y)
    near = grid.pad(widened(mask_of(where, image), GRAIN.reach)[None])[0]
    eps = grid.crop((yield Query(y, calibration.level, wanted=near)))
    return noisy_part(image, eps, where, calibration)


def remove_noise_in_part(
    y: Tensor, noisy: Tensor, grid: TileGrid, calibration: Calibration, steps: int, strength: float = 1.0
) -> Process[tuple[Tensor, Tensor]]:
    """Regenerate the ``noisy`` part (H, W) of an image at its noise level.

    Returns the canvas and the mask (H, W) of the changed pixels: none if its noise is uneven, as texture is.
    """
    image, where = grid.crop(y), grid.crop(noisy[None])[0]
    colour, gray = DENOISING.evenness
    if evenness(image, _calm_side(y), where) < (gray if len(y) == 1 else colour):
        return y, torch.zeros_like(noisy)
    level = _unless_faint(DENOISING.entry * difference_scale(image, where=where).item(), calibration)
    # Noisy parts have no sharp edge.
    share = averaged(noisy[None].float(), DENOISING.soft_edge)[0]
    near = widened(share > 0, DENOISING.context)
    x = yield from _without_noise(y, level, steps, strength, near)
    if x is y:
        return y, torch.zeros_like(noisy)
    return torch.lerp(y, x, share), share > 0


def _calm_side(y: Tensor) -> int:
    """The side of patches of (C, H, W) that hold ``calm_values``, in pixels."""
    return math.isqrt(DENOISING.calm_values // len(y))


def entry_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """Estimate the noise level of image ``y``, from which DDIM regenerates it.

    White noise is measured by the finest differences: the prior's noise includes some texture, or lacks noise
    that the prior takes for texture. All of an image has its noise: where its calmest parts have much less,
    it is texture, and the level is zero. If wider differences are larger, the noise is smoother or the image
    has texture, and the prior decides (:func:`noise_level`). The level of faint noise, which may be the
    photograph's own, is reduced.
    """
    known = list(calibration.entry_scale)
    fine, wide = (DENOISING.entry * difference_scale(grid.crop(y), reach).item() for reach in (1, 2))
    if calm_scale(grid.crop(y), _calm_side(y), DENOISING.calmest) < DENOISING.calm_share * fine:
        return 0.0
    level = min(max(fine, known[0]), known[-1])
    higher = next((other for other in known if other > level), known[-1])
    if wide > DENOISING.smoother * level and (yield from _excess(y, grid, calibration, higher)) > 0:
        level = max(level, min(wide, (yield from noise_level(y, grid, calibration))))
    return _unless_faint(level, calibration)


def _unless_faint(level: float, calibration: Calibration) -> float:
    """Return the entry level for noise of ``level``: lower for faint noise, perhaps the photograph's own."""
    level = min(level, max(calibration.entry_scale))
    faint, plain = DENOISING.faint, DENOISING.plain
    return min(max((level - faint) / (plain - faint), 0.0), 1.0) * level


def noise_level(y: Tensor, grid: TileGrid, calibration: Calibration) -> Process[float]:
    """Find the level at which the noise of ``y`` is as strong as calibrated noise of that level.

    Starts at the calibration's ``damage_level`` and steps up while the noise is stronger, or down until it
    is, then interpolates. (A search upward from the lowest level would stop at once on strong gray noise: at
    a low level the prior predicts it as texture.)
    """
    known = list(calibration.entry_scale)
    index = min(bisect_left(known, calibration.damage_level), len(known) - 1)
    here = yield from _excess(y, grid, calibration, known[index])
    step = 1 if here >= 0 else -1
    while 0 <= index + step < len(known):
        before, index = here, index + step
        here = yield from _excess(y, grid, calibration, known[index])
        if (here >= 0) != (step > 0):
            share = before / (before - here)
            return known[index - step] * (known[index] / known[index - step]) ** share
    return known[index]


def _excess(y: Tensor, grid: TileGrid, calibration: Calibration, level: float) -> Process[float]:
    """Log ratio of the scale of the noise of ``y`` to that of calibrated noise of ``level``."""
    return log_scale(grid.crop((yield Query(y, level)))).item() - calibration.entry_scale[level]
