"""What a prior does to clean pictures: the alarms that conformal risk control needs.

See :mod:`i2r.screening.risk`. A clean picture is harmed if it comes back below :data:`HARMED` dB.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from i2r.degraded import Degraded
from i2r.findings import Action, What
from i2r.metrics import psnr
from i2r.prior.network import Prior
from i2r.restoration import Outcome
from i2r.restorer import Restorer
from i2r.screening.calibration import Calibration
from i2r.screening.p_values import rates
from i2r.screening.statistics import STATISTICS
from i2r.screening.trace import Trace
from i2r.settings import RestoreSettings

HARMED = 45.0
"""PSNR in dB to its source below which a clean picture was altered: less cannot be seen."""
NEVER = 1.0
"""Alarm of a picture that is harmed at no rate."""


def with_alarms(prior: Prior, pictures: Iterable[NDArray[np.float32]]) -> Calibration:
    """Measure the alarms of clean pictures (H, W, C) in [0, 1]; returns the prior's calibration with them.

    Every picture is looked at as it is, and in gray if the prior is calibrated for gray: there fur and grass
    are far more like noise.
    """
    restorer, calibration = _loosest(prior), prior.calibration
    own: list[float] = []
    grays: list[float] = []
    for picture in pictures:
        own.append(alarm(restorer, picture))
        if calibration.gray is not None:
            grays.append(alarm(restorer, in_gray(picture)))
    gray = replace(calibration.gray, alarms=tuple(sorted(grays))) if calibration.gray else None
    return replace(calibration, alarms=tuple(sorted(own)), gray=gray)


def alarm(loosest: Restorer, picture: NDArray[np.float32]) -> float:
    """Compute the least rate at which a clean picture (H, W, C) in [0, 1] would be harmed.

    It is restored at the ``loosest`` rate. If it comes back as it was it has no alarm; else that is the rate
    at which the first statistic becomes atypical of what was corrected.
    """
    trace = Trace()
    [found] = loosest.restore([Degraded(picture, trace=trace)])
    if found.outcome is not Outcome.RESTORED or psnr(found.image, picture) >= HARMED:
        return NEVER
    corrected = {finding.what for finding in found.findings if finding.action is Action.CORRECTED}
    return _rate_of(trace.looks[0].screening.p_values, corrected)


def _rate_of(p_values: Mapping[str, float], corrected: Collection[What]) -> float:
    """The least rate at which :func:`i2r.screening.p_values.discoveries` holds what was corrected."""
    ordered = sorted(p_values, key=lambda name: p_values[name])
    first = (index for index, name in enumerate(ordered) if STATISTICS[name].what in corrected)
    return min(rates([*p_values.values()])[next(first, 0) :])


def _loosest(prior: Prior) -> Restorer:
    """A restorer that corrects whatever it suspects."""
    loosest, calibration = copy.copy(prior), prior.calibration
    gray = replace(calibration.gray, alarms=(NEVER,)) if calibration.gray else None
    loosest.calibration = replace(calibration, alarms=(NEVER,), gray=gray)
    return Restorer(loosest, RestoreSettings(max_harm=0.5))


def in_gray(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture (H, W, C) in [0, 1] in gray (H, W, 1), as an 8-bit file would hold it."""
    levels = np.rint(255 * picture.mean(axis=-1, keepdims=True))
    return (levels / 255).astype(np.float32)
