"""What a prior does to clean pictures: the alarms that conformal risk control needs.

See :mod:`i2r.screening.risk`. A clean picture is harmed if it comes back below :data:`HARMED` dB.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from i2r.degraded import Degraded
from i2r.findings import Action, What
from i2r.metrics import psnr
from i2r.prior.network import Prior
from i2r.restoration import Outcome
from i2r.restorer import Restorer
from i2r.screening.statistics import STATISTICS
from i2r.screening.trace import Trace
from i2r.settings import RestoreSettings

HARMED = 45.0
"""PSNR in dB to its source below which a clean picture was altered: less cannot be seen."""
NEVER = 1.0
"""Alarm of a picture that is harmed at no rate."""


def alarms(prior: Prior, pictures: Iterable[NDArray[np.float32]]) -> Iterator[float]:
    """Compute for each clean picture (H, W, C) in [0, 1] the least rate at which it would be harmed.

    Every picture is restored at the loosest rate. What comes back as it was has no alarm; of the others it is
    the rate at which the first statistic becomes atypical of what was corrected.
    """
    restorer = _loosest(prior)
    for picture in pictures:
        trace = Trace()
        [found] = restorer.restore([Degraded(picture, trace=trace)])
        harmed = found.outcome is Outcome.RESTORED and psnr(found.image, picture) < HARMED
        corrected = {finding.what for finding in found.findings if finding.action is Action.CORRECTED}
        yield _alarm(trace.looks[0].screening.p_values, corrected) if harmed else NEVER


def _alarm(p_values: Mapping[str, float], corrected: Collection[What]) -> float:
    """The least rate at which :func:`i2r.screening.p_values.discoveries` holds what was corrected."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    rates = [p_values[name] * len(ordered) / rank for rank, name in enumerate(ordered, 1)]
    first = (index for index, name in enumerate(ordered) if STATISTICS[name].what in corrected)
    return min(rates[next(first, 0) :])


def _loosest(prior: Prior) -> Restorer:
    """A restorer that corrects whatever it suspects."""
    loosest = copy.copy(prior)
    loosest.calibration = replace(prior.calibration, alarms=(NEVER,))
    return Restorer(loosest, RestoreSettings(max_harm=0.5))
