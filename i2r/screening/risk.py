"""How surely something must be wrong before an image is altered, from the share of clean ones that may be.

Conformal risk control (Angelopoulos et al., arXiv 2208.02814): one rate of false discoveries moves the
thresholds of all statistics together. Each clean picture of a calibration has the least rate at which it
would be altered, its alarm. As many alarms may lie below the rate as keep the expected share of altered
pictures at the wanted risk, whatever the pictures look like, if those to come are like those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from i2r.errors import SettingsError


@dataclass(frozen=True)
class RiskTuning:
    """How doubtful images are named.

    Attributes:
        suspicion: rate of false discoveries at which statistics are suspected; none is corrected at a higher
            one, whatever the risk.
    """

    suspicion: float = 0.05


RISK = RiskTuning()


def least_risk(count: int) -> float:
    """The smallest share of altered clean pictures that so many alarms can promise."""
    return 1 / (count + 1)


def correcting_rate(alarms: Sequence[float], max_harm: float) -> float:
    """Compute the rate of false discoveries at which at most ``max_harm`` of clean pictures are altered.

    Args:
        alarms: of clean pictures, in increasing order.
        max_harm: in (0, 1).

    Returns:
        the rate, at most ``RISK.suspicion``.

    Raises:
        SettingsError: there are too few alarms to promise that.
    """
    # The expected share is (alarms below the rate + 1) / (pictures + 1): equation 4, for a loss of 0 or 1.
    altered = math.floor(max_harm * (len(alarms) + 1) + 1e-9) - 1
    if altered < 0:
        raise SettingsError(
            f"max_harm={max_harm:g} is less than {len(alarms)} clean pictures can promise: give "
            f"{least_risk(len(alarms)):.2g} or more, or calibrate the prior on more pictures"
        )
    if altered >= len(alarms):
        return RISK.suspicion
    return min(math.nextafter(alarms[altered], 0.0), RISK.suspicion)
