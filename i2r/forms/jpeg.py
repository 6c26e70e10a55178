"""JPEG compression: the quantisation tables bound the coefficients of the clean image."""

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
"""Image pixels per chroma sample, (down, across); nearly every file has the first."""

_HALF_RANGE = 127.5  # 8-bit steps per unit of [-1, 1]
_ZERO = 0.5 / _HALF_RANGE  # the format's zero of luma: 128 of 255
# ITU-T T.871: luma and the two chromas of R, G and B.
_TO_LUMA_CHROMA = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
)


@dataclass(frozen=True)
class JpegTuning:
    """How quantisation tables are estimated and quantisation is undone.

    Attributes:
        trust: share of a quantisation interval to move into: coefficients concentrate toward its middle.
        unexplained: share of the quantisation error that remains after the prior's estimate.
        plain: error of coarse coefficients in 8-bit steps, from which quantisation is undone in full: that of
            quality 75.
        rounding: standard deviation, in 8-bit steps, of the decoder's rounding as it shows in a coefficient.
        stray: share of coefficients that clipping changed arbitrarily.
        least_count: of coefficients, to accept a table.
        least_likelihood: in nats per coefficient, to accept a table.
        blocks_at_once: blocks of coefficients that are processed together; bounds memory alone.
    """

    trust: float = 0.8
    unexplained: float = 0.5
    plain: float = 2.5
    rounding: float = 0.5
    stray: float = 0.02
    least_count: int = 16
    least_likelihood: float = 0.4
    blocks_at_once: int = 1 << 12


JPEG = JpegTuning()


@dataclass(frozen=True)
class Jpeg(Record):
    """JPEG compression with blocks aligned to the image's top left corner.

    Attributes:
        tables: of the file.
    """

    name: ClassVar[str] = "jpeg"
    tables: JpegTables

    @classmethod
    def start(cls, y: Tensor, calibration: Calibration, noise: float = ROUNDING) -> Self:
        """Find the libjpeg tables with the largest likelihood that the coefficients are their multiples.

        A coefficient on a multiple of a step t is t times as likely as without quantisation; one off the
        multiples counts against the table.

        Raises:
            FormError: the image is too small, or no table is likely: the blocks were shifted, or the image
                was changed after compression.
        """
        if min(y.shape[-2:]) < 2 * SIDE:
            raise FormError(f"an image of {y.shape[-1]}x{y.shape[-2]} is too small to estimate JPEG tables")
        whole = _unclipped(y)
        luma = _coefficients(in_bands(lambda band: _planes(band)[:1], y))[:, whole]
        scores = [_likelihood(luma, standard_steps(quality)[0]) for quality in range(1, 101)]
        best = max(scores)
        if best < JPEG.least_likelihood:
            raise FormError("the image shows no multiples of the steps of a JPEG file's tables")
        quality = scores.index(best) + 1
        chroma = []
        for sampling in SAMPLINGS:
            stored = _coefficients(_stored_chroma(y, sampling))
            # Decoders interpolate chroma across blocks: clipping beside a block changes its chroma too.
            whole = _unclipped(y, (SIDE * sampling[0], SIDE * sampling[1]), margin=4)
            chroma.append(_likelihood(stored[:, whole], standard_steps(quality)[1]))
        likely = max(chroma) > JPEG.least_likelihood
        sampling = SAMPLINGS[chroma.index(max(chroma)) if likely else 0]
        return cls(JpegTables.standard(quality, sampling))

    def forward(self, x: Tensor) -> Tensor:
        """Compress and decompress, with differentiable rounding (Shin and Song 2017)."""
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
        """A share of the quantisation error of low frequencies, which are seldom stored as zero."""
        return JPEG.unexplained * self._coarse_error / _HALF_RANGE

    @property
    def severity(self) -> float:
        """How far quantisation is to be undone, in [0, 1]: 0 where coarse coefficients were only rounded."""
        rounded = math.sqrt(1 / 12)
        return min(max((self._coarse_error - rounded) / (JPEG.plain - rounded), 0.0), 1.0)

    @property
    def _coarse_error(self) -> float:
        """RMS quantisation error of low frequencies, in 8-bit steps."""
        coarse = [
            step for index, step in enumerate(self.tables.luma) if index // SIDE < 4 and index % SIDE < 4
        ]
        return math.sqrt(sum(step**2 for step in coarse) / len(coarse) / 12)

    def reveal(self, y: Tensor, expected: Tensor) -> Tensor:
        """Move the coefficients of ``expected`` into the quantisation intervals of those of ``y``.

        Pixels beyond the last whole block keep their values in ``expected``.
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
        """:meth:`reveal` on whole blocks; ``stored`` is the chroma in the file."""
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
    """Compute what to add to ``expected`` to move its coefficients into the intervals of ``stored``."""
    steps = _steps(table, expected)
    coefficients = _coefficients(expected)
    # The file holds the nearest multiple; clipping and rounding moved the decoded coefficient off it.
    distance = coefficients - steps * (_coefficients(stored) / steps).round()
    reach = JPEG.trust / 2 * steps
    return _pixels(torch.clamp(distance, -reach, reach) - distance)


def _unclipped(y: Tensor, block: tuple[int, int] = (SIDE, SIDE), margin: int = 0) -> Tensor:
    """Find the blocks (rows, columns) without values at the ends of the range, which may be clipped."""
    clipped = widened((y.abs() > 1 - 1 / _HALF_RANGE).any(dim=0), margin)
    return F.max_pool2d(clipped[None].float(), block)[0] == 0


def _planes(x: Tensor) -> Tensor:
    """Convert (3, H, W) or (1, H, W) to luma and two chromas (3, H, W); the chroma of gray is zero."""
    return torch.tensordot(_TO_LUMA_CHROMA.to(x), x.expand(3, -1, -1), 1)


def _colours(planes: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return planes[:1]
    return torch.tensordot(torch.linalg.inv(_TO_LUMA_CHROMA.double()).to(planes), planes, 1)


def _stored_chroma(y: Tensor, sampling: tuple[int, int]) -> Tensor:
    """Compute the two chromas of an image as stored in the file, at the file's resolution.

    Decoders interpolate chroma with weights 3/4 and 1/4 of the two nearest samples. Averaging the result over
    a sample amounts to a blur of 1/8, 6/8, 1/8 along each subsampled axis, which is inverted per frequency.
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
    """The orthonormal DCT-II basis (8, 8) of a block, one cosine per row."""
    position = torch.arange(SIDE, device=like.device, dtype=like.dtype)
    waves = torch.cos(math.pi * position[:, None] * (position + 0.5) / SIDE) * math.sqrt(2 / SIDE)
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])


def _coefficients(planes: Tensor) -> Tensor:
    """Transform the whole blocks of (P, H, W) to DCT coefficients (P, H / 8, W / 8, 8, 8)."""
    waves = _waves(planes)
    blocks = planes.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return waves @ blocks @ waves.T


def _pixels(coefficients: Tensor) -> Tensor:
    """The inverse of :func:`_coefficients`."""
    waves = _waves(coefficients)
    planes, rows, columns = coefficients.shape[:3]
    return (waves.T @ coefficients @ waves).transpose(2, 3).reshape(planes, SIDE * rows, SIDE * columns)


def _steps(table: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the table's steps (8, 8) in units of the [-1, 1] range."""
    return torch.tensor(table, device=like.device, dtype=like.dtype).view(SIDE, SIDE) / _HALF_RANGE


def _likelihood(coefficients: Tensor, table: tuple[int, ...]) -> float:
    """Compute the mean log likelihood ratio, in nats, of multiples of the steps against any values.

    Returns -inf for fewer than ``least_count`` coefficients.
    """
    steps = torch.tensor(table, device=coefficients.device, dtype=torch.float64).view(SIDE, SIDE)
    total, count = torch.zeros_like(steps), torch.zeros_like(steps, dtype=torch.long)
    rounding, stray = JPEG.rounding, JPEG.stray
    for blocks in coefficients.flatten(0, -3).split(JPEG.blocks_at_once):
        values = blocks.double() * _HALF_RANGE
        beside = (values - steps * (values / steps).round()) / rounding
        density = torch.exp(-beside.square() / 2) / (math.sqrt(2 * math.pi) * rounding)
        gain = (stray + (1 - stray) * steps * density).log()
        # Left out: values near zero, which are multiples of any step, and DC, which is seldom zero.
        counted = values.abs() > (steps / 2).clamp_min(4 * rounding)
        counted[:, 0, 0] = False
        total += torch.where(counted, gain, 0.0).sum(dim=0)
        count += counted.sum(dim=0)
    return (total.sum() / count.sum()).item() if count.sum() >= JPEG.least_count else -math.inf
