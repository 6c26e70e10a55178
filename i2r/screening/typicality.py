"""How typical the noise of an image is, against the noise of clean photographs.

The prior reads an image as a sample at a known noise level and predicts its noise. Clean photographs leave
noise of a known kind; whatever degraded an image shows as noise of another kind. Eight statistics find it
(textbook normality tests do not: they miss correlation, and clean photographs fail them too):

============ ================================================== ==================================
statistic    what it is                                         what makes it atypical
============ ================================================== ==================================
grain        log robust standard deviation, where it is white   added noise
lag          correlation of neighbouring pixels, where sharpest blur, low resolution
antilag      opposition of neighbouring pixels, where least     noise so strong that it poses as texture
period       steps at one phase of an 8-pixel grid              JPEG blocks
tails        far outliers among their neighbours                dead pixels, salt and pepper
streaks      noise along bright lines of one direction          rain, scratches
overlay      what looks as if it lay over the scene             dust, hairs, drops, stains
patchy       grain of the noisiest patches                      noise in a part of the picture
============ ================================================== ==================================

The first four are measured on the image as a whole, the others in each of its regions, since damage is
local. What lies over a scene may be as smooth as noise is of a scene: the image shows it, not its noise.
Each prior ships the spread of these statistics over clean photographs:
:class:`i2r.screening.calibration.Calibration`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from i2r.canvas.windows import diagonal_differences, local_median, widened
from i2r.jpeg_tables import SIDE
from i2r.metrics import MAD_TO_STD
from i2r.screening.calibration import Calibration
from i2r.screening.detail import DETAIL, detailed
from i2r.screening.graininess import noise_mask, patchiness
from i2r.screening.p_values import discoveries, simes, with_witness
from i2r.screening.regions import REGION, Region, by_region, mask_of
from i2r.screening.statistics import PATCHY, STATISTICS, Level, Scope, names, scatter, weights
from i2r.screening.streaks import streak_powers


@dataclass(frozen=True)
class TypicalityTuning:
    """How the statistics are measured.

    Attributes:
        patch: side of the patches whose correlations are measured one by one, in pixels.
        most_patches: about how many of them a quantile is taken of, spread evenly.
        sharpest: quantile over patches: a photograph in focus is sharp somewhere, a blurred one nowhere.
        smoothest: quantile over patches at which opposition is measured.
        damaged: quantile over pixels: damage of a hundredth of them shows, a few glints do not.
        least_magnitude: added to the median magnitude, of the range [-1, 1]: flat regions do not stand out.
        sure_ratio: least :func:`outlier_ratio` of pixels that are surely damaged.
        likely_ratio: least ratio of damaged pixels beside those.
        growth: largest distance of likely pixels from sure ones, in pixels.
        least_power: added to the power of streaks, in units of the range: weaker streaks are invisible.
    """

    patch: int = 16
    most_patches: int = 4096
    sharpest: float = 0.2
    smoothest: float = 0.8
    damaged: float = 0.99
    least_magnitude: float = 0.1
    sure_ratio: float = 2.2
    likely_ratio: float = 1.45
    growth: int = 3
    least_power: float = 3e-5

    @property
    def smallest_side(self) -> int:
        """Images with a side below this, in pixels, have too few pixels to test."""
        return 2 * self.patch


TYPICALITY = TypicalityTuning()


def robust_scale(eps: Tensor) -> Tensor:
    """Standard deviation of noise from its median magnitude; edges and damage hardly move it."""
    return eps.abs().median() / MAD_TO_STD


def difference_scale(image: Tensor, reach: int = 1, where: Tensor | None = None) -> Tensor:
    """Standard deviation of the noise in (..., H, W), from the median magnitude of its diagonal differences.

    At a reach of one pixel (Donoho and Johnstone 1994) white noise shows and little of the picture; a longer
    reach measures smoother noise in full, and more of the picture. Of the differences that end in ``where``
    (H, W), if it is given. Zero where there are none: the image is no larger than the reach.
    """
    steps = diagonal_differences(image.flatten(0, -3), reach)
    steps = steps if where is None else steps[:, where[reach:, reach:]]
    # In place: of a large image, the differences alone are as large as it is.
    return steps.abs_().median() / MAD_TO_STD if steps.numel() else steps.new_zeros(())


def calm_scale(image: Tensor, side: int, quantile: float) -> Tensor:
    """:func:`difference_scale` of the calmer patches of (C, H, W) in [-1, 1], at a quantile of them.

    Of patches of ``side`` pixels that no end of the range has clipped; of the whole if there are none.
    """
    scales = _patch_scales(image, side, (image.abs() < 1).all(dim=0))
    return scales.quantile(quantile) if len(scales) else difference_scale(image)


def evenness(image: Tensor, side: int, where: Tensor) -> Tensor:
    """How even the noise of (C, H, W) is where (H, W): that of its calm patches over that of its loud ones.

    In [0, 1], of the tenths at both ends: noise is the same all over, texture is not. One without patches.
    """
    scales = _patch_scales(image, side, where)
    calm, loud = scales.quantile(scales.new_tensor([0.1, 0.9])) if len(scales) else scales.new_ones(2)
    return calm / loud.clamp_min(1e-9)


def _patch_scales(image: Tensor, side: int, where: Tensor) -> Tensor:
    """:func:`difference_scale` (N,) of patches in ``where`` (H, W): of a large image, few and spread."""
    if min(image.shape[1:]) <= side:
        return image.new_empty(0)
    patches = diagonal_differences(image).unfold(1, side, side).unfold(2, side, side)
    rows, columns = patches.shape[1:3]
    step = math.ceil(math.sqrt(rows * columns / TYPICALITY.most_patches))
    inside = -F.max_pool2d(-where[None].float(), side)[0, :rows, :columns] > 0
    few = patches[:, ::step, ::step].abs().permute(1, 2, 0, 3, 4).flatten(2)
    return few.median(dim=2).values[inside[::step, ::step]] / MAD_TO_STD


def outlier_ratio(magnitude: Tensor) -> Tensor:
    """How far each pixel stands out of its neighbourhood: its magnitude over the local median magnitude.

    Edges, which are long and have edges for neighbours, score lower than specks and streaks.

    Args:
        magnitude: (..., H, W), the size of the noise, in units of the [-1, 1] range.
    """
    return magnitude / (local_median(magnitude) + TYPICALITY.least_magnitude)


def damaged(magnitude: Tensor) -> Tensor:
    """The mask (H, W) of the pixels that stand out of their neighbourhood in ``magnitude`` (H, W).

    By hysteresis: damage is sure somewhere, and likely beside it.
    """
    stands_out = outlier_ratio(magnitude)
    mask = stands_out > TYPICALITY.sure_ratio
    for _ in range(TYPICALITY.growth):
        mask |= widened(mask, 1) & (stands_out > TYPICALITY.likely_ratio)
    return mask


def lag_correlation(correlations: Tensor, detail: Tensor) -> Tensor:
    """How much neighbouring pixels agree in the sharper patches; in [-1, 1], -1 if too few show detail.

    The largest one of across, down and both diagonals, since a camera may move along any of them.

    Args:
        correlations: see :func:`patch_correlations`.
        detail: (N,), the patches that show detail: in others sharp and blurred are the same.
    """
    told = torch.where(detail, correlations.amax(dim=0), torch.nan)
    enough = detail.sum() >= DETAIL.fewest
    return torch.where(enough, told.nanquantile(TYPICALITY.sharpest), -1.0)


def lag_opposition(correlations: Tensor) -> Tensor:
    """How much neighbours across and down oppose each other, even in the smoother patches; in [-1, 1].

    Textures agree somewhere. Strong noise that is read at a low level agrees nowhere.
    """
    return -correlations[:2].amax(dim=0).nanquantile(TYPICALITY.smoothest)


def patch_correlations(eps: Tensor) -> Tensor:
    """Correlation of (..., C, H, W) noise with the neighbour across, down and along both diagonals.

    Returns (4, N): of N patches; NaN in those that do not hold most of the noise.
    """
    inner = eps[..., 1:, 1:-1]
    neighbours = eps[..., 1:, :-2], eps[..., :-1, 1:-1], eps[..., :-1, :-2], eps[..., :-1, 2:]
    *products, power = (
        F.avg_pool2d((inner * other).mean(dim=-3, keepdim=True), TYPICALITY.patch).flatten()
        for other in (*neighbours, inner)
    )
    return torch.where(power >= power.median(), torch.stack(products) / (power + 1e-12), torch.nan)


def grid_period(eps: Tensor) -> Tensor:
    """Largest mean step between neighbours over the phases of an 8-pixel grid, over the median phase.

    1 for (..., H, W) noise that no grid has touched. The smaller one of across and down, since blocks have
    both.
    """
    ratios, planes = [], eps.flatten(0, -3)
    for axis in (-1, -2):
        steps = planes.diff(dim=axis).abs().mean(dim=(0, -1 if axis == -2 else -2))
        phases = steps[: len(steps) // SIDE * SIDE].view(-1, SIDE).mean(dim=0)
        ratios.append((phases.max() + 1e-6) / (phases.median() + 1e-6))
    return torch.minimum(*ratios)


def log_scale(eps: Tensor) -> Tensor:
    return (robust_scale(eps) + 1e-6).log()


def log_fineness(eps: Tensor) -> Tensor:
    """How much stronger the finest differences are than wider ones: none for white noise, negative else."""
    return ((difference_scale(eps) + 1e-3) / (difference_scale(eps, reach=2) + 1e-3)).log()


def log_period(eps: Tensor) -> Tensor:
    return grid_period(eps).log()


def noisy_part(image: Tensor, eps: Tensor, where: Sequence[Region], calibration: Calibration) -> Tensor:
    """The pixels (H, W) that noise covers in the patchy regions of an image, and in what adjoins them.

    Args:
        image, eps: as in :func:`measure`.
        where: the regions that are patchy.
    """
    return noise_mask(image, eps, mask_of(where, eps), calibration.clean[PATCHY.name])


@dataclass(frozen=True)
class Measurement:
    """Values of statistics, each on a scale on which clean photographs are about normal.

    Attributes:
        whole: those of the image.
        local: those of every region, in the order of :func:`regions`; where they were measured.
        gray: whether the image has one channel.
        pixels: of the image; by default as many as the calibration's crops have.
        drawn: the regions that are drawings, in which nothing is atypical.
    """

    whole: Mapping[str, float]
    local: Sequence[Mapping[str, float]]
    gray: bool = False
    pixels: int = REGION.side**2
    drawn: frozenset[int] = frozenset()

    def __or__(self, other: Measurement) -> Measurement:
        """With those of another level."""
        local = [{**ours, **theirs} for ours, theirs in zip(self.local, other.local, strict=True)]
        return replace(self, whole={**self.whole, **other.whole}, local=local)

    def with_overlays(self, log_odds: Sequence[float]) -> Measurement:
        """With the log odds that an overlay lies over each region."""
        local = [{**one, "overlay": value} for one, value in zip(self.local, log_odds, strict=True)]
        return replace(self, local=local)

    def p_values(self, calibration: Calibration) -> dict[str, float]:
        """One p-value a statistic; of the local ones, of the hypothesis that no region is atypical.

        A region in which a statistic was not measured counts as clean: alarms are only ever fewer for it.
        Weighted, so that what is hard to detect is tested at a higher rate and the false discovery rate is
        still held (Genovese, Roeder and Wasserman 2006).
        """
        clean, weight = calibration.clean, weights(gray=self.gray)
        few = {name: scatter(name, self.pixels, REGION.side**2) for name in self.whole}
        alone = {name: clean[name].widened(few[name]).p_value(value) for name, value in self.whole.items()}
        whole = {name: with_witness(name, alone) for name in alone}
        local = {name: simes(self._by_region(calibration, name)) for name in names(scope=Scope.REGION)}
        return {name: min(1.0, p / weight[name]) for name, p in (whole | local).items()}

    def atypical_regions(self, calibration: Calibration, name: str, rate: float) -> frozenset[int]:
        """The regions in which a local statistic is atypical, at its share of a false discovery rate.

        On its own: noise makes no line of it more of a streak, and to fill what is no damage costs most.
        """
        share = rate * weights(gray=self.gray)[name] / len(STATISTICS)
        return discoveries(dict(enumerate(self._by_region(calibration, name))), share)

    def _by_region(self, calibration: Calibration, name: str) -> list[float]:
        clean, p_values = calibration.clean, []
        for index, values in enumerate(self.local):
            alone = {other: clean[other].p_value(value) for other, value in values.items()}
            hidden = index in self.drawn or name not in alone
            p_values.append(1.0 if hidden else with_witness(name, alone))
        return p_values


@dataclass(frozen=True)
class Seen:
    """What a statistic is measured on: an image, or a stack of N regions of one.

    Attributes:
        image: (C, H, W) or (N, C, H, W) in [-1, 1].
        noise: of the same shape, its noise at one level: of unit variance at the low one, in units of the
            range at the high one.
    """

    image: Tensor
    noise: Tensor

    @cached_property
    def correlations(self) -> Tensor:
        """See :func:`patch_correlations`."""
        return patch_correlations(self.noise)

    @cached_property
    def detail(self) -> Tensor:
        """Which of those patches show detail, see :func:`i2r.screening.detail.detailed`."""
        return detailed(self.image[..., 1:, 1:-1], TYPICALITY.patch)

    @cached_property
    def opposition(self) -> Tensor:
        """See :func:`lag_opposition`."""
        return lag_opposition(self.correlations)


def grain(seen: Seen) -> Tensor:
    # Textures are strong as well, but their neighbours agree, and so they are coarser.
    return log_scale(seen.noise) + 2 * seen.opposition + log_fineness(seen.noise)


def antilag(seen: Seen) -> Tensor:
    return seen.opposition


def lag(seen: Seen) -> Tensor:
    return lag_correlation(seen.correlations, seen.detail)


def period(seen: Seen) -> Tensor:
    # Where nothing shows, the steps are the network's own.
    return torch.where(seen.detail.any(), log_period(seen.noise), 0.0)


def patchy(seen: Seen) -> Tensor:
    return patchiness(seen.image, seen.noise)


def tails(seen: Seen) -> Tensor:
    outliers = outlier_ratio(seen.noise.square().mean(dim=1).sqrt()).flatten(1)
    rank = max(1, math.ceil(TYPICALITY.damaged * outliers.shape[1]))
    return (outliers.kthvalue(rank, dim=1).values + 1e-6).log()


def streaks(seen: Seen) -> Tensor:
    power = streak_powers(seen.image, seen.noise).amax(dim=0).clamp_min(0)
    return (power + TYPICALITY.least_power).log()


MEASURES: Mapping[str, Callable[[Seen], Tensor]] = {
    function.__name__: function for function in (grain, antilag, lag, period, patchy, tails, streaks)
}
"""What measures a statistic, by its name: maps a stack of N regions to (N,), or an image (also N parts of it)
to a scalar."""


def measure(seen: Seen, level: Level) -> Measurement:
    """Measure all statistics of one level. Values stay on the device until all of them are known."""
    wanted = names(scope=Scope.REGION, level=level)
    local = by_region([partial(_of_stacks, MEASURES[name]) for name in wanted], seen.image, seen.noise)
    return Measurement(
        measure_whole(seen, level),
        [dict(zip(wanted, values, strict=True)) for values in local.tolist()],
        gray=len(seen.image) == 1,
        pixels=seen.image[0].numel(),
    )


def measure_whole(seen: Seen, level: Level) -> Mapping[str, float]:
    """Measure the statistics of an image as a whole, also on a stack of N parts of it; see :class:`Seen`.

    The starts of the parts are multiples of 8 pixels, so that blocks are at one place in all of them.
    """
    wanted = names(scope=Scope.IMAGE, level=level)
    values = [MEASURES[name](seen) for name in wanted]
    return dict(zip(wanted, torch.stack(values).tolist(), strict=True)) if values else {}


def _of_stacks(measure_one: Callable[[Seen], Tensor], *planes: Tensor) -> Tensor:
    return measure_one(Seen(*planes))
