"""What the noise of clean photographs looks like to one prior, as a file in its folder.

:mod:`i2r.training.calibrate` measures it, :mod:`i2r.screening.typicality` tests against it. Nothing here
needs torch: a run checks its prior before it loads anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from i2r.errors import PriorError
from i2r.screening import overlay_weights
from i2r.screening.statistics import STATISTICS

# Facts of the file: the calibrations of priors were measured with these.
CALIBRATION = "calibration.json"
"""Name of the file in a prior's folder."""
TAIL, TAIL_START = 0.05, 1.6448536269514722
"""The share of a normal distribution that counts as its tail, and the deviation that it starts at."""
BANDS = 16
"""Bands of the spectrum, of even width from zero to the Nyquist frequency."""


@dataclass(frozen=True)
class Spread:
    """How a statistic lies over clean photographs.

    Normal up to the last twentieth, and exponential there, as excesses over a threshold are: the tails of
    photographs are longer than those of a normal distribution (Pickands 1975; the shape is held at zero).

    Attributes:
        middle: the median.
        spread: of the upper side, up to the last twentieth, in standard deviations of a normal.
        tail: mean excess of the last twentieth over its least.
    """

    middle: float
    spread: float
    tail: float

    def p_value(self, value: float) -> float:
        """The chance of a clean photograph to lie above ``value``."""
        deviation = (value - self.middle) / self.spread
        if deviation <= TAIL_START:
            return 0.5 * math.erfc(deviation / math.sqrt(2))
        return TAIL * math.exp((TAIL_START - deviation) * self.spread / self.tail)

    def widened(self, scatter: float) -> Spread:
        """That of images in which the value scatters by this standard deviation more."""
        wider = math.hypot(1, scatter / self.spread)
        return replace(self, spread=wider * self.spread, tail=wider * self.tail)

    def exceeded_by(self, chance: float) -> float:
        """The value that ``chance`` of clean photographs lie above; at most ``TAIL`` of them."""
        return self.middle + TAIL_START * self.spread + self.tail * math.log(TAIL / chance)


@dataclass(frozen=True)
class Calibration:
    """What the noise of clean photographs looks like to one prior.

    Attributes:
        level: noise level at which grain, lag, antilag and period are measured, and patchiness in colour.
        damage_level: noise level at which tails and streaks are measured.
        clean: spread of every statistic over clean photographs.
        entry_scale: for increasing noise levels, the log robust scale of photographs that hold noise of just
            that level. Where an image's own scale falls below it, reading on would eat the image.
        block_entry: intercept and slope of the line of the log entry level that restores blocks best over the
            log period that they leave in the noise.
        spectrum: log power of clean photographs in ``BANDS`` bands.
        overlays: digest of the network that the spread of overlays was measured with.
        alarms: of clean pictures, the least rate of false discoveries at which each would be altered, in
            increasing order; see :mod:`i2r.screening.risk`.
        gray: the same for gray images, of a prior that knows colour; see :meth:`i2r.prior.network.Prior.eps`.

    Raises:
        ValueError: a value is not finite, not positive where it must be, or there are too few of them.
    """

    level: float
    damage_level: float
    clean: Mapping[str, Spread]
    entry_scale: Mapping[float, float]
    block_entry: tuple[float, float]
    spectrum: tuple[float, ...]
    overlays: str
    alarms: tuple[float, ...]
    gray: Calibration | None = None

    def __post_init__(self) -> None:
        levels = list(self.entry_scale)
        _require(set(self.clean) == set(STATISTICS), f"clean does not hold {', '.join(STATISTICS)}")
        _require(len(levels) >= 2, "entry_scale has fewer than two levels")
        _require(len(self.spectrum) == BANDS, f"spectrum has {len(self.spectrum)} bands, not {BANDS}")
        numbers: dict[str, Sequence[float]] = {
            "level": (self.level, self.damage_level, *levels),
            "middle": [spread.middle for spread in self.clean.values()],
            "spread": [spread.spread for spread in self.clean.values()],
            "tail": [spread.tail for spread in self.clean.values()],
            "entry_scale": list(self.entry_scale.values()),
            "block_entry": self.block_entry,
            "spectrum": self.spectrum,
            "alarms": self.alarms,
        }
        for name, values in numbers.items():
            _require(all(map(math.isfinite, values)), f"a value of {name} is not finite")
        for name, fault in (("level", "noise level"), ("spread", "spread"), ("tail", "tail")):
            _require(min(numbers[name]) > 0, f"a {fault} is not positive")
        _require(levels == sorted(set(levels)), "the levels of entry_scale do not increase")
        _require(list(self.alarms) == sorted(self.alarms), "the alarms do not increase")

    @classmethod
    def load(cls, folder: Path) -> Calibration:
        """Read ``calibration.json`` of a prior's folder.

        Raises:
            PriorError: the file is missing or damaged, or was made with another network of overlays.
        """
        path = folder / CALIBRATION
        fix = f"make it with `i2r priors calibrate {folder} --data PHOTOS`"
        try:
            calibration = cls._from_json(json.loads(path.read_text()))
        except FileNotFoundError as error:
            raise PriorError(f"{path} is missing: {fix}") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise PriorError(f"{path} is damaged ({_one_line(error)}): {fix}") from error
        if calibration.overlays != overlay_weights.digest():
            raise PriorError(f"{path} was made by another version of this program: {fix}")
        return calibration

    def save(self, folder: Path) -> None:
        """Write it into a prior's folder, whole or not at all."""
        partial = folder / f"{CALIBRATION}.partial"
        partial.write_text(json.dumps(self._to_json(), indent=2) + "\n")
        partial.replace(folder / CALIBRATION)

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Calibration:
        intercept, slope = content["block_entry"]
        return cls(
            level=float(content["level"]),
            damage_level=float(content["damage_level"]),
            clean={name: Spread(**content["clean"][name]) for name in STATISTICS},
            entry_scale={float(level): float(scale) for level, scale in content["entry_scale"]},
            block_entry=(float(intercept), float(slope)),
            spectrum=tuple(float(power) for power in content["spectrum"]),
            overlays=str(content["overlays"]),
            alarms=tuple(float(alarm) for alarm in content["alarms"]),
            gray=cls._from_json(content["gray"]) if content.get("gray") else None,
        )

    def _to_json(self) -> dict[str, Any]:
        gray = self.gray._to_json() if self.gray else None
        return asdict(self) | {"entry_scale": [*self.entry_scale.items()], "gray": gray}


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise ValueError(fault)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return f"it lacks {text}" if isinstance(error, KeyError) else text
