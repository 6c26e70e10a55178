"""Partially blind restoration: the form of the degradation is known, its parameters are not.

The setting of Algorithm 3 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486): find the parameters and
the clean image that together explain the degraded image. At each of a series of falling noise levels, the
prior computes the posterior mean, the parameters are fitted to it, and the mean is moved to explain the
degraded image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from i2r.correction.clipping import unclip
from i2r.correction.denoising import DENOISING
from i2r.correction.rectification import fill_missing, path
from i2r.diffusion.sampling import Process, denoise, levels
from i2r.diffusion.tiling import TileGrid
from i2r.forms import Chain, Downsampling, Form, GaussianBlur, Mask, Noise, likelier_blur
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING

# Detail that an operator removed is not in the degraded image as noise that could be carried down. So the
# descent drops the noise at every level and restarts from the level's solution, as half-quadratic splitting
# does (Zhang et al., arXiv 2008.13751, equation 6). With the noise carried from the inverted image, blurs
# were restored 0.5 dB worse and low resolution equally well, at four times the NFE.
#
# A record leaves an error that is like noise and bounded: it is carried down, as in DDIM. Blocks, which are
# not white noise, start at a level above their quantisation error: quality 10 at 0.2, 50 at 0.12.


@dataclass(frozen=True)
class ReconstructionTuning:
    """How forms are undone. Noise levels and errors are in units of the range [-1, 1].

    Attributes:
        operator_path: lowest and highest noise level of the descent with operators, and steps between them.
        first_error: assumed error of the degraded image as the first estimate.
        record_steps: noise levels of the descent without operators.
        block_entry: added to the error that records leave, to give the entry level of blocks.
        visible_width: least width of a Gaussian blur that is undone, in pixels: soft scenes look blurred by
            less, and deblurring them has cost up to 16 dB.
        visible_noise: least estimate of a noise level: a lower one is one step of 8 bits, or zero.
    """

    operator_path: tuple[float, float, int] = (0.01, 0.5, 8)
    first_error: float = 0.15
    record_steps: int = 6
    block_entry: float = 0.1
    visible_width: float = 0.75
    visible_noise: float = 0.0075


RECONSTRUCTION = ReconstructionTuning()


@dataclass(frozen=True)
class Reconstruction:
    """The clean image and parameters that explain a degraded image.

    Attributes:
        x: (C, H, W) canvas of the clean image.
        parameters: of the degradation by form, as plain JSON.
    """

    x: Tensor
    parameters: dict[str, Any]


def reconstruct(
    y: Tensor, names: Sequence[str], grid: TileGrid, calibration: Calibration, known: Sequence[Form] = ()
) -> Process[Reconstruction]:
    """Find the clean canvas and the parameters of the forms that explain canvas ``y``.

    Missing pixels are filled before other forms are estimated.

    Args:
        y: (C, H, W) canvas in [-1, 1].
        names: of forms in :data:`i2r.forms.FORMS`, in the order in which they happened.
        grid: separates the image from the padding of the canvas.
        calibration: of the prior.
        known: forms whose parameters are known, such as the tables of a JPEG file.

    Raises:
        FormError: the image does not show a form.
    """
    filled = y
    if Mask.name in names:
        filled, missing = yield from fill_missing(y, grid, calibration)
        known = [*known, Mask(grid.crop(missing[None])[0])]
    chain = Chain.start(names, grid.crop(filled), calibration, known)
    if tuple(names) == (Mask.name,):
        return Reconstruction(filled, chain.parameters())
    image, filled = grid.crop(y), grid.crop(filled)
    found = yield from _descend(image, filled, chain, grid)
    for other in chain.others():
        end = yield from _descend(image, filled, other, grid)
        found = min(found, end, key=lambda end: _residual(end, image))
    x, chain, _ = found
    return Reconstruction(grid.pad(x), chain.parameters())


def likeliest_forms(y: Tensor, calibration: Calibration) -> list[Form]:
    """Find the forms most likely to have removed detail from (C, H, W) in [-1, 1], in their order.

    Returns:
        downsampling, or a blur, followed by noise if that is visible; empty if the spectrum shows no visible
        blur, so that the scene itself is soft.
    """
    reduced = Downsampling.seen_in(y)
    if reduced is not None:
        return [reduced]
    noise = Noise.start(y, calibration)
    noisy = noise.level > RECONSTRUCTION.visible_noise
    blur = likelier_blur(y, calibration, noise.level if noisy else ROUNDING)
    if isinstance(blur, GaussianBlur) and blur.width < RECONSTRUCTION.visible_width:
        return []
    return [blur, noise] if noisy else [blur]


def _descend(
    y: Tensor, filled: Tensor, chain: Chain, grid: TileGrid
) -> Process[tuple[Tensor, Chain, Tensor]]:
    """Descend the noise levels; returns the image, the chain, and the prior's last posterior mean.

    ``filled`` is ``y`` with its missing pixels filled.
    """
    if chain.leaves_noise:
        entry = DENOISING.entry * chain.noise if chain.noisy else RECONSTRUCTION.block_entry + chain.noise
        sigmas, carried, x = path(entry, RECONSTRUCTION.record_steps), 1.0, filled
    else:
        sigmas, carried = levels(*RECONSTRUCTION.operator_path), 0.0
        x = chain.solve(y, filled, RECONSTRUCTION.first_error)
    for sigma, lower in zip(reversed(sigmas), [*reversed(sigmas[:-1]), 0.0], strict=True):
        x = grid.pad(x)
        expected = grid.crop((yield from denoise(x, sigma)))
        chain = chain.fit(expected, y, sigma)
        x = chain.solve(y, expected, sigma).lerp_(grid.crop(x), carried * lower / sigma)
    return (unclip(x, chain.noise) if chain.leaves_noise and chain.noisy else x), chain, expected


def _residual(end: tuple[Tensor, Chain, Tensor], y: Tensor) -> float:
    """RMS residual between ``y`` and the degraded posterior mean (that of the solved image is near zero)."""
    _, chain, expected = end
    return (chain.forward(expected) - y).square().mean().sqrt().item()
