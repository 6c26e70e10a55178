"""JPEG files: what their quantisation tables tell of the pixels that were lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.bands import in_bands, in_planes
from i2r.canvas.cosines import analyse, frequencies, synthesise
from i2r.canvas.windows import widened
from i2r.errors import FormError
from i2r.forms.form import Record
from i2r.jpeg_tables import SIDE, JpegTables, standard_steps
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING

SAMPLINGS = ((2, 2), (1, 1), (1, 2))
"""Pixels of the image in one of chroma, (down, across); the first is what nearly every file has."""

_HALF_RANGE = 127.5  # 8-bit steps to a unit of [-1, 1]
_ZERO = 0.5 / _HALF_RANGE  # the format's zero of luma: 128 of 255
_TRUST = 0.8  # of an interval: coefficients crowd toward its middle, where the density of images is higher
_UNSEEN = 0.5  # of the rounding error in an interval: what is left once the prior was asked
_ROUNDING = 0.5  # standard deviation, in 8-bit steps, of a decoder's rounding seen in a coefficient
_STRAY = 0.02  # share of coefficients that clipping moved anywhere
_BLOCKS = 1 << 12  # of coefficients, looked at together
_FEWEST, _SUREST = 16, 0.4  # coefficients to judge by, and nats that each must speak for a table

# ITU-T T.871: luma and the two chromas of R, G and B.
_TO_LUMA_CHROMA = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
)


@dataclass(frozen=True)
class Jpeg(Record):
    """Compression as a JPEG file with blocks that start in the image's corner.

    Attributes:
        tables: of the file.
    """

    name: ClassVar[str] = "jpeg"
    tables: JpegTables

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """The standard tables on whose multiples the coefficients lie.

        Multiples of a step t are t times as likely as values anywhere, and what lies beside them speaks
        against it: the tables with the largest likelihood are taken.

        Raises:
            FormError: no tables are likely: the blocks were moved, or the image was changed since.
        """
        if min(y.shape[-2:]) < 2 * SIDE:
            raise FormError(
                f"an image of {y.shape[-1]}x{y.shape[-2]} is too small to tell how it was compressed"
            )
        whole = _unclipped(y)
        luma = _coefficients(in_bands(lambda band: _planes(band)[:1], y))[:, whole]
        scores = [_likelihood(luma, standard_steps(quality)[0]) for quality in range(1, 101)]
        best = max(scores)
        if best < _SUREST:
            raise FormError("the image shows no multiples of the steps of a JPEG file's tables")
        quality = scores.index(best) + 1
        chroma = []
        for sampling in SAMPLINGS:
            stored = _coefficients(_stored_chroma(y, sampling))
            # What is clipped beside a block moves its chroma too, where that is enlarged.
            whole = _unclipped(y, (SIDE * sampling[0], SIDE * sampling[1]), margin=4)
            chroma.append(_likelihood(stored[:, whole], standard_steps(quality)[1]))
        sampling = SAMPLINGS[chroma.index(max(chroma))] if max(chroma) > _SUREST else SAMPLINGS[0]
        return cls(JpegTables.standard(quality, sampling))

    def forward(self, x: Tensor) -> Tensor:
        """Compress and decompress; rounding along a smooth curve, for its gradient (Shin and Song 2017)."""
        height, width = x.shape[-2:]
        down, across = self.tables.sampling
        bottom, right = -height % (SIDE * down), -width % (SIDE * across)
        planes = _planes(F.pad(x[None], (0, right, 0, bottom), mode="replicate")[0])
        luma = _quantised(planes[:1] - _ZERO, self.tables.luma) + _ZERO
        chroma = _quantised(F.avg_pool2d(planes[1:], (down, across)), self.tables.chroma)
        chroma = F.interpolate(chroma[None], scale_factor=(down, across), mode="bilinear")[0]
        return _colours(torch.cat([luma, chroma]), len(x))[:, :height, :width]

    @property
    def noise(self) -> float:
        """A part of the rounding of the coarse waves, which are seldom stored as zero."""
        coarse = [
            step for index, step in enumerate(self.tables.luma) if index // SIDE < 4 and index % SIDE < 4
        ]
        return _UNSEEN * math.sqrt(sum(step**2 for step in coarse) / len(coarse) / 12) / _HALF_RANGE

    def reveal(self, y: Tensor, expected: Tensor) -> Tensor:
        """Move the coefficients of ``expected`` into the intervals that those of ``y`` stand for.

        The intervals of whole blocks: what lies beyond the last of them stays as it is expected.
        """
        down, across = self.tables.sampling
        height = y.shape[-2] // (SIDE * down) * SIDE * down
        width = y.shape[-1] // (SIDE * across) * SIDE * across
        if not height or not width:
            return expected
        y = y[:, :height, :width]
        stored = _stored_chroma(y, self.tables.sampling)
        revealed = expected.clone()
        whole = revealed[:, :height, :width]
        in_bands(self._moved, whole, y, stored, step=SIDE * down, out=whole)
        return revealed

    def _moved(self, expected: Tensor, y: Tensor, stored: Tensor) -> Tensor:
        """Whole blocks of :meth:`reveal`; ``stored`` is the chroma that the file holds."""
        planes, luma = _planes(expected), _planes(y)[:1]
        luma = planes[:1] + _moves(planes[:1] - _ZERO, luma - _ZERO, self.tables.luma)
        pooled = F.avg_pool2d(planes[1:], self.tables.sampling)
        moves = _moves(pooled, stored, self.tables.chroma)
        chroma = planes[1:] + F.interpolate(moves[None], scale_factor=self.tables.sampling)[0]
        return _colours(torch.cat([luma, chroma]), len(y))

    def parameters(self) -> Mapping[str, Any]:
        return self.tables.parameters()


def _quantised(planes: Tensor, table: tuple[int, ...]) -> Tensor:
    steps = _steps(table, planes)
    multiples = _coefficients(planes) / steps
    nearest = multiples.detach().round()
    return _pixels((nearest + (multiples - nearest) ** 3) * steps)


def _moves(expected: Tensor, stored: Tensor, table: tuple[int, ...]) -> Tensor:
    """What to add to planes for their coefficients to lie in the intervals around the stored ones."""
    steps = _steps(table, expected)
    coefficients = _coefficients(expected)
    # The nearest multiple is what the file holds, whatever clipping and rounding made of it.
    distance = coefficients - steps * (_coefficients(stored) / steps).round()
    reach = _TRUST / 2 * steps
    return _pixels(torch.clamp(distance, -reach, reach) - distance)


def _unclipped(y: Tensor, block: tuple[int, int] = (SIDE, SIDE), margin: int = 0) -> Tensor:
    """The blocks (rows, columns) without a value at the end of the range, which may have been clipped."""
    clipped = widened((y.abs() > 1 - 1 / _HALF_RANGE).any(dim=0), margin)
    return F.max_pool2d(clipped[None].float(), block)[0] == 0


def _planes(x: Tensor) -> Tensor:
    """Luma and chroma of colour or gray, which has no chroma."""
    return torch.tensordot(_TO_LUMA_CHROMA.to(x), x.expand(3, -1, -1), 1)


def _colours(planes: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return planes[:1]
    return torch.tensordot(torch.linalg.inv(_TO_LUMA_CHROMA.double()).to(planes), planes, 1)


def _stored_chroma(y: Tensor, sampling: tuple[int, int]) -> Tensor:
    """The two chromas of an image as the file holds them, of whole samples.

    Decoders enlarge them by weights of 3/4 and 1/4 of the two nearest samples. Averaged again, that is a blur
    of 1/8, 6/8, 1/8 along each axis, which is undone wave by wave.
    """
    y = y[:, : y.shape[1] // sampling[0] * sampling[0]]
    pooled = in_bands(lambda band: F.avg_pool2d(_planes(band)[1:], sampling), y, step=sampling[0])
    if sampling == (1, 1):
        return pooled
    blur = torch.ones_like(pooled[0])
    for factor, frequency in zip(sampling, frequencies(pooled), strict=True):
        if factor == 2:
            blur *= (6 + 2 * torch.cos(2 * math.pi * frequency)) / 8
    return in_planes(lambda chroma: synthesise(analyse(chroma) / blur), pooled)


def _waves(like: Tensor) -> Tensor:
    """The orthonormal cosines of a block, one a row (DCT-II)."""
    position = torch.arange(SIDE, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi * position[:, None] * (position + 0.5) / SIDE) * math.sqrt(2 / SIDE)
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])


def _coefficients(planes: Tensor) -> Tensor:
    """Whole blocks of (P, H, W) transformed: (P, H / 8, W / 8, 8, 8)."""
    waves = _waves(planes)
    blocks = planes.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return waves @ blocks @ waves.T


def _pixels(coefficients: Tensor) -> Tensor:
    """The inverse of :func:`_coefficients`."""
    waves = _waves(coefficients)
    planes, rows, columns = coefficients.shape[:3]
    return (waves.T @ coefficients @ waves).transpose(2, 3).reshape(planes, SIDE * rows, SIDE * columns)


def _steps(table: tuple[int, ...], like: Tensor) -> Tensor:
    """The table's steps (8, 8) in units of the [-1, 1] range."""
    return torch.tensor(table, device=like.device, dtype=like.dtype).view(SIDE, SIDE) / _HALF_RANGE


def _likelihood(coefficients: Tensor, table: tuple[int, ...]) -> float:
    """Mean log likelihood of the coefficients as multiples of a table's steps, over that of any values."""
    steps = torch.tensor(table, device=coefficients.device, dtype=torch.float64).view(SIDE, SIDE)
    total, count = torch.zeros_like(steps), torch.zeros_like(steps, dtype=torch.long)
    for blocks in coefficients.flatten(0, -3).split(_BLOCKS):
        values = blocks.double() * _HALF_RANGE
        beside = (values - steps * (values / steps).round()) / _ROUNDING
        density = torch.exp(-beside.square() / 2) / (math.sqrt(2 * math.pi) * _ROUNDING)
        gain = (_STRAY + (1 - _STRAY) * steps * density).log()
        # What is nearest to zero is a multiple of anything, and the first coefficient is seldom zero.
        telling = values.abs() > (steps / 2).clamp_min(4 * _ROUNDING)
        telling[:, 0, 0] = False
        total += torch.where(telling, gain, 0.0).sum(dim=0)
        count += telling.sum(dim=0)
    return (total.sum() / count.sum()).item() if count.sum() >= _FEWEST else -math.inf
