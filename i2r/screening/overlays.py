"""Overlays: marks over a scene, such as dust, scratches, stains and drops, detected by a small network.

The noise that a prior predicts does not show them: a dark speck is as likely as the pupil of an eye. They
differ from the scene in their edges, in that many look alike, and in that the scene continues around them.
The network learnt this from random marks on photographs (:mod:`i2r.training.overlay_network`), once for all
priors. The calibration of each prior holds the distribution of its output on clean photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from i2r.canvas.windows import averaged, widened
from i2r.screening import overlay_weights

# The architecture of the trained network: other values need other weights.
_WIDTHS = (40, 64, 96, 128)  # channels, by scale
STRIDE = 2 ** len(_WIDTHS)
"""Stride of the network, in pixels: it pads the sides of its input to multiples of this."""
_DETAIL_SIDES = (7, 21)  # px, sides of the windows whose mean is subtracted to give the detail
_MARK_SIDES = (7, 19)  # px: narrower marks show in the top-hats
_FAINTEST = 0.04  # of the range [-1, 1]: added to the contrast, so that fainter detail counts as flat


@dataclass(frozen=True)
class OverlayTuning:
    """How overlays are detected from the network's output.

    Attributes:
        sure: least logit of pixels that are surely covered.
        likely: least logit of covered pixels connected to those.
        growth: largest distance of likely pixels from sure ones, in pixels.
        line_share: least share of a region's pixels that lines cover.
        speck, blot: sides of the squares over which specks and blots are averaged, in pixels.
        tile: side of the tiles that the network is evaluated on, in pixels; a multiple of ``STRIDE``.
        margin: that the network sees around each tile, in pixels.
    """

    sure: float = 2.0
    likely: float = -0.5
    growth: int = 48
    line_share: float = 120 / 192**2
    speck: int = 6
    blot: int = 24
    tile: int = 512
    margin: int = 64


OVERLAYS = OverlayTuning()


def find_overlays(image: Tensor, device: torch.device, precision: torch.dtype) -> Tensor:
    """Compute the logits (H, W) that an overlay covers each pixel of an image.

    Args:
        image: (C, H, W) in [-1, 1]; converted to gray if C is not 3.
        device: where the network is evaluated; the image may be on another.
        precision: dtype that it computes in; see :func:`i2r.device.precision_on`.
    """
    colour = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    logits = torch.empty_like(colour[0])
    (height, width), side = logits.shape, OVERLAYS.tile
    for top in range(0, height, side):
        for left in range(0, width, side):
            rows, columns = _around(top, height), _around(left, width)
            seen = overlay_logits(_network(device, precision), colour[:, rows, columns].to(device), precision)
            inner = seen[top - rows.start :, left - columns.start :][:side, :side]
            logits[top : top + side, left : left + side] = inner
    return logits


def overlay_evidence(logits: Tensor) -> Tensor:
    """Compute the evidence for an overlay of any kind in each region of logits (N, H, W): (N,).

    The largest evidence for lines, specks and blots. Each is measured from the value that a twentieth of
    clean regions exceed, in units of their mean excess, so that equal values have equal false alarm rates.
    """
    seen = overlay_kinds(logits)
    kinds = [
        (seen[kind] - start) / excess for kind, (start, excess) in overlay_weights.clean_logits().items()
    ]
    return torch.stack(kinds).amax(dim=0)


def overlay_kinds(logits: Tensor) -> dict[str, Tensor]:
    """Compute the logits (N,) that lines, specks and blots cover each region of logits (N, H, W).

    For lines, which are thin and long, the logit that a three hundredth of the pixels reach. For specks and
    blots, which are compact, the largest mean over a square of their size.
    """
    pixels = logits.flatten(1)
    rank = math.ceil(OVERLAYS.line_share * pixels.shape[1])
    return {
        "lines": pixels.kthvalue(pixels.shape[1] + 1 - rank, dim=1).values,
        "specks": _surest_square(logits, OVERLAYS.speck),
        "blots": _surest_square(logits, OVERLAYS.blot),
    }


def overlay_mask(logits: Tensor) -> Tensor:
    """Find the covered pixels (H, W) of a region: sure ones, and likely ones connected to them."""
    mask, likely = logits > OVERLAYS.sure, logits > OVERLAYS.likely
    for _ in range(OVERLAYS.growth):
        grown = widened(mask, 1) & likely
        if torch.equal(grown, mask):
            break
        mask = grown
    return mask


def _surest_square(logits: Tensor, side: int) -> Tensor:
    """Compute the largest mean of (N, H, W) logits over squares, placed at every third of their side."""
    return F.avg_pool2d(logits, side, stride=side // 3).amax(dim=(1, 2))


def _around(start: int, length: int) -> slice:
    margin = OVERLAYS.margin
    return slice(max(0, start - margin), min(length, start + OVERLAYS.tile + margin))


@torch.inference_mode()
def overlay_logits(network: Callable[[Tensor], Tensor], image: Tensor, precision: torch.dtype) -> Tensor:
    """Compute the logits (H, W) of an image (3, H, W) in one evaluation, averaged with its mirror image's.

    Averaging reduces false alarms in clean photographs: pixels that look covered in one of the two only
    seldom are.
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
    """Compute the input of the network from images.

    It consists of the image, its detail over the local contrast, and top-hats (Serra 1982) of narrow bright
    and dark marks. From the image alone the network would learn as much, in three times the time.

    Args:
        image: (N, 3, H, W) in [-1, 1], of even sides.

    Returns:
        (N, 52, H / 2, W / 2): 13 planes of two by two pixels each.
    """
    planes = [image]
    for side in _DETAIL_SIDES:
        detail = image - averaged(image, side)
        contrast = averaged(detail.square().mean(dim=1, keepdim=True), side).sqrt()
        planes.append(detail / (contrast + _FAINTEST))
    gray = image.mean(dim=1, keepdim=True)
    both = torch.cat([gray, -gray], dim=1)  # dark marks are bright in the negative
    planes += [both - _dilated(_eroded(both, side), side) for side in _MARK_SIDES]
    return F.pixel_unshuffle(torch.cat(planes, dim=1), 2)


def _dilated(x: Tensor, side: int) -> Tensor:
    half = side // 2
    across = F.max_pool2d(x, (1, side), stride=1, padding=(0, half))
    return F.max_pool2d(across, (side, 1), stride=1, padding=(half, 0))


def _eroded(x: Tensor, side: int) -> Tensor:
    return -_dilated(-x, side)


class _Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class OverlayNetwork(nn.Module):
    """A U-Net of four scales, from half resolution down, that detects overlays."""

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
        """Map :func:`features` to the logits (N, H, W) that each pixel is covered."""
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
