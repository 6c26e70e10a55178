"""Forms in the order in which they happened to an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from torch import Tensor

from i2r.form_names import parse_forms
from i2r.forms.convolution import GaussianBlur, MotionBlur
from i2r.forms.form import Form, Operator, Record, conjugate_gradients
from i2r.forms.jpeg import Jpeg
from i2r.forms.resolution import Downsampling
from i2r.forms.small_kernel import SmallKernel
from i2r.forms.values import Mask, Noise
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import ROUNDING

FORMS: Mapping[str, type[Form]] = MappingProxyType(
    {form.name: form for form in (GaussianBlur, MotionBlur, SmallKernel, Downsampling, Noise, Mask, Jpeg)}
)
"""By the name in settings."""

_ITERATIONS = 12


@dataclass(frozen=True)
class Chain:
    """Linear operators, then records, as they happened to an image.

    Attributes:
        operators: first to last.
        records: first to last, after every operator.
    """

    operators: tuple[Operator, ...]
    records: tuple[Record, ...]

    @classmethod
    def start(
        cls, names: Sequence[str], y: Tensor, calibration: Calibration, known: Sequence[Form] = ()
    ) -> Self:
        """First parameters of every form, each read off the degraded image; ``known`` ones are taken.

        Raises:
            FormError: the image does not show a form.
            ValueError: the names are no order that can be undone.
        """
        forms = {form.name: form for form in known}
        noise = ROUNDING
        # Last to first: noise hides what came before it.
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
        """Whether the degraded image, what it lost filled, is the clean one plus something like noise."""
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
        """What the degraded image shows as well, of a lone operator: several keep what they have."""
        if len(self.operators) != 1:
            return []
        return [type(self)((operator,), self.records) for operator in self.operators[0].others()]

    def fit(self, x: Tensor, y: Tensor, level: float) -> Self:
        """Fit the parameters of a lone operator to a clean estimate, made at a noise level.

        Several keep those that they started with: one would take the other's part.
        """
        if len(self.operators) != 1:
            return self
        return type(self)((self.operators[0].fit(x, y, level),), self.records)

    def solve(self, y: Tensor, estimate: Tensor, level: float) -> Tensor:
        """The image that explains ``y`` and is as near to ``estimate`` as an error of ``level`` has it.

        The records are undone first, each as far as what is expected leaves open, last to first. Then
        ``|H x - y|^2 / noise^2 + |x - estimate|^2 / level^2`` is minimised over the operators ``H``.

        What comes back may be overwritten; where nothing says more than ``estimate``, it is that.
        """
        expected = self._operate(estimate)
        for record in reversed(self.records):
            y = record.reveal(y, expected)
        if not self.operators:
            # The noise travels with the image, which is where it is weighed against what is expected.
            return estimate if self.noisy else y
        weight = (self.noise / level) ** 2
        if len(self.operators) == 1:
            return self.operators[0].solve(y, estimate, weight)
        step = conjugate_gradients(
            lambda x: self._adjoint(self._operate(x)).add_(x, alpha=weight),
            self._adjoint(y - expected),
            _ITERATIONS,
        )
        return step.add_(estimate)

    def parameters(self) -> dict[str, Any]:
        """The parameters of every form by its name, as plain JSON, in the order in which they happened."""
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
