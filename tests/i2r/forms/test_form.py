"""What every form promises: shapes, adjoints, gradients, plain parameters."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from i2r.forms import (
    FORMS,
    Downsampling,
    Form,
    GaussianBlur,
    Jpeg,
    Mask,
    MotionBlur,
    Noise,
    Operator,
    SmallKernel,
)
from i2r.forms.form import conjugate_gradients
from i2r.jpeg_tables import JpegTables

SHAPES = [(24, 40), (33, 17), (16, 16)]


def random_image(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator, dtype=torch.float64) * 1.6 - 0.8


def _kernel() -> Tensor:
    kernel = torch.rand(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kernel = torch.cat([kernel, torch.zeros(2, 5)])
    return kernel / kernel.sum()


OPERATORS: Sequence[Operator] = [
    GaussianBlur(1.3),
    GaussianBlur(0.0),
    MotionBlur(7.0, 0.6),
    MotionBlur(5.0, 2.5),
    SmallKernel(_kernel()),
    Downsampling(2),
    Downsampling(4),
]
RECORDS: Sequence[Form] = [
    Noise(0.1),
    Mask(torch.arange(24 * 40).view(24, 40) % 3 == 0),
    Jpeg(JpegTables.standard(30)),
    Jpeg(JpegTables.standard(80, (1, 2))),
]


def test_every_form_is_tested_here() -> None:
    assert {type(form) for form in (*OPERATORS, *RECORDS)} == set(FORMS.values())
    assert all(FORMS[form.name] is type(form) for form in (*OPERATORS, *RECORDS))


@pytest.mark.parametrize("form", [*OPERATORS, *RECORDS], ids=repr)
def test_shape_type_and_flat_images_are_kept(form: Form) -> None:
    flat = torch.full((3, 24, 40), 8 / 255, dtype=torch.float64)
    degraded = form.forward(flat)
    assert degraded.shape == flat.shape
    assert degraded.dtype == flat.dtype
    if not isinstance(form, Mask | Jpeg):
        torch.testing.assert_close(degraded, flat)


@pytest.mark.parametrize("form", [*OPERATORS, *RECORDS], ids=repr)
def test_parameters_are_plain_json(form: Form) -> None:
    assert json.loads(json.dumps(dict(form.parameters()), allow_nan=False)) == form.parameters()
    assert form.parameters()


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@settings(max_examples=6, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 1000))
def test_inner_products_agree_with_the_adjoint(operator: Operator, shape: tuple[int, int], seed: int) -> None:
    x, y = random_image(seed, *shape), random_image(seed + 1, *shape)
    torch.testing.assert_close((operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum())


@pytest.mark.parametrize("form", [*OPERATORS, *RECORDS], ids=repr)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gradients_agree_with_finite_differences(form: Form, seed: int) -> None:
    x, towards = random_image(seed, 24, 40), random_image(seed + 1, 24, 40)
    direction = random_image(seed + 2, 24, 40)
    gradient = torch.func.grad(lambda image: (form.forward(image) * towards).sum())(x)
    step = 1e-7
    ends = [(form.forward(x + sign * step * direction) * towards).sum() for sign in (1, -1)]
    torch.testing.assert_close(
        (gradient * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (GaussianBlur(torch.tensor(1.3, dtype=torch.float64)), "width"),
        (MotionBlur(torch.tensor(7.0, dtype=torch.float64), 0.6), "length"),
        (MotionBlur(7.0, torch.tensor(0.6, dtype=torch.float64)), "angle"),
        (SmallKernel(_kernel()), "kernel"),
    ],
)
def test_parameters_have_gradients(form: Form, field: str) -> None:
    x, towards = random_image(0, 24, 40), random_image(1, 24, 40)
    value: Tensor = getattr(form, field)
    direction = torch.ones_like(value)

    def loss(parameter: Tensor) -> Tensor:
        changed: Form = dataclasses.replace(form, **{field: parameter})  # type: ignore[type-var]
        return (changed.forward(x) * towards).sum()

    step = 1e-6
    slope = (loss(value + step * direction) - loss(value - step * direction)) / (2 * step)
    torch.testing.assert_close((torch.func.grad(loss)(value) * direction).sum(), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_the_data_step_minimises_its_objective(operator: Operator, weight: float) -> None:
    y, estimate = random_image(0, 24, 40), random_image(1, 24, 40)
    x = operator.solve(y, estimate, weight)
    gradient = operator.adjoint(operator.forward(x) - y) + weight * (x - estimate)
    assert gradient.abs().max() < 2e-3


def test_conjugate_gradients_end_after_as_many_steps_as_there_are_unknowns() -> None:
    matrix = random_image(0, 5, 5)[0]
    matrix = matrix @ matrix.T + torch.eye(5)
    b = torch.arange(5, dtype=torch.float64)
    torch.testing.assert_close(matrix @ conjugate_gradients(lambda x: matrix @ x, b.clone(), 5), b)
    again = conjugate_gradients(lambda x: matrix @ x, b.clone(), 50)
    assert again.isfinite().all()
    assert torch.equal(conjugate_gradients(lambda x: matrix @ x, 0 * b, 3), 0 * b)


def test_motion_is_told_in_degrees() -> None:
    assert MotionBlur(9.0, math.pi / 4).parameters() == {"length": 9.0, "angle": 45.0}
