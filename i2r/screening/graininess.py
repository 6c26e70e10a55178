"""Graininess: how much a picture looks like noise, patch by patch, where noise covers only a part of it.

Sensors are noisier in the shadows, scans where the film was dense, composites where one source was poor. In
a patch of 32 pixels noise is told from texture by two things at once: it is strong, and neighbours do not
agree. In colour the noise that the prior predicts is looked at: of clean photographs one patch in a thousand
comes near. In gray a prior of colour takes noise for texture; there the picture's finest differences tell,
which are correlated as those of white noise are, and those of textures are not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import diagonal_differences, widened
from i2r.screening.calibration import TAIL, Spread

PATCH = 32
"""Side of the patches in pixels: noise shows in fewer, but so does texture."""
STEP = 16
NOISIEST = 0.95
"""Quantile over patches: noise that covers a twentieth of a region shows."""
_SURE = 1e-3  # chance of a region of a clean photograph to hold as much
_GROWTH = 4  # patches beside what surely is noise that may be likely ones
_TOLD = 0.12  # of the range [-1, 1]: stronger differences are no more like noise
_WHITE = {(0, 1): -0.5, (1, 0): -0.5, (1, 1): 0.25, (1, -1): 0.25} | dict.fromkeys(
    [(0, 2), (2, 0), (1, 2), (2, 1), (1, -2), (2, -1), (2, 2), (2, -2)], 0.0
)
"""By rows and columns apart, how the diagonal differences of white noise are correlated."""
_APART = 3.0  # by how much not being so correlated counts
_FLATTEST = 2e-3  # of the range: what rounding leaves
MAD_TO_STD = 0.6744897501960817
"""The median of ``|n|`` for ``n`` of N(0, 1)."""
_OF_PATCH = (-3, -2, -1)
_AT_ONCE = 1 << 24  # values of patches that are looked at together
_NEAR, _FINE = 8, 9  # pixels: how far noise may reach beyond its patches, and over which it is told there
_SHARE = 0.5  # of the power within: at the edge of what is noisy
_STRONGEST = 4.0  # of typical power: an edge of the picture counts for no more


def graininess(images: Tensor, eps: Tensor) -> Tensor:
    """How much every patch looks like noise.

    Args:
        images: (N, C, H, W) in [-1, 1]; sides of at least ``PATCH``.
        eps: of that shape, the noise that the prior predicts at a low level, of unit scale.

    Returns:
        (N, R, K), for the patches that start at :func:`starts` of both sides. In colour, and of latents: the
        log robust standard deviation of ``eps``, less twice the correlation of neighbours along the direction
        in which it is largest; about 0 for white noise of the level or above. In gray: the same of the
        images' diagonal differences, less how far their correlations are from those of white noise.
    """
    figure, values = (_of_noise, eps) if images.shape[1] > 1 else (_of_differences, _differences(images))
    patches = values.unfold(-2, PATCH, 1).unfold(-2, PATCH, 1).permute(0, 2, 3, 1, 4, 5)
    rows, columns = (starts(length, values.device) for length in values.shape[-2:])
    size = len(values) * values.shape[1] * len(columns) * PATCH**2
    together = rows[:, None].split(max(1, _AT_ONCE // size))
    return torch.cat([figure(patches[:, some, columns]) for some in together], dim=1)


def starts(length: int, device: torch.device | None = None) -> Tensor:
    """Where the patches along a side of ``length`` pixels begin: evenly, from one end to the other."""
    last = length - PATCH
    count = -(-last // STEP)
    return torch.arange(count + 1, device=device) * last // max(count, 1)


def patchiness(images: Tensor, eps: Tensor) -> Tensor:
    """How much the noisiest patches of each image look like noise, (N,); see :func:`graininess`."""
    return graininess(images, eps).flatten(1).quantile(NOISIEST, dim=1)


def noise_mask(image: Tensor, eps: Tensor, where: Tensor, clean: Spread) -> Tensor:
    """The pixels (H, W) that noise covers, where it covers a part of a picture.

    By hysteresis: surely noisy somewhere in ``where`` (H, W), and likely beside it. A patch that is found
    tells only about where: at its edges the pixels do.

    Args:
        image, eps: (C, H, W), as in :func:`graininess`.
        clean: how the patchiness of clean photographs lies.
    """
    grain = graininess(image[None], eps[None])[0]
    found = sure = (grain > clean.exceeded_by(_SURE)) & _mostly(where)
    for _ in range(_GROWTH):
        found = found | (widened(found, 1) & (grain > clean.exceeded_by(TAIL)))
    within = _painted(sure, where)
    if not within.any():
        return torch.zeros_like(where)
    if len(image) > 1:
        values = eps
    else:
        values = _differences(image[None])[0]
        values = values / (values[:, within].abs().median() / MAD_TO_STD + _FLATTEST)
    power = _smoothed(values.square().mean(dim=0).clamp_max(_STRONGEST), _FINE)
    return widened(_painted(found, where), _NEAR) & (power > _SHARE * power[within].median())


def _differences(images: Tensor) -> Tensor:
    """The diagonal differences of (N, C, H, W), of the deviation of their noise; the last ones twice."""
    steps = diagonal_differences(images.flatten(0, 1))
    return F.pad(steps, (0, 1, 0, 1), mode="replicate").view_as(images)


def _of_differences(patches: Tensor) -> Tensor:
    """Of diagonal differences (..., C, PATCH, PATCH), one figure each."""
    scale = _magnitude(patches) + _FLATTEST
    power = patches.square().mean(dim=_OF_PATCH) + 1e-9
    apart = torch.zeros_like(scale)
    for (down, across), white in _WHITE.items():
        one = patches[..., down:, max(across, 0) : PATCH + min(across, 0)]
        other = patches[..., : PATCH - down, max(-across, 0) : PATCH - max(across, 0)]
        apart += ((one * other).mean(dim=_OF_PATCH) / power - white).square()
    return scale.clamp_max(_TOLD).log() - _APART * apart.sqrt()


def _of_noise(patches: Tensor) -> Tensor:
    """Of noise (..., C, PATCH, PATCH), one figure each."""
    inner = patches[..., 1:, 1:-1]
    neighbours = patches[..., 1:, :-2], patches[..., :-1, 1:-1], patches[..., :-1, :-2], patches[..., :-1, 2:]
    products = torch.stack([(inner * other).mean(dim=_OF_PATCH) for other in (*neighbours, inner)])
    agreement = (products[:-1] / (products[-1] + 1e-9)).amax(dim=0)
    return (_magnitude(patches) + 1e-6).log() - 2 * agreement


def _magnitude(patches: Tensor) -> Tensor:
    """The robust standard deviation of each patch."""
    return patches.abs().flatten(-3).median(dim=-1).values / MAD_TO_STD


def _mostly(where: Tensor) -> Tensor:
    """The patches (R, K) of which at least half lies in ``where`` (H, W)."""
    down, across = _belonging(where)
    return down @ where.float() @ across.T >= PATCH**2 / 2


def _painted(patches: Tensor, where: Tensor) -> Tensor:
    """The pixels (H, W) of the marked ones among the patches (R, K) of an image, as many as in ``where``."""
    down, across = _belonging(where)
    return down.T @ patches.float() @ across > 0


def _belonging(where: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows and which columns of ``where`` (H, W) lie in each patch: (R, H) and (K, W) of 0 and 1."""
    belonging = []
    for length in where.shape:
        beyond = torch.arange(length, device=where.device) - starts(length, where.device)[:, None]
        belonging.append(((beyond >= 0) & (beyond < PATCH)).float())
    down, across = belonging
    return down, across


def _smoothed(x: Tensor, side: int) -> Tensor:
    half = side // 2
    return F.avg_pool2d(F.pad(x[None], (half, half, half, half), mode="reflect"), side, stride=1)[0]
