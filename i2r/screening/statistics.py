"""The statistics of the noise that a prior sees: one record each, read without torch.

To add one, write a function that measures it, add its record to :data:`STATISTICS`, and calibrate the priors
anew. Measuring, testing, calibration files, corrections of damage and pictures walk over the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from types import MappingProxyType
from typing import Any


class Scope(Enum):
    """Of what a statistic is one value."""

    IMAGE = auto()
    REGION = auto()
    """Damage is local: each region has its own, see :func:`i2r.screening.typicality.regions`."""


class Level(Enum):
    """The noise level that the prior reads the image at, as a calibration sets it."""

    LOW = auto()
    """``Calibration.level``: where noise, grids and lost detail show."""
    HIGH = auto()
    """``Calibration.damage_level``: where the prior paints over damage."""


class Sign(Enum):
    """What an atypical value is a sign of."""

    NOISE = auto()
    GRID = auto()
    LOST_DETAIL = auto()
    DAMAGE = auto()


@dataclass(frozen=True)
class Statistic:
    """A value of the noise, and what it means where it is atypical.

    Attributes:
        name: in calibrations, rows and pictures.
        scope: of what it is a value.
        level: at which the noise is read.
        sign: of what it is one where it is atypical.
        measured_by: ``module:function``, from :class:`i2r.screening.typicality.Seen` to its value: of a stack
            of N regions to (N,), of an image to a scalar.
        label: in pictures.
        weight: of its p-value among all, whose mean is 1; None shares what the others leave.
        weight_in_gray: the same for gray images.
        corrected_by: ``module:function`` that corrects damage, from a canvas, its grid, the calibration and
            the atypical regions to the canvas and the mask (H, W) of what was replaced. Empty for the others:
            :func:`i2r.correction.strategies.by_causes` chooses by their signs.
        beside_others: share of the rate of false discoveries at which it is corrected in images that show
            something else.
        after_others: chance of a clean photograph to show as much, below which it is corrected though other
            damage was filled before; None where that makes no difference.
        colour: of its regions in pictures.
    """

    name: str
    scope: Scope
    level: Level
    sign: Sign
    measured_by: str
    label: str
    weight: float | None = None
    weight_in_gray: float | None = None
    corrected_by: str = ""
    beside_others: float = 1.0
    after_others: float | None = None
    colour: str = ""

    @property
    def measure(self) -> Callable[..., Any]:
        """The function that measures it."""
        return _load(self.measured_by)

    @property
    def correct(self) -> Callable[..., Any]:
        """The function that corrects it, where there is one."""
        return _load(self.corrected_by)


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


_TYPICALITY, _RECTIFICATION = "i2r.screening.typicality", "i2r.correction.rectification"

# Weights are high for streaks and overlays, which are faint among the lines and spots of a scene, and for
# blur, which is faint among soft scenes. The others stand out by far, and noise in a part of a picture
# farther, except in gray, where it looks like texture.
PATCHY = Statistic(
    "patchy",
    Scope.REGION,
    Level.LOW,
    Sign.NOISE,
    f"{_TYPICALITY}:patchy",
    "noise in a part",
    weight=0.08,
    weight_in_gray=1.0,
    colour="#7ad000",
)
STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {
        statistic.name: statistic
        for statistic in (
            Statistic("grain", Scope.IMAGE, Level.LOW, Sign.NOISE, f"{_TYPICALITY}:grain", "noise is strong"),
            Statistic(
                "antilag", Scope.IMAGE, Level.LOW, Sign.NOISE, f"{_TYPICALITY}:antilag", "neighbours opposed"
            ),
            Statistic(
                "lag",
                Scope.IMAGE,
                Level.LOW,
                Sign.LOST_DETAIL,
                f"{_TYPICALITY}:lag",
                "neighbours alike",
                weight=2.16,
                weight_in_gray=2.16,
            ),
            Statistic("period", Scope.IMAGE, Level.LOW, Sign.GRID, f"{_TYPICALITY}:period", "8-pixel blocks"),
            Statistic(
                "tails",
                Scope.REGION,
                Level.HIGH,
                Sign.DAMAGE,
                f"{_TYPICALITY}:tails",
                "lone outliers",
                corrected_by=f"{_RECTIFICATION}:fill_damage",
                colour="#00b4ff",
            ),
            Statistic(
                "streaks",
                Scope.REGION,
                Level.HIGH,
                Sign.DAMAGE,
                f"{_TYPICALITY}:streaks",
                "bright lines",
                weight=1.8,
                weight_in_gray=1.8,
                corrected_by=f"{_RECTIFICATION}:fill_streaks",
                colour="#ffb000",
            ),
            Statistic(
                "overlay",
                Scope.REGION,
                Level.HIGH,
                Sign.DAMAGE,
                f"{_TYPICALITY}:overlay",
                "something over the scene",
                weight=2.0,
                weight_in_gray=2.0,
                corrected_by=f"{_RECTIFICATION}:fill_overlays",
                # Noise, blur and other damage look covered here and there.
                beside_others=0.25,
                # Specks and streaks look like overlays too.
                after_others=4e-3,
                colour="#ff5ad0",
            ),
            PATCHY,
        )
    }
)
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


def weights(*, gray: bool) -> Mapping[str, float]:
    """Of all p-values, with a mean of one (Genovese, Roeder and Wasserman 2006)."""
    given = {
        statistic.name: weight
        for statistic in STATISTICS.values()
        if (weight := statistic.weight_in_gray if gray else statistic.weight) is not None
    }
    rest = (len(STATISTICS) - sum(given.values())) / (len(STATISTICS) - len(given))
    return dict.fromkeys(STATISTICS, rest) | given
