"""The result for one image: how its restoration ended, with the measurements made on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2r.findings import BOXES, Finding


class Outcome(StrEnum):
    """How the restoration of an image ended."""

    RESTORED = "restored"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True)
class Restoration:
    """Result for one image, with the measurements made on the way.

    Attributes:
        outcome: how the restoration ended.
        image: (H, W, C) float32 in [0, 1]; the input itself unless ``outcome`` is ``RESTORED``.
        findings: what was found in the input, and what came of it; see :mod:`i2r.verdict`.
        nfe: how often noise was asked of the network: of the whole image, or of the parts of it that matter.
        inversion_psnr: PSNR in dB between the input and the image that DDIM regenerates from its inverted
            noise; NaN if nothing was inverted.
        rectified_fraction: share of the pixels that were changed.
        typicality_before, typicality_after: see :func:`i2r.screening.p_values.typicality`.
        consistency_psnr: PSNR in dB between result and input at coarse scale; see
            :func:`i2r.fidelity.consistency_psnr`. For ``REJECTED``, that of the rejected result.
        doubt: how much the correction looks like one of content instead of damage: above 1 like hardly any
            right one; see :class:`i2r.structure.StructureChange`. Zero where forms are specified. For
            ``REJECTED``, that of the rejected result.
        message: reason for ``REJECTED`` and ``FAILED``, and for ``UNCHANGED`` if the image is a drawing or
            does not show the specified form.
    """

    outcome: Outcome
    image: NDArray[np.float32]
    findings: tuple[Finding, ...] = ()
    nfe: int = 0
    inversion_psnr: float = math.nan
    rectified_fraction: float = 0.0
    typicality_before: float = math.nan
    typicality_after: float = math.nan
    consistency_psnr: float = math.inf
    doubt: float = 0.0
    message: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Estimated parameters of the degradation by form, of all findings."""
        estimated = (found.parameters.items() for found in self.findings)
        return {form: values for of_one in estimated for form, values in of_one if form != BOXES}
