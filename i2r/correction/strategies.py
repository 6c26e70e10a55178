"""Strategies of rectification: how an image with atypical noise is corrected to have typical noise.

All share one interface, :class:`Strategy`. The setting ``method.strategy`` chooses between the fully blind
ones; the default did best in the benchmark (benchmarks/quality.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from i2r.correction.denoising import (
    find_noisy_part,
    luma_share,
    noise_level,
    remove_noise,
    remove_noise_in_part,
)
from i2r.correction.patches import rectify_patches
from i2r.correction.reconstruction import Reconstruction, likeliest_forms, reconstruct
from i2r.correction.rectification import fill_all, joined, regenerate, remove_blocks, sharpen
from i2r.correction.toning import luma_of
from i2r.diffusion.inversion import Convergence, invert
from i2r.diffusion.sampling import Process, Query, covered_once, generate, levels
from i2r.diffusion.tiling import TileGrid
from i2r.errors import FormError
from i2r.form_names import NONE
from i2r.forms import Downsampling, Form, Jpeg, Mask
from i2r.screening.calibration import Calibration
from i2r.screening.screen import screen
from i2r.screening.statistics import PATCHY, Sign
from i2r.screening.trace import Screening
from i2r.settings import RestoreSettings


@dataclass(frozen=True)
class StrategyTuning:
    """How the strategies choose.

    Attributes:
        implausible: typicality of a result below which a form that the image does not have was undone.
        whole: share of noisy pixels from which the whole image counts as noisy.
        patch_side: side of the patches of noise that are tested, in pixels.
        patch_path: lowest and highest noise level of the inversion by patches, and steps between them.
        patch_iterations: most evaluations per step of that inversion.
        patch_tolerance: its RMS residual, in units of the range [-1, 1]: with these, a round trip has 62 dB
            and more in 21 evaluations.
    """

    implausible: float = 1e-5
    whole: float = 0.9
    patch_side: int = 8
    patch_path: tuple[float, float, int] = (0.02, 1.0, 8)
    patch_iterations: int = 12
    patch_tolerance: float = 2e-3


STRATEGY = StrategyTuning()


@dataclass(frozen=True)
class Subject:
    """An image to correct, with all that is known about it.

    Attributes:
        y: (C, H, W) canvas, of pixels in [-1, 1] or of latents.
        grid: separates the image from the padding of the canvas.
        calibration: of the prior, for this kind of canvas.
        seen: screening of the image.
        rate: of false discoveries, at which it was screened.
        known: form with the tables of the file, if it is a JPEG.
        of_pixels: whether the canvas holds pixels, not latents.
    """

    y: Tensor
    grid: TileGrid
    calibration: Calibration
    seen: Screening
    rate: float
    known: Sequence[Jpeg] = ()
    of_pixels: bool = True


@dataclass(frozen=True)
class Correction:
    """Result of a strategy.

    Attributes:
        x: (C, H, W), the corrected canvas; ignored if ``mask`` is empty.
        mask: (H, W), the changed pixels.
        damaged: (H, W), the damaged pixels, whose clean values are unknown, by what found them; None if
            damage is not corrected by itself.
        parameters: estimated parameters of the degradation by form, as plain JSON; empty if none were
            estimated.
        inversion_psnr: PSNR in dB between the image and the one that DDIM regenerates from its inverted
            noise; NaN if nothing was inverted.
        message: reason why nothing changed, if the image does not show the specified form.
    """

    x: Tensor
    mask: Tensor
    damaged: Mapping[str, Tensor] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inversion_psnr: float = math.nan
    message: str = ""


class Strategy(Protocol):
    """Corrects the noise of an image to be typical, and regenerates the image.

    Raises:
        FloatingPointError: the prior diverges on this image, or its inversion does not converge.
    """

    def __call__(self, subject: Subject, settings: RestoreSettings) -> Process[Correction]: ...


def by_causes(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """Our strategy: infer the cause from the atypical statistics, and correct each cause in its own way.

    Fills local damage and removes noise that covers a part of the image, each in place. Then undoes noise,
    compression or loss of detail in the whole image.
    """
    y, grid, calibration, seen = subject.y, subject.grid, subject.calibration, subject.seen
    everywhere = torch.ones(y.shape[1:], dtype=torch.bool, device=y.device)
    steps, strength = settings.steps, settings.strength
    if not subject.of_pixels:
        # In latents damage, blur and blocks have no known signature: only regeneration applies.
        level = yield from noise_level(y, grid, calibration)
        return Correction((yield from regenerate(y, strength * level, steps)), everywhere)
    x, damaged = yield from covered_once(fill_all(y, grid, calibration, seen.where))
    x, mask = _share(y, x, strength), joined(damaged, y)
    noisy = yield from _noisy_part(x, subject, mask)
    all_over = noisy is not None and grid.crop(noisy[None]).float().mean().item() >= STRATEGY.whole
    if noisy is not None and not all_over:
        x, removed = yield from remove_noise_in_part(x, noisy, grid, calibration, steps, strength)
        mask = mask | removed
    # Noise masks the other statistics. Low resolution by a factor of two looks like a block grid, and strong
    # compression like a blur: whether a JPEG table fits separates the two.
    filled = x
    parameters: Mapping[str, Any] = {}
    signs = yield from _signs_left(x, subject, mask)
    if all_over or (Sign.NOISE in signs and noisy is None):
        x = yield from _remove_noise(x, subject, settings)
    elif signs & {Sign.GRID, Sign.MISSING_DETAIL}:
        compressed = Sign.GRID in signs
        found = (yield from _undo_compression(x, subject, settings)) if compressed else None
        if found is not None:
            x, parameters = found.x, found.parameters
        elif Sign.MISSING_DETAIL in signs:
            x, parameters = yield from _bring_detail_back(x, subject, settings)
        else:
            x = yield from remove_blocks(x, grid, calibration, steps, strength)
    return Correction(x, mask if x is filled else everywhere, damaged, parameters)


def by_patches(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """The paper's strategy: invert, test the noise patch by patch, move the patches that fail, regenerate.

    Algorithm 2 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486), at the highest noise level with an
    accurate round trip; :mod:`i2r.correction.patches` has the tests and the move.
    """
    y, grid, sigmas = subject.y, subject.grid, levels(*STRATEGY.patch_path)
    found = yield from invert(y, sigmas, STRATEGY.patch_iterations, tolerance=STRATEGY.patch_tolerance)
    if found.convergence is not Convergence.REACHED:
        raise FloatingPointError(f"the inversion: {found.convergence}")
    again = yield from generate(found.z, sigmas)
    eps = yield Query(found.z, sigmas[-1])
    rectified, moved = rectify_patches(grid.crop(eps), subject.rate, STRATEGY.patch_side)
    z = found.z + settings.strength * sigmas[-1] * (grid.pad(rectified) - eps)
    x = yield from generate(z, sigmas)
    # The network is not local: one moved patch may change the whole image.
    mask = moved.any().expand(y.shape[1:])
    back = _psnr(grid.crop(again), grid.crop(y))
    return Correction(x if moved.any() else y, mask, inversion_psnr=back)


def by_forms(subject: Subject, settings: RestoreSettings) -> Process[Correction]:
    """The partially blind setting: undo the specified forms (:mod:`i2r.correction.reconstruction`).

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
        return Correction(x, mask, {Mask.name: mask}, found.parameters)
    # If any pixel changed, all count as changed: only clipping left some equal.
    return Correction(x, mask.any().expand(mask.shape), None, found.parameters)


STRATEGIES: Mapping[str, Strategy] = {"causes": by_causes, "patches": by_patches}
"""Fully blind strategies by their name in ``method.strategy``."""


def _noisy_part(x: Tensor, subject: Subject, damaged: Tensor) -> Process[Tensor | None]:
    """Return the mask (H, W) of a noisy part; None if there is none.

    Damage may have been detected as noise, so the noise is tested again after damage was filled.
    """
    seen, grid, part = subject.seen, subject.grid, subject.seen.noisy_part
    # Faint noise all over a gray picture is detected only where there is little texture.
    if part is None or (seen.noisy and len(x) == 1):
        return None
    if damaged.any():
        part = yield from find_noisy_part(x, grid, subject.calibration, seen.where[PATCHY.name])
    return grid.pad(part[None])[0] if part.any() else None


def _signs_left(x: Tensor, subject: Subject, mask: Tensor) -> Process[frozenset[Sign]]:
    """What the whole image is atypical in, and still is after the pixels of ``mask`` were corrected."""
    signs = frozenset(sign for sign in Sign if subject.seen.shows(sign))
    if not (signs and mask.any()):
        return signs
    left = yield from screen(x, subject.grid, subject.calibration, subject.rate)
    return frozenset(sign for sign in signs if left.shows(sign))


def _remove_noise(y: Tensor, subject: Subject, settings: RestoreSettings) -> Process[Tensor]:
    """Remove noise; where the luma stayed, its own is removed if it is atypical of gray images."""
    grid, calibration, steps, strength = subject.grid, subject.calibration, settings.steps, settings.strength
    x = yield from remove_noise(y, grid, calibration, steps, strength)
    if calibration.gray is None or luma_share(grid.crop(y)) == 1:
        return x
    luma = luma_of(x)
    seen = yield from screen(luma, grid, calibration.gray, subject.rate)
    if not seen.noisy:
        return x
    return x + ((yield from remove_noise(luma, grid, calibration.gray, steps, strength)) - luma)


def _undo_compression(
    y: Tensor, subject: Subject, settings: RestoreSettings
) -> Process[Reconstruction | None]:
    """Undo JPEG compression with the tables of the file or of the pixels; None if neither gives any.

    The less, the finer the tables: no change if they only rounded.
    """
    if settings.forms == NONE:
        return None
    grid, calibration = subject.grid, subject.calibration
    try:
        jpeg = subject.known[0] if subject.known else Jpeg.start(grid.crop(y), calibration)
        if not jpeg.severity:
            return Reconstruction(y, {})
        found = yield from reconstruct(y, (Jpeg.name,), grid, calibration, [jpeg])
    except FormError:  # the blocks were shifted, or the image was compressed again on another grid
        return None
    return replace(found, x=_share(y, found.x, min(settings.strength, 1.0) * jpeg.severity))


def _bring_detail_back(
    y: Tensor, subject: Subject, settings: RestoreSettings
) -> Process[tuple[Tensor, Mapping[str, Any]]]:
    """Undo the blur or low resolution that most likely removed the detail; no change if the fit is wrong."""
    grid, calibration = subject.grid, subject.calibration
    if settings.forms == NONE:
        return (yield from sharpen(y, grid, calibration, settings.strength)), {}
    forms = likeliest_forms(grid.crop(y), calibration)
    if not forms:
        return y, {}
    found = yield from reconstruct(y, [form.name for form in forms], grid, calibration, forms)
    if not isinstance(forms[0], Downsampling):
        # Undoing a wrong form leaves artefacts: deblurring an enlarged image reveals its pixel grid.
        seen = yield from screen(found.x, grid, calibration, subject.rate)
        if seen.typicality < STRATEGY.implausible:
            return y, {}
    return _share(y, found.x, settings.strength), found.parameters


def _share(y: Tensor, x: Tensor, strength: float) -> Tensor:
    """Blend from ``y`` to its correction ``x`` by ``strength``; 1 and above give ``x``."""
    return x if strength >= 1 else torch.lerp(y, x, strength)


def _psnr(x: Tensor, y: Tensor) -> float:
    """PSNR in dB of (C, H, W) canvases, whose range [-1, 1] is two wide; infinite if they are equal."""
    error = (x.clamp(-1, 1) - y.clamp(-1, 1)).square().mean().item()
    return 10 * math.log10(4 / error) if error else math.inf
