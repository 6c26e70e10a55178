"""Overlays: what lies over a scene, such as dust, scratches, stains and drops, told by a small network.

A prior expects such marks: a dark speck is as likely as the pupil of an eye. What tells them is how they end,
that many look alike, and that the scene goes on around them. That was learnt from random marks on photographs
(:mod:`i2r.training.overlay_network`), once for all priors; the calibration of each prior tells how much of it
clean photographs show.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from i2r.canvas.windows import averaged, widened
from i2r.screening import overlay_weights

STRIDE = 16
"""Of the network, in pixels."""
SURE, LIKELY = 2.0, -0.5
"""Logits of what surely is covered, and of what is covered where it adjoins that."""
_SHARE = 120 / 192**2  # of the pixels of a region, that lines lie over at least
_SPECK, _BLOT = 6, 24  # px, sides of what lies over a region in one piece
_TILE, _MARGIN = 512, 64  # px that the network sees at once, and that it sees around them
_GROWTH = 48  # px, that what is likely reaches from what is sure
_WIDTHS = (40, 64, 96, 128)
_DETAIL_SIDES = (7, 21)  # px, of what detail is held against
_MARK_SIDES = (7, 19)  # px: what is narrower stands out as a mark
_FAINTEST = 0.04  # of the range [-1, 1]: detail below this is flat


def find_overlays(image: Tensor, device: torch.device, precision: torch.dtype) -> Tensor:
    """How surely something lies over each pixel of an image, (H, W), as logits.

    Args:
        image: (C, H, W) in [-1, 1]; in gray where C is not 3.
        device: what the network is evaluated on, wherever the image lives.
        precision: what it computes in; see :func:`i2r.device.precision_on`.
    """
    colour = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    logits = torch.empty_like(colour[0])
    height, width = logits.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            rows, columns = _around(top, height), _around(left, width)
            seen = overlay_logits(_network(device, precision), colour[:, rows, columns].to(device), precision)
            inner = seen[top - rows.start :, left - columns.start :][:_TILE, :_TILE]
            logits[top : top + _TILE, left : left + _TILE] = inner
    return logits


def overlay_evidence(logits: Tensor) -> Tensor:
    """How surely something lies over each region (N, H, W) at all, (N,): be it lines, specks or blots.

    In units of the mean excess of clean regions, from what a twentieth of them exceed: there a chance is as
    small in each of the three at the same figure.
    """
    seen = overlay_kinds(logits)
    kinds = [
        (seen[kind] - start) / excess for kind, (start, excess) in overlay_weights.clean_logits().items()
    ]
    return torch.stack(kinds).amax(dim=0)


def overlay_kinds(logits: Tensor) -> dict[str, Tensor]:
    """How surely lines, specks and blots lie over each region (N, H, W), each as logits (N,).

    Of lines, which are thin and long, what a three hundredth of the pixels reach; of specks and blots, which
    are of one piece, the mean over the surest square of their size.
    """
    pixels = logits.flatten(1)
    rank = math.ceil(_SHARE * pixels.shape[1])
    return {
        "lines": pixels.kthvalue(pixels.shape[1] + 1 - rank, dim=1).values,
        "specks": _surest_square(logits, _SPECK),
        "blots": _surest_square(logits, _BLOT),
    }


def overlay_mask(logits: Tensor) -> Tensor:
    """The pixels (H, W) of a region that something lies over: what is sure, and what is likely beside it."""
    mask, likely = logits > SURE, logits > LIKELY
    for _ in range(_GROWTH):
        grown = widened(mask, 1) & likely
        if torch.equal(grown, mask):
            break
        mask = grown
    return mask


def _surest_square(logits: Tensor, side: int) -> Tensor:
    """The largest mean of each of (N, H, W) logits over squares, one at every third of their side."""
    return F.avg_pool2d(logits, side, stride=side // 3).amax(dim=(1, 2))


def _around(start: int, length: int) -> slice:
    return slice(max(0, start - _MARGIN), min(length, start + _TILE + _MARGIN))


@torch.inference_mode()
def overlay_logits(network: Callable[[Tensor], Tensor], image: Tensor, precision: torch.dtype) -> Tensor:
    """Of an image (3, H, W) that is seen at once: the means of what it and its mirror image show.

    What looks covered from one side only is seldom so: clean photographs raise fewer alarms.
    """
    _, height, width = image.shape
    padded = F.pad(image[None], (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    planes = features(padded).to(precision, memory_format=torch.channels_last)
    mirrored = F.pixel_unshuffle(F.pixel_shuffle(planes, 2).flip(-1), 2)
    seen, back = network(torch.cat([planes, mirrored])).float()
    return ((seen + back.flip(-1)) / 2)[:height, :width]


@cache
def _network(device: torch.device, precision: torch.dtype) -> OverlayNetwork:
    network = OverlayNetwork()
    network.load_state_dict(load_file(overlay_weights.PATH))
    return network.to(device, precision).eval().requires_grad_(False)


def features(image: Tensor) -> Tensor:
    """What the network sees of images.

    The image, its detail in units of the contrast around it, and how far what is narrow stands out, bright or
    dark (top-hats: Serra 1982). The network would learn as much from the image alone, in thrice the time.

    Args:
        image: (N, 3, H, W) in [-1, 1], of even sides.

    Returns:
        (N, 52, H / 2, W / 2): of four pixels each.
    """
    planes = [image]
    for side in _DETAIL_SIDES:
        detail = image - averaged(image, side)
        contrast = averaged(detail.square().mean(dim=1, keepdim=True), side).sqrt()
        planes.append(detail / (contrast + _FAINTEST))
    gray = image.mean(dim=1, keepdim=True)
    both = torch.cat([gray, -gray], dim=1)  # what is dark stands out of the negative
    planes += [both - _dilated(_eroded(both, side), side) for side in _MARK_SIDES]
    return F.pixel_unshuffle(torch.cat(planes, dim=1), 2)


def _dilated(x: Tensor, side: int) -> Tensor:
    half = side // 2
    across = F.max_pool2d(x, (1, side), stride=1, padding=(0, half))
    return F.max_pool2d(across, (side, 1), stride=1, padding=(half, 0))


def _eroded(x: Tensor, side: int) -> Tensor:
    return -_dilated(-x, side)


class _Block(nn.Module):
    """Two convolutions around which the input goes on."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class OverlayNetwork(nn.Module):
    """A U-Net of half resolution and four scales that marks what lies over a scene."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(52, _WIDTHS[0], 3, padding=1)
        steps = list(pairwise(_WIDTHS))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.before = nn.ModuleList(_Block(width) for width in _WIDTHS)
        self.after = nn.ModuleList(_Block(width) for width in _WIDTHS)
        self.head = nn.Conv2d(_WIDTHS[0], 4, 1)

    def forward(self, planes: Tensor) -> Tensor:
        """From :func:`features` to the logit of every pixel to be covered, (N, H, W)."""
        x, skipped = self.stem(planes), []
        for before, down in zip(self.before, self.down, strict=False):
            x = before(x)
            skipped.append(x)
            x = down(x)
        x = self.after[-1](self.before[-1](x))
        for after, up, skip in zip(
            reversed(self.after[:-1]), reversed(self.up), reversed(skipped), strict=True
        ):
            x = after(skip + F.interpolate(up(x), scale_factor=2, mode="nearest"))
        return F.pixel_shuffle(self.head(F.silu(x)), 2)[:, 0]
