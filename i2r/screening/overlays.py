"""Overlays: marks over a scene, such as dust, scratches, stains and drops, detected by a small network.

The noise that a prior predicts does not show them: a dark speck is as likely as the pupil of an eye. They
differ from the scene in their edges, in that many look alike, and in that the scene continues around them.
The network learnt this from random marks on photographs (:mod:`i2r.training.overlay_network`), once for all
priors. The calibration of each prior holds the distribution of its output on clean photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise, product
from typing import Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from i2r.canvas.windows import averaged, widened
from i2r.screening import overlay_weights
from i2r.screening.regions import Region, edges

# The architecture of the trained network: other values need other weights.
_WIDTHS = (40, 64, 96, 128)  # channels, by scale
STRIDE = 2 ** len(_WIDTHS)
"""Stride of the network, in pixels: it pads the sides of its input to multiples of this."""
CELL_CHANNELS = _WIDTHS[-1] + 2 * _WIDTHS[0]
"""What the judge sees of each square of ``STRIDE`` pixels a side."""
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
        tile: side of the tiles that the network is evaluated on, in pixels; a multiple of ``STRIDE``.
        margin: that the network sees around each tile, in pixels; a multiple of ``STRIDE``.
    """

    sure: float = 2.0
    likely: float = -0.5
    growth: int = 48
    tile: int = 512
    margin: int = 64


OVERLAYS = OverlayTuning()


@dataclass(frozen=True)
class OverlayFinder:
    """Looks for overlays with a network, in the precision and on the device of its weights."""

    network: OverlayNetwork

    @classmethod
    def load(cls, device: torch.device, precision: torch.dtype) -> Self:
        """Look with the network of the package.

        Args:
            device: where it is evaluated; images may be on another.
            precision: dtype that it computes in; see :func:`i2r.device.precision_on`.
        """
        return cls(_network(device, precision))

    @torch.inference_mode()
    def covered(self, image: Tensor) -> Tensor:
        """Compute the logits (H, W) that an overlay covers each pixel of an image (C, H, W) in [-1, 1].

        Averaged with those of the mirror image: pixels that look covered in one of the two only seldom are.
        """
        logits = torch.empty_like(image[0])
        for planes, seen, tile in self._tiles(image):
            mirrored = F.pixel_unshuffle(F.pixel_shuffle(planes, 2).flip(-1), 2)
            there, back = self.network(torch.cat([planes, mirrored]))[0].float()
            logits[tile] = ((there + back.flip(-1)) / 2)[seen]
        return logits

    @torch.inference_mode()
    def judged(self, image: Tensor) -> Tensor:
        """Compute the log odds (N,) that something lies over each region of an image (C, H, W) in [-1, 1].

        In the order of :func:`i2r.screening.regions.regions`. One evaluation a pixel.
        """
        height, width = (-(-side // STRIDE) for side in image.shape[1:])
        cells = image.new_empty(CELL_CHANNELS, height, width)
        for planes, seen, tile in self._tiles(image):
            found = self.network(planes)[1][0].float()
            cells[:, *map(_in_cells, tile)] = found[:, *map(_in_cells, seen)].to(cells.device)
        shape = tuple(image.shape[1:])
        summaries = summary(
            _pooled(cells, shape, torch.mean),
            _pooled(cells.square(), shape, torch.mean),
            _pooled(cells, shape, torch.amax),
        )
        return self.network.judge(summaries.to(self._weight))[:, 0].to(image)

    @property
    def _weight(self) -> Tensor:
        """Of its device and precision."""
        return self.network.head.weight

    def _tiles(self, image: Tensor) -> Iterator[tuple[Tensor, Region, Region]]:
        """Yield the input of the network for each tile, what of its output is of the tile, and the tile.

        Images that have not three channels are looked at in gray.
        """
        colour = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
        height, width = image.shape[1:]
        for top, left in product(*(range(0, length, OVERLAYS.tile) for length in (height, width))):
            rows, columns = _around(top, height), _around(left, width)
            part = colour[None, :, rows, columns].to(self._weight.device)
            *_, tall, wide = part.shape
            planes = features(F.pad(part, (0, -wide % STRIDE, 0, -tall % STRIDE), mode="replicate"))
            tile = _tile(top, height), _tile(left, width)
            seen = _from(tile[0], rows.start), _from(tile[1], columns.start)
            yield planes.to(self._weight.dtype, memory_format=torch.channels_last), seen, tile


def overlay_mask(logits: Tensor) -> Tensor:
    """Find the covered pixels (H, W) of a region: sure ones, and likely ones connected to them."""
    mask, likely = logits > OVERLAYS.sure, logits > OVERLAYS.likely
    for _ in range(OVERLAYS.growth):
        grown = widened(mask, 1) & likely
        if torch.equal(grown, mask):
            break
        mask = grown
    return mask


def summary(mean: Tensor, power: Tensor, highest: Tensor) -> Tensor:
    """Summarise the cells of N regions for the judge: (N, 3 CELL_CHANNELS).

    Args:
        mean, power, highest: (N, CELL_CHANNELS), the mean, the mean square and the maximum over the cells of
            each: damage comes in numbers, and stands out.
    """
    spread = (power - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, spread, highest], dim=1)


def _tile(start: int, length: int) -> slice:
    return slice(start, min(length, start + OVERLAYS.tile))


def _around(start: int, length: int) -> slice:
    margin = OVERLAYS.margin
    return slice(max(0, start - margin), min(length, start + OVERLAYS.tile + margin))


def _from(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)


def _pooled(cells: Tensor, shape: tuple[int, ...], reduce: Callable[..., Tensor]) -> Tensor:
    """Reduce the cells (C, ...) of an image (*shape,) over each of its regions: (N, C), row by row."""
    rows, columns = ([_in_cells(slice(*ends)) for ends in pairwise(edges(length))] for length in shape)
    bands = torch.stack([reduce(cells[:, part], dim=1) for part in rows], dim=1)
    return torch.stack([reduce(bands[..., part], dim=2) for part in columns], dim=2).flatten(1).T


def _in_cells(part: slice) -> slice:
    """The cells that a part of a side touches."""
    return slice(part.start // STRIDE, -(-part.stop // STRIDE))


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
    negative = -both.flatten(0, 1)
    planes += [both - _opened(negative, side).view(both.shape) for side in _MARK_SIDES]
    return F.pixel_unshuffle(torch.cat(planes, dim=1), 2)


def _opened(negative: Tensor, side: int) -> Tensor:
    """Erode, then dilate an image of negative (C, H, W): what is bright and narrower than ``side`` goes.

    Across, down, down and across: torch pools in one dimension twenty times as fast as in two.
    """
    highest = partial(F.max_pool1d, kernel_size=side, stride=1, padding=side // 2)
    eroded = -highest(highest(negative).mT)
    return highest(highest(eroded).mT)


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
        self.judge = nn.Sequential(
            nn.Linear(3 * CELL_CHANNELS, _WIDTHS[1]), nn.SiLU(), nn.Linear(_WIDTHS[1], 1)
        )

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Map :func:`features` to the logits (N, H, W) that each pixel is covered, and to its cells.

        Cells, (N, CELL_CHANNELS, H / STRIDE, W / STRIDE), are what the network sees at its coarsest and its
        finest scale; the judge maps the :func:`summary` of a region's cells to the log odds that something
        lies over it.
        """
        x, skipped = self.stem(planes), []
        for before, down in zip(self.before, self.down, strict=False):
            x = before(x)
            skipped.append(x)
            x = down(x)
        x = deep = self.after[-1](self.before[-1](x))
        for after, up, skip in zip(
            reversed(self.after[:-1]), reversed(self.up), reversed(skipped), strict=True
        ):
            x = after(skip + F.interpolate(up(x), scale_factor=2, mode="nearest"))
        x, cell = F.silu(x), STRIDE // 2
        cells = torch.cat([F.silu(deep), F.max_pool2d(x, cell), F.avg_pool2d(x, cell)], dim=1)
        return F.pixel_shuffle(self.head(x), 2)[:, 0], cells
