"""Several forms of degradation, in the order in which they happened to an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from torch import Tensor

from i2r.form_names import parse_forms
from i2r.forms.convolution import GaussianBlur, MotionBlur
from i2r.forms.form import Form, Operator, Record, regularised
from i2r.forms.jpeg import Jpeg
from i2r.forms.resolution import Downsampling
from i2r.forms.small_kernel import SmallKernel
from i2r.forms.values import Mask, Noise
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING

FORMS: Mapping[str, type[Form]] = MappingProxyType(
    {form.name: form for form in (GaussianBlur, MotionBlur, SmallKernel, Downsampling, Noise, Mask, Jpeg)}
)
"""Every form by its name in settings."""


@dataclass(frozen=True)
class Chain:
    """Linear operators followed by records, in the order in which they happened.

    Attributes:
        operators: first to last.
        records: first to last, after all operators.
    """

    operators: tuple[Operator, ...]
    records: tuple[Record, ...]

    @classmethod
    def start(
        cls, names: Sequence[str], y: Tensor, calibration: Calibration, known: Sequence[Form] = ()
    ) -> Self:
        """Estimate initial parameters of every form from the degraded image, except for ``known`` forms.

        Raises:
            FormError: the image does not show a form.
            ValueError: a name is unknown or repeated, or an operator follows a record.
        """
        forms = {form.name: form for form in known}
        noise = ROUNDING
        # Last to first: the noise level must be known to estimate the forms before it.
        for name in reversed(names := parse_forms(names)):
            form = forms.get(name) or FORMS[name].start(y, calibration, noise)
            noise = max(noise, form.level) if isinstance(form, Noise) else noise
            forms[name] = form
        ordered = [forms[name] for name in names]
        return cls(
            tuple(form for form in ordered if isinstance(form, Operator)),
            tuple(form for form in ordered if isinstance(form, Record)),
        )

    @property
    def leaves_noise(self) -> bool:
        """Whether the degraded image, with missing pixels filled, is the clean one plus noise-like error."""
        return not self.operators

    @property
    def noise(self) -> float:
        """Standard deviation of the error in the degraded image, once the records are undone."""
        unsure = (operator.error for operator in self.operators)
        return math.hypot(ROUNDING, *(record.noise for record in self.records), *unsure)

    def forward(self, x: Tensor) -> Tensor:
        for form in (*self.operators, *self.records):
            x = form.forward(x)
        return x

    def others(self) -> list[Self]:
        """Return chains that explain the degraded image equally well; empty for more than one operator."""
        if len(self.operators) != 1:
            return []
        return [type(self)((operator,), self.records) for operator in self.operators[0].others()]

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Fit the parameters of a single operator to the clean estimate ``x``, made at a noise level.

        Several operators keep their initial parameters: in a joint fit one would compensate for the other.
        """
        if len(self.operators) != 1:
            return self
        return type(self)((self.operators[0].fit(x, y, level),), self.records)

    def solve(self, y: Tensor, estimate: Tensor, level: float) -> Tensor:
        """Compute the image that explains ``y`` and stays near ``estimate``, whose error is ``level``.

        First undoes the records, last to first, guided by the degraded estimate. Then minimises
        ``|H x - y|^2 / noise^2 + |x - estimate|^2 / level^2`` over ``x``, with ``H`` all operators.

        The caller may overwrite the result, which may be ``estimate`` itself.
        """
        expected = self._operate(estimate)
        for record in reversed(self.records):
            y = record.reveal(y, expected)
        if not self.operators:
            # The caller carries the noise down with the image, and so weighs ``y`` against the estimate.
            return estimate if self.noisy else y
        weight = (self.noise / level) ** 2
        if len(self.operators) == 1:
            return self.operators[0].solve(y, estimate, weight)
        return regularised(self._operate, self._adjoint, self._adjoint(y - expected), estimate, weight)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by form as plain JSON, in the order in which the forms happened."""
        return {form.name: dict(form.parameters()) for form in (*self.operators, *self.records)}

    @property
    def noisy(self) -> bool:
        return any(isinstance(record, Noise) for record in self.records)

    def _operate(self, x: Tensor) -> Tensor:
        for operator in self.operators:
            x = operator.forward(x)
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        for operator in reversed(self.operators):
            y = operator.adjoint(y)
        return y
