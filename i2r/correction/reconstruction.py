"""Partially blind restoration: the form of the degradation is known, its parameters are not.

The setting of Algorithm 3 of Invert2Restore (Chihaoui and Favaro, arXiv 2503.21486): find parameters and
image together, so that the degraded image is explained. The noise levels are descended; at each, the prior
gives its posterior mean, the parameters are fitted to it, and the mean is moved to where it explains the
degraded image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from i2r.correction.clipping import unclip
from i2r.correction.rectification import ENTRY, fill_lost
from i2r.diffusion.sampling import Process, counted, denoise, levels
from i2r.diffusion.tiling import TileGrid
from i2r.forms import Chain, Downsampling, Form, GaussianBlur, Mask, Noise, likelier_blur
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING

# What an operator took, or a lost pixel held, is not there to be carried as noise: the descent starts anew
# from every level's solution, as half-quadratic splitting does (Zhang et al., arXiv 2008.13751, equation 6).
# With the noise carried from the inverted image, blurs came out 0.5 dB worse and low resolution as good, at
# four times the NFE.
_OPERATOR_LEVELS = levels(0.01, 0.5, 8)
_FIRST_ERROR = 0.15  # of the range [-1, 1]: how far the degraded image itself is trusted as an estimate

# What a record left is noise in the image, known to lie within bounds: it is carried down, as DDIM does.
# Blocks, which are no white noise, are entered above what rounding left: quality 10 at 0.2, 50 at 0.12.
_RECORD_STEPS, _RECORD_DEPTH = 6, 10.0
_BLOCK_ENTRY = 0.1

_VISIBLE_WIDTH = 0.75  # pixels: soft scenes look as much blurred, and undoing that has lost up to 16 dB
_VISIBLE_NOISE = 0.0075  # of the range [-1, 1]: less of it reads as one step of 8 bits, or as none


@dataclass(frozen=True)
class Reconstruction:
    """What explains a degraded image.

    Attributes:
        x: (C, H, W) canvas.
        parameters: of the degradation, plain JSON, by form.
        nfe: network evaluations, in passes over the canvas.
    """

    x: Tensor
    parameters: dict[str, Any]
    nfe: int


def reconstruct(
    y: Tensor, names: Sequence[str], grid: TileGrid, calibration: Calibration, known: Sequence[Form] = ()
) -> Process[Reconstruction]:
    """Find the clean canvas and the parameters of the forms that explain canvas ``y``.

    Args:
        y: (C, H, W) canvas in [-1, 1].
        names: of :data:`i2r.forms.FORMS`, in the order in which they happened.
        grid: tells which part of the canvas is the image.
        calibration: of the prior.
        known: forms whose parameters are known, such as those that a JPEG file tells.

    Raises:
        FormError: the image does not show a form.
    """
    (x, chain), nfe = yield from counted(_explain(y, names, grid, calibration, known))
    return Reconstruction(x, chain.parameters(), nfe)


def likeliest_forms(y: Tensor, calibration: Calibration) -> list[Form]:
    """What took the detail of (C, H, W) in [-1, 1], an image that seems to lack some, as it happened.

    Empty where the spectrum shows no blur that could be seen: the scene itself is soft.
    """
    reduced = Downsampling.seen_in(y)
    if reduced is not None:
        return [reduced]
    noise = Noise.start(y, calibration)
    noisy = noise.level > _VISIBLE_NOISE
    blur = likelier_blur(y, calibration, noise.level if noisy else ROUNDING)
    if isinstance(blur, GaussianBlur) and blur.width < _VISIBLE_WIDTH:
        return []
    return [blur, noise] if noisy else [blur]


def _explain(
    y: Tensor, names: Sequence[str], grid: TileGrid, calibration: Calibration, known: Sequence[Form]
) -> Process[tuple[Tensor, Chain]]:
    """The canvas and the chain; what is lost is found before the other forms are read off."""
    filled = y
    if Mask.name in names:
        filled, lost = yield from fill_lost(y, grid, calibration)
        known = [*known, Mask(grid.crop(lost[None])[0])]
    chain = Chain.start(names, grid.crop(filled), calibration, known)
    if tuple(names) == (Mask.name,):
        return filled, chain
    image, filled = grid.crop(y), grid.crop(filled)
    found = yield from _descend(image, filled, chain, grid)
    for other in chain.others():
        end = yield from _descend(image, filled, other, grid)
        found = min(found, end, key=lambda end: _missed(end, image))
    x, chain, _ = found
    return grid.pad(x), chain


def _descend(
    y: Tensor, filled: Tensor, chain: Chain, grid: TileGrid
) -> Process[tuple[Tensor, Chain, Tensor]]:
    """The image, the chain, and what the prior expects last; ``filled`` is ``y`` with what it lost."""
    if chain.leaves_noise:
        entry = ENTRY * chain.noise if chain.noisy else _BLOCK_ENTRY + chain.noise
        sigmas, carried, x = levels(entry / _RECORD_DEPTH, entry, _RECORD_STEPS - 1), 1.0, filled
    else:
        sigmas, carried, x = _OPERATOR_LEVELS, 0.0, chain.solve(y, filled, _FIRST_ERROR)
    for sigma, lower in zip(reversed(sigmas), [*reversed(sigmas[:-1]), 0.0], strict=True):
        x = grid.pad(x)
        expected = grid.crop((yield from denoise(x, sigma)))
        chain = chain.fit(expected, y, sigma)
        x = chain.solve(y, expected, sigma).lerp_(grid.crop(x), carried * lower / sigma)
    return (unclip(x, chain.noise) if chain.leaves_noise and chain.noisy else x), chain, expected


def _missed(end: tuple[Tensor, Chain, Tensor], y: Tensor) -> float:
    """RMS by which a chain misses ``y`` from what the prior expects; what was solved misses it by none."""
    _, chain, expected = end
    return (chain.forward(expected) - y).square().mean().sqrt().item()
