"""Filling: what stands for pixels that are lost, and for those that a veil lies over.

Canvases are (C, H, W) in [-1, 1], masks (H, W), true where something lies over the scene.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.bands import in_planes
from i2r.canvas.windows import averaged, widened
from i2r.diffusion.sampling import Process, denoise, levels

_LEVELS = levels(0.04, 0.6, 5)
_AROUND = 9  # px that a fill starts from the mean of
_FEW = 0.25  # share of known pixels among those, below which they are too few for a mean

_BESIDE = 4  # px beyond a veil that its light is compared with
_FROM_EDGE = (0, 1, 2, 3)  # px from its edge where a veil may change: it fades in, and is darker in a rim
_VEIL = 91  # px that a veil's light is compared over
_BLACK = 0.05  # of the range [0, 1], so that dark pixels tell little of a veil
_BRIGHTEST = 5.0  # times that a veil is lifted: what hides more shows nothing

_INSIDE = 3, 7  # px from the edge of a part where it is compared with what lies beside it: past its rim
_NEAR = 13  # px that both are averaged over, along the edge
_AGREE = 0.2  # at least, of what shines through with what lies beside it, where 1 is entirely
_DARKER = 0.05  # at least, in logarithms: water is as bright as the scene


def fill(y: Tensor, mask: Tensor) -> Process[Tensor]:
    """Replace the masked pixels of a canvas by posterior means at falling noise levels, the known ones held.

    One evaluation a level, and none where nothing is masked.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), the pixels to replace; what ``y`` holds there is not looked at.
    """
    x = start(y, mask)
    for level in reversed(_LEVELS) if mask.any() else ():
        x = torch.where(mask, (yield from denoise(x, level)), y)
    return x


def start(y: Tensor, mask: Tensor) -> Tensor:
    """What a fill starts from: the mean of the known pixels around, or where they are few, of farther ones.

    Args:
        y, mask: as in :func:`fill`.

    Returns:
        (C, H, W): ``y`` where it is known.
    """
    known = (~mask).float()[None]
    share = averaged(known, _AROUND)
    few = share < _FEW
    afar = bool((few & mask).any())

    def started(y: Tensor) -> Tensor:
        around = averaged(y * known, _AROUND) / share.clamp_min(_AROUND**-2)
        if afar:
            around = torch.where(few, _from_afar(y, known), around)
        return torch.where(mask, around, y)

    return in_planes(started, y)


def lift(y: Tensor, mask: Tensor) -> Tensor:
    """Brighten the masked pixels of a canvas as if they were dyed.

    Channel by channel, and for every distance from the edge on its own, by as much as the known pixels beside
    the mask are brighter than the masked ones, both averaged over a wide window. Veils that lighten stay.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), where the veil lies.

    Returns:
        (C, H, W) in [-1, 1]: ``y`` beyond the mask.
    """
    if not mask.any():
        return y
    beside = ~mask & widened(mask, _BESIDE)
    reached = [*(_within(mask, reach) for reach in _FROM_EDGE), mask]
    bands = [far & ~near for near, far in pairwise(reached)]

    def brightened(y: Tensor) -> Tensor:
        light = _light(y)
        known, lifted = _mean_over(light, beside, _VEIL), light
        for band in bands:
            gain = (known / _mean_over(light, band, _VEIL).clamp_min(_BLACK)).clamp(1, _BRIGHTEST)
            lifted = torch.where(band, gain * light, lifted)
        return torch.where(mask, (2 * (lifted - _BLACK) - 1).clamp(-1, 1), y)

    return in_planes(brightened, y)


def translucent(y: Tensor, mask: Tensor) -> Tensor:
    """The connected parts of a mask in which the scene shines through, as far as their edges tell.

    Along the edge of a veil it is darker inside than beside it, and what is seen changes as it does there, in
    logarithms, since a dye multiplies. What is opaque goes along with nothing, and a drop shows the scene
    upside down. Parts that are too thin to have an inside count as opaque.

    Args:
        y: (C, H, W) in [-1, 1].
        mask: (H, W), where something lies over the scene.

    Returns:
        (H, W), those pixels of the mask.
    """
    near, far = _INSIDE
    inside = _within(mask, far) & ~_within(mask, near)
    beside = ~mask & widened(mask, _BESIDE)
    told = _within(mask, 1) & _has(inside) & _has(beside)
    numbers, every = _parts(mask).unique(return_inverse=True)
    # Sums on the CPU: a GPU adds up in another order each time.
    inner, outer = (
        torch.stack([_mean_over(_light(plane).log(), where, _NEAR)[0, told].cpu() for plane in y.split(1)])
        for where in (inside, beside)
    )
    part, count = every[told].cpu(), len(numbers)
    darker = inner.new_zeros(count).index_add(0, part, (outer - inner).mean(dim=0) - _DARKER) > 0
    apart, alone = _spread(outer - inner, part, count), _spread(inner, part, count)
    agree = apart < (1 - _AGREE) * (alone + _spread(outer, part, count))
    return mask & (darker & agree).to(mask.device)[every]


def _light(y: Tensor) -> Tensor:
    """Of a canvas in [-1, 1], from black up."""
    return (y.clamp(-1, 1) + 1) / 2 + _BLACK


def _has(where: Tensor) -> Tensor:
    """The pixels (H, W) that have some of ``where`` in their window along an edge."""
    return averaged(where.float()[None], _NEAR)[0] > 0


def _spread(x: Tensor, part: Tensor, count: int) -> Tensor:
    """The squared distances of (C, N) from the means of the parts (N,) that they are of, summed by part."""
    many = torch.bincount(part, minlength=count).clamp_min(1)
    total = x.new_zeros(len(x), count).index_add(1, part, x)
    away = (x - (total / many)[:, part]).square().sum(dim=0)
    return x.new_zeros(count).index_add(0, part, away)


def _parts(mask: Tensor) -> Tensor:
    """The number (H, W) of the connected part of a mask that each pixel lies in; zero for those in none."""
    numbers = torch.arange(1, mask.numel() + 1, device=mask.device).view_as(mask)
    part = numbers * mask
    while True:
        # The highest number around, and the one that its own pixel has got: few rounds, however long a part.
        highest = F.max_pool2d(part[None].double(), 3, stride=1, padding=1)[0].long() * mask
        highest = F.pad(highest.flatten(), (1, 0))[highest]
        if torch.equal(highest, part):
            return part
        part = highest


def _within(mask: Tensor, reach: int) -> Tensor:
    """The pixels (H, W) of a mask no farther than ``reach`` from its edge."""
    return mask & widened(~mask, reach) if reach else torch.zeros_like(mask)


def _mean_over(x: Tensor, where: Tensor, side: int) -> Tensor:
    """The means of (C, H, W) over the pixels of ``where`` (H, W) in windows; zero where there are none."""
    share = where.float()[None]
    return averaged(x * share, side) / averaged(share, side).clamp_min(side**-2)


def _from_afar(values: Tensor, known: Tensor) -> Tensor:
    """``values`` (C, H, W) where they are ``known`` (1, H, W), and between them what coarser pixels show.

    Pull and push (Gortler et al. 1996): weighted means of two by two pixels down to a single one, and
    back up by interpolation.
    """
    if known.numel() == 1:
        return values * known
    pooled = F.avg_pool2d(known, 2, ceil_mode=True)
    coarse = F.avg_pool2d(values * known, 2, ceil_mode=True) / pooled.clamp_min(1e-6)
    coarse = _from_afar(coarse, (4 * pooled).clamp_max(1))
    rows, columns = values.shape[1:]
    wide = F.interpolate(coarse[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return known * values + (1 - known) * wide[:, :rows, :columns]
