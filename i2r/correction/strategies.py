"""Strategies of rectification: how an image whose noise is atypical is moved to where noise is typical.

All share one interface, :class:`Strategy`. ``method.strategy`` chooses between those of the fully blind
setting; its default is what the benchmark chose (benchmarks/quality.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from i2r.correction.patches import rectify_patches
from i2r.correction.reconstruction import Reconstruction, likeliest_forms, reconstruct
from i2r.correction.rectification import (
    fill_all,
    find_noisy_part,
    noise_level,
    regenerate,
    remove_blocks,
    remove_noise,
    remove_noise_in_part,
    sharpen,
)
from i2r.diffusion.inversion import Convergence, invert
from i2r.diffusion.sampling import Process, Query, generate, levels
from i2r.diffusion.tiling import TileGrid
from i2r.errors import FormError
from i2r.form_names import NONE
from i2r.forms import Downsampling, Form, Jpeg, Mask
from i2r.screening.calibration import Calibration
from i2r.screening.screen import screen
from i2r.screening.statistics import PATCHY, Sign
from i2r.screening.trace import Screening
from i2r.settings import RestoreSettings

IMPLAUSIBLE = 1e-5
"""Typicality below which an image is not what undoing a form would leave: blurs leave 1e-16 and more."""

_WHOLE = 0.9  # share of an image that noise covers where it is noisy as a whole: less is a part of it
_PATCH_LEVELS = levels(0.02, 1.0, 8)
_PATCH_ITERATIONS, _PATCH_TOLERANCE = 12, 2e-3  # gives images back at 62 dB and more, after 21 evaluations


@dataclass(frozen=True)
class Subject:
    """An image whose noise is atypical, and all that is known of it.

    Attributes:
        y: (C, H, W) canvas in [-1, 1], or of latents.
        grid: tells which part of the canvas is the image.
        calibration: of the prior, for this kind of canvas.
        seen: what its noise shows.
        known: the tables that the file tells, if it is a JPEG.
        of_pixels: whether the prior sees pixels, and not latents.
    """

    y: Tensor
    grid: TileGrid
    calibration: Calibration
    seen: Screening
    known: Sequence[Jpeg] = ()
    of_pixels: bool = True


@dataclass(frozen=True)
class Correction:
    """What a strategy makes of a subject.

    Attributes:
        x: the corrected canvas; not looked at where nothing moved.
        mask: (H, W), what moved on it.
        lost: (H, W), what of it was damage, which says nothing of what was below it; None if nothing was.
        parameters: of the degradation, as far as they were found: plain JSON, by form.
        inversion_psnr: dB between the image and what its inverted noise regenerates; NaN where nothing was
            inverted.
        message: why nothing moved, where the image does not show the form that it was told.
    """

    x: Tensor
    mask: Tensor
    lost: Tensor | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inversion_psnr: float = math.nan
    message: str = ""


class Strategy(Protocol):
    """Moves the noise of an image to where noise is typical, and regenerates the image.

    Raises:
        FloatingPointError: the prior diverges on this image, or its inversion does not converge.
    """

    def __call__(self, subject: Subject, settings: RestoreSettings) -> Process[Correction]: ...


def by_causes(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """Ours: what is atypical tells its cause, and each cause is corrected in its own way.

    Local damage is filled where it is, and noise that covers only a part removed there; then noise,
    compression or lost detail is undone all over the image.
    """
    y, grid, calibration, seen = subject.y, subject.grid, subject.calibration, subject.seen
    everywhere = torch.ones(y.shape[1:], dtype=torch.bool, device=y.device)
    steps, strength = settings.steps, settings.strength
    if not subject.of_pixels:
        # Damage, blur and blocks look like nothing known in latents: regenerating is left.
        level = yield from noise_level(y, grid, calibration)
        return Correction((yield from regenerate(y, strength * level, steps)), everywhere)
    x, lost = yield from fill_all(y, grid, calibration, seen.where)
    x, mask = _share(y, x, strength), lost
    noisy = yield from _noisy_part(x, subject, lost)
    if noisy is not None:
        x, removed = yield from remove_noise_in_part(x, noisy, grid, calibration, steps, strength)
        mask = mask | removed
    # Noise drowns the other statistics. Low resolution by two looks like a grid, and a strong compression
    # like a blur: a table of steps tells them apart.
    filled = x
    parameters: Mapping[str, Any] = {}
    if seen.noisy and noisy is None:
        x = yield from remove_noise(x, grid, calibration, steps, strength)
    elif seen.shows(Sign.GRID) or seen.shows(Sign.LOST_DETAIL):
        compressed = seen.shows(Sign.GRID)
        found = (yield from _undo_compression(x, subject, settings)) if compressed else None
        if found is not None:
            x, parameters = _share(x, found.x, strength), found.parameters
        elif seen.shows(Sign.LOST_DETAIL):
            x, parameters = yield from _bring_detail_back(x, subject, settings)
        else:
            x = yield from remove_blocks(x, grid, calibration, steps, strength)
    return Correction(x, mask if x is filled else everywhere, lost, parameters)


def by_patches(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """The paper's own: invert, test the noise patch by patch, move the patches that fail, regenerate.

    Algorithm 2 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486), at the depth down to which the
    round trip is exact; :mod:`i2r.correction.patches` has the tests and the move.
    """
    y, grid, sigma = subject.y, subject.grid, _PATCH_LEVELS[-1]
    found = yield from invert(y, _PATCH_LEVELS, _PATCH_ITERATIONS, tolerance=_PATCH_TOLERANCE)
    if found.convergence is not Convergence.REACHED:
        raise FloatingPointError(f"the inversion: {found.convergence.message}")
    again = yield from generate(found.z, _PATCH_LEVELS)
    eps = yield Query(found.z, sigma)
    rectified, moved = rectify_patches(grid.crop(eps), settings.false_discovery_rate)
    z = found.z + settings.strength * sigma * (grid.pad(rectified) - eps)
    x = yield from generate(z, _PATCH_LEVELS)
    # A patch is moved, and the image around it follows: everything may have changed.
    mask = moved.any().expand(y.shape[1:])
    back = _psnr(grid.crop(again), grid.crop(y))
    return Correction(x if moved.any() else y, mask, inversion_psnr=back)


def by_forms(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """The partially blind setting: undo the forms that are told (:mod:`i2r.correction.reconstruction`).

    Raises:
        FormError: the image does not show a form.
    """
    y, grid = subject.y, subject.grid
    known: list[Form] = [form for form in subject.known if form.name in settings.forms]
    if settings.factor is not None:
        known.append(Downsampling(settings.factor))
    found = yield from reconstruct(y, settings.forms, grid, subject.calibration, known)
    x = _share(y, found.x, settings.strength)
    mask = (x != y).any(dim=0)
    if settings.forms == (Mask.name,):
        return Correction(x, mask, mask, found.parameters)
    # All of it moved, though clipping gave a pixel back as it was.
    return Correction(x, mask.any().expand(mask.shape), None, found.parameters)


STRATEGIES: Mapping[str, Strategy] = {"causes": by_causes, "patches": by_patches}
"""By the name that ``method.strategy`` gives them."""


def _noisy_part(x: Tensor, subject: Subject, lost: Tensor) -> Process[Tensor | None]:
    """The mask (H, W) of what noise covers; None where there is none, or it covers the whole image.

    What was lost may have been taken for noise, so that the noise is looked at again where it was filled.
    """
    seen, grid, part = subject.seen, subject.grid, subject.seen.noisy_part
    # Faint noise all over a gray picture is seen only where there is little texture.
    if part is None or (seen.noisy and len(x) == 1):
        return None
    if lost.any():
        part = yield from find_noisy_part(x, grid, subject.calibration, seen.where[PATCHY.name])
    return grid.pad(part[None])[0] if 0 < part.float().mean().item() < _WHOLE else None


def _undo_compression(
    y: Tensor, subject: Subject, settings: RestoreSettings
) -> Process[Reconstruction | None]:
    """With the tables of the file, or those that the pixels show; None where neither tells any."""
    if settings.forms == NONE:
        return None
    try:
        return (yield from reconstruct(y, (Jpeg.name,), subject.grid, subject.calibration, subject.known))
    except FormError:  # blocks that were moved, or mixed with others since
        return None


def _bring_detail_back(
    y: Tensor, subject: Subject, settings: RestoreSettings
) -> Process[tuple[Tensor, Mapping[str, Any]]]:
    """Undo what seems to have taken the detail; where that was something else, leave it so."""
    grid, calibration = subject.grid, subject.calibration
    if settings.forms == NONE:
        return (yield from sharpen(y, grid, calibration, settings.strength)), {}
    forms = likeliest_forms(grid.crop(y), calibration)
    if not forms:
        return y, {}
    found = yield from reconstruct(y, [form.name for form in forms], grid, calibration, forms)
    if not isinstance(forms[0], Downsampling):
        # A wrong form leaves its marks: undoing a blur shows the grid of an image that was enlarged.
        seen = yield from screen(found.x, grid, calibration, settings.false_discovery_rate)
        if seen.typicality < IMPLAUSIBLE:
            return y, {}
    return _share(y, found.x, settings.strength), found.parameters


def _share(y: Tensor, x: Tensor, strength: float) -> Tensor:
    """As much of a correction as the strength wants: all of it, at 1; nothing goes beyond."""
    return x if strength >= 1 else torch.lerp(y, x, strength)


def _psnr(x: Tensor, y: Tensor) -> float:
    """Of (C, H, W) canvases, whose range [-1, 1] is two wide; infinite where they are equal."""
    error = (x.clamp(-1, 1) - y.clamp(-1, 1)).square().mean().item()
    return 10 * math.log10(4 / error) if error else math.inf
