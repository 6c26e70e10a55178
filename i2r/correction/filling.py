"""Filling: replace damaged pixels, and brighten pixels under a veil (a translucent overlay).

Canvases are (C, H, W) in [-1, 1], masks (H, W), True where the scene is covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.bands import in_planes
from i2r.canvas.windows import averaged, widened
from i2r.diffusion.sampling import Process, denoise, levels


@dataclass(frozen=True)
class FillTuning:
    """How masked pixels are filled and veils brightened. Distances and sides are in pixels.

    Attributes:
        levels: lowest and highest noise level of a fill, and steps between them.
        start_window: side of the window whose mean initialises a fill.
        few: share of known pixels in that window, below which farther ones are used.
        beside: width of the band outside a veil that its light is compared with.
        rims: distances from the edge: a veil fades in and has a darker rim, so each has its own gain.
        veil_window: side of the window over which light is compared.
        black: added to light of range [0, 1], so that dark pixels weigh little in the comparison.
        most_gain: the scene does not show through darker veils.
        inside: distances from the edge of the band inside a part, past its rim, that is compared with the
            outside.
        edge_window: side of the window that both are averaged over.
        least_agreement: of the light inside and outside, where 1 is complete.
        least_darkening: in logarithms: water drops are as bright as the scene.
    """

    levels: tuple[float, float, int] = (0.04, 0.6, 5)
    start_window: int = 9
    few: float = 0.25
    beside: int = 4
    rims: tuple[int, ...] = (0, 1, 2, 3)
    veil_window: int = 91
    black: float = 0.05
    most_gain: float = 5.0
    inside: tuple[int, int] = (3, 7)
    edge_window: int = 13
    least_agreement: float = 0.2
    least_darkening: float = 0.05


FILLING = FillTuning()


def fill(y: Tensor, mask: Tensor) -> Process[Tensor]:
    """Fill the masked pixels with posterior means at falling noise levels, keeping the known pixels fixed.

    Costs one evaluation per level of the tiles that hold masked pixels.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), the pixels to fill; the values of ``y`` there are ignored.
    """
    x = start(y, mask)
    for level in reversed(levels(*FILLING.levels)) if mask.any() else ():
        x = torch.where(mask, (yield from denoise(x, level, mask)), y)
    return x


def start(y: Tensor, mask: Tensor) -> Tensor:
    """Initialise a fill with the mean of the known pixels nearby, or of farther ones where those are few.

    Args:
        y, mask: as in :func:`fill`.

    Returns:
        (C, H, W): equal to ``y`` at known pixels.
    """
    known, side = (~mask).float()[None], FILLING.start_window
    share = averaged(known, side)
    few = share < FILLING.few
    afar = bool((few & mask).any())

    def started(y: Tensor) -> Tensor:
        around = averaged(y * known, side) / share.clamp_min(side**-2)
        if afar:
            around = torch.where(few, _from_afar(y, known), around)
        return torch.where(mask, around, y)

    return in_planes(started, y)


def lift(y: Tensor, mask: Tensor) -> Tensor:
    """Brighten the masked pixels of a canvas, to undo a veil that multiplies light as a dye does.

    The gain is the light beside the mask over the light under it, both averaged over a wide window,
    separately for every channel and distance from the edge. Pixels under a veil that lightens keep their
    values.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), where the veil lies.

    Returns:
        (C, H, W) in [-1, 1]: equal to ``y`` outside the mask.
    """
    if not mask.any():
        return y
    beside = ~mask & widened(mask, FILLING.beside)
    reached = [*(_within(mask, reach) for reach in FILLING.rims), mask]
    bands = [far & ~near for near, far in pairwise(reached)]

    def brightened(y: Tensor) -> Tensor:
        light = _light(y)
        known, lifted = _mean_over(light, beside, FILLING.veil_window), light
        for band in bands:
            veiled = _mean_over(light, band, FILLING.veil_window)
            gain = (known / veiled.clamp_min(FILLING.black)).clamp(1, FILLING.most_gain)
            lifted = torch.where(band, gain * light, lifted)
        return torch.where(mask, (2 * (lifted - FILLING.black) - 1).clamp(-1, 1), y)

    return in_planes(brightened, y)


def translucent(y: Tensor, mask: Tensor) -> Tensor:
    """Find the connected parts of a mask that are translucent, judged by the light along their edges.

    Under a veil the light is darker than beside it, and varies along the edge as the light beside it does (in
    logarithms, since a dye multiplies). The light of an opaque overlay varies independently, and a drop shows
    the scene upside down. Parts too thin to have an inside count as opaque.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), where the scene is covered.

    Returns:
        (H, W), the pixels of the translucent parts.
    """
    near, far = FILLING.inside
    inside = _within(mask, far) & ~_within(mask, near)
    beside = ~mask & widened(mask, FILLING.beside)
    compared = _within(mask, 1) & _has(inside) & _has(beside)
    numbers, every = _parts(mask).unique(return_inverse=True)
    # Sums on the CPU: on a GPU their order, and so their last digits, vary from run to run.
    inner, outer = (
        torch.stack([_near(_light(plane).log(), where)[0, compared].cpu() for plane in y.split(1)])
        for where in (inside, beside)
    )
    part, count = every[compared].cpu(), len(numbers)
    darkening = (outer - inner).mean(dim=0) - FILLING.least_darkening
    darker = inner.new_zeros(count).index_add(0, part, darkening) > 0
    apart, alone = _spread(outer - inner, part, count), _spread(inner, part, count)
    agree = apart < (1 - FILLING.least_agreement) * (alone + _spread(outer, part, count))
    return mask & (darker & agree).to(mask.device)[every]


def _light(y: Tensor) -> Tensor:
    """Light of a canvas in [-1, 1]: in [0, 1], plus ``black``."""
    return (y.clamp(-1, 1) + 1) / 2 + FILLING.black


def _near(x: Tensor, where: Tensor) -> Tensor:
    """Average (C, H, W) over the pixels of ``where`` in each ``edge_window``."""
    return _mean_over(x, where, FILLING.edge_window)


def _has(where: Tensor) -> Tensor:
    """Find the pixels (H, W) whose ``edge_window`` contains some of ``where``."""
    return averaged(where.float()[None], FILLING.edge_window)[0] > 0


def _spread(x: Tensor, part: Tensor, count: int) -> Tensor:
    """Sum the squared distances of (C, N) from the mean of their part, given by ``part`` (N,): (count,)."""
    many = torch.bincount(part, minlength=count).clamp_min(1)
    total = x.new_zeros(len(x), count).index_add(1, part, x)
    away = (x - (total / many)[:, part]).square().sum(dim=0)
    return x.new_zeros(count).index_add(0, part, away)


def _parts(mask: Tensor) -> Tensor:
    """Label the connected parts of a mask: (H, W) of positive numbers, zero outside."""
    numbers = torch.arange(1, mask.numel() + 1, device=mask.device).view_as(mask)
    part = numbers * mask
    while True:
        # Take the highest label around, then that label's own label (pointer jumping): few rounds.
        highest = F.max_pool2d(part[None].double(), 3, stride=1, padding=1)[0].long() * mask
        highest = F.pad(highest.flatten(), (1, 0))[highest]
        if torch.equal(highest, part):
            return part
        part = highest


def _within(mask: Tensor, reach: int) -> Tensor:
    """Find the pixels (H, W) of a mask no farther than ``reach`` from its edge."""
    return mask & widened(~mask, reach) if reach else torch.zeros_like(mask)


def _mean_over(x: Tensor, where: Tensor, side: int) -> Tensor:
    """Average (C, H, W) over the pixels of ``where`` (H, W) in each window; zero where there are none."""
    share = where.float()[None]
    return averaged(x * share, side) / averaged(share, side).clamp_min(side**-2)


def _from_afar(values: Tensor, known: Tensor) -> Tensor:
    """Fill ``values`` (C, H, W) from coarser resolutions where they are not ``known`` (1, H, W).

    Pull and push (Gortler et al. 1996): take weighted means of two by two pixels down to a single pixel, and
    interpolate back up.
    """
    if known.numel() == 1:
        return values * known
    pooled = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(values * known, 2, ceil_mode=True) / pooled.clamp_min(1e-6)
    coarse = _from_afar(coarse, (4 * pooled).clamp_max(1))
    rows, columns = values.shape[1:]
    wide = F.interpolate(coarse[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return known * values + (1 - known) * wide[:, :rows, :columns]
