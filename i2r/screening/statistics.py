"""The statistics of the noise that a prior sees: one record each, read without torch.

To add one, write a function of its name that measures it, add its record to :data:`STATISTICS`, and calibrate
the priors anew. Measuring, testing, calibration files, corrections of damage and pictures walk over the
records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from types import MappingProxyType

from i2r.findings import What

SMALL = 64
"""Side in pixels of the crops over which the values of an image were seen to scatter."""


class Scope(Enum):
    """Of what a statistic is one value."""

    IMAGE = auto()
    REGION = auto()
    """Damage is local: each region has its own, see :func:`i2r.screening.typicality.regions`."""


class Level(Enum):
    """The noise level that the prior reads the image at, as a calibration sets it."""

    LOW = auto()
    """``Calibration.level``: where noise, grids and missing detail show."""
    HIGH = auto()
    """``Calibration.damage_level``: where the prior paints over damage."""
    NONE = auto()
    """What the image itself shows."""


class Sign(Enum):
    """What an atypical value is a sign of."""

    NOISE = auto()
    GRID = auto()
    MISSING_DETAIL = auto()
    DAMAGE = auto()


@dataclass(frozen=True)
class Statistic:
    """A value of the noise, and what it means where it is atypical.

    Attributes:
        name: in calibrations, rows and pictures; of what measures it, see
            :data:`i2r.screening.typicality.MEASURES`.
        scope: of what it is a value.
        level: at which the noise is read.
        sign: of what it is one where it is atypical.
        what: is found then, unless the form that was undone says more.
        label: in pictures.
        weight: of its p-value among all, whose mean is 1; None shares what the others leave.
        weight_in_gray: the same for gray images; None where it does not differ.
        corrected_by: name of what corrects damage, see :data:`i2r.correction.rectification.FILLS`. Empty for
            the others: :func:`i2r.correction.strategies.by_causes` chooses by their signs.
        scatter: standard deviation of its value over crops of ``SMALL`` pixels a side of one photograph.
        beside_others: share of the rate of false discoveries at which it is corrected in images that show
            something else.
        after_others: chance of a clean photograph to show as much, below which it is corrected though other
            damage was filled before; None where that makes no difference.
        witness: name of a statistic that sees the same damage in another way: the p-values of both are
            combined; empty for none.
        colour: of its regions in pictures.
    """

    name: str
    scope: Scope
    level: Level
    sign: Sign
    what: What
    label: str
    weight: float | None = None
    weight_in_gray: float | None = None
    corrected_by: str = ""
    scatter: float = 0.0
    beside_others: float = 1.0
    after_others: float | None = None
    witness: str = ""
    colour: str = ""


# Weights are high for streaks and overlays, which are faint among the lines and spots of a scene, and for
# blur, which is faint among soft scenes. The others stand out by far, and noise in a part of a picture
# farther, which texture looks like.
_image = partial(Statistic, scope=Scope.IMAGE, level=Level.LOW)
_damage = partial(Statistic, scope=Scope.REGION, level=Level.HIGH, sign=Sign.DAMAGE)
PATCHY = Statistic(
    "patchy",
    Scope.REGION,
    Level.LOW,
    Sign.NOISE,
    What.NOISE_IN_A_PART,
    label="noise in a part",
    weight=0.0016,
    weight_in_gray=0.05,
    colour="#7ad000",
)
_RECORDS = (
    _image("grain", sign=Sign.NOISE, what=What.NOISE, label="noise is strong", scatter=0.35),
    _image("antilag", sign=Sign.NOISE, what=What.NOISE, label="neighbours opposed", scatter=0.17),
    _image(
        "lag",
        sign=Sign.MISSING_DETAIL,
        what=What.BLUR,
        label="neighbours alike",
        weight=2.6,
        weight_in_gray=1.9,
        scatter=0.16,
        witness="period",  # an enlargement shows in both
    ),
    _image("period", sign=Sign.GRID, what=What.BLOCKS, label="8-pixel blocks", scatter=0.065),
    _damage(
        "tails", what=What.DEAD_PIXELS, label="lone outliers", corrected_by="fill_damage", colour="#00b4ff"
    ),
    _damage(
        "streaks",
        what=What.STREAKS,
        label="bright lines",
        weight=1.6,
        weight_in_gray=1.3,
        corrected_by="fill_streaks",
        witness="overlay",  # what makes streaks in a scene, a wire or a fence, lies not over it
        colour="#ffb000",
    ),
    _damage(
        "overlay",
        level=Level.NONE,
        what=What.MARKS,
        label="something over the scene",
        weight=2.0,
        weight_in_gray=1.5,
        corrected_by="fill_overlays",
        beside_others=0.25,  # noise, blur and other damage look covered here and there
        after_others=4e-3,  # specks and streaks look like overlays too
        colour="#ff5ad0",
    ),
    PATCHY,
)
STATISTICS: Mapping[str, Statistic] = MappingProxyType({record.name: record for record in _RECORDS})
"""By name. Damage is corrected in this order: the later see what the earlier filled."""


def names(*, scope: Scope | None = None, level: Level | None = None, sign: Sign | None = None) -> list[str]:
    """The statistics of a scope, a level and a sign, where they are given."""
    return [
        statistic.name
        for statistic in STATISTICS.values()
        if scope in (None, statistic.scope)
        and level in (None, statistic.level)
        and sign in (None, statistic.sign)
    ]


def scatter(name: str, pixels: int, calibrated: int) -> float:
    """Standard deviation that a value has in an image of some ``pixels``, beside that between photographs.

    The variance falls with the number of pixels; in images of as many as ``calibrated``, the spread that was
    calibrated holds it.
    """
    fewer = SMALL**2 * max(0.0, 1 / pixels - 1 / calibrated)
    return STATISTICS[name].scatter * math.sqrt(fewer)


def weights(*, gray: bool) -> Mapping[str, float]:
    """Of all p-values, with a mean of one (Genovese, Roeder and Wasserman 2006)."""
    given = {
        statistic.name: weight
        for statistic in STATISTICS.values()
        if (weight := (gray and statistic.weight_in_gray) or statistic.weight) is not None
    }
    rest = (len(STATISTICS) - sum(given.values())) / (len(STATISTICS) - len(given))
    return dict.fromkeys(STATISTICS, rest) | given
