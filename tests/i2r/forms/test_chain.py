"""Forms in the order in which they happened."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2r.forms import Chain, Downsampling, GaussianBlur, Jpeg, Mask, MotionBlur, Noise, SmallKernel
from i2r.jpeg_tables import JpegTables
from i2r.screening.calibration import Calibration


def _random(seed: int) -> Tensor:
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def test_forms_happen_in_their_order() -> None:
    blur, less, jpeg = GaussianBlur(1.0), Downsampling(2), Jpeg(JpegTables.standard(30))
    chain = Chain((blur, less), (Noise(0.1), jpeg))
    x = _random(0)
    torch.testing.assert_close(chain.forward(x), jpeg.forward(less.forward(blur.forward(x))))
    assert list(chain.parameters()) == ["gaussian_blur", "downsampling", "noise", "jpeg"]
    assert 0.1 < chain.noise < 0.11


@pytest.mark.parametrize("operators", [(GaussianBlur(0.8),), (GaussianBlur(0.8), MotionBlur(3.0, 0.4))])
def test_the_solution_minimises_both_errors(operators: tuple[GaussianBlur, ...]) -> None:
    chain = Chain(operators, (Noise(0.1),))
    y, estimate, level = _random(0), _random(1), 0.15
    x = chain.solve(y, estimate, level).requires_grad_()
    objective = (chain.forward(x) - y).square().sum() / 0.1**2 + (x - estimate).square().sum() / level**2
    objective.backward()
    assert x.grad is not None
    start = estimate.clone().requires_grad_()
    (
        (chain.forward(start) - y).square().sum() / 0.1**2 + (start - estimate).square().sum() / level**2
    ).backward()
    assert start.grad is not None
    assert x.grad.norm() < 1e-3 * start.grad.norm()


def test_lost_pixels_do_not_count() -> None:
    """Whatever they hold, the solution is the same."""
    missing = torch.rand(32, 48, generator=torch.Generator().manual_seed(2)) < 0.3
    y, estimate = _random(0), _random(1)
    for operators in ((), (GaussianBlur(0.8),)):
        chain = Chain(operators, (Mask(missing),))
        solved = chain.solve(y, estimate, 0.1)
        assert torch.equal(solved, chain.solve(torch.where(missing, 5.0, y), estimate, 0.1))


def test_noise_is_carried_and_not_pulled_at() -> None:
    y, estimate = _random(0), _random(1)
    assert torch.equal(Chain((), (Noise(0.1),)).solve(y, estimate, 0.2), estimate)
    assert Chain((), (Noise(0.1),)).leaves_noise
    assert Chain((), (Mask(torch.ones(2, 2, dtype=torch.bool)), Noise(0.1))).leaves_noise
    assert not Chain((GaussianBlur(1.0),), ()).leaves_noise


def test_known_forms_are_taken_and_not_read_off(calibration: Calibration) -> None:
    """No tables could be read off noise."""
    known = Jpeg(JpegTables.standard(30))
    chain = Chain.start(("noise", "jpeg"), _random(0), calibration, [known])
    assert chain.records[1] is known
    assert chain.records[0].parameters()["level"] > 0.1


def test_noise_is_allowed_for_when_a_blur_is_read_off(calibration: Calibration) -> None:
    y = GaussianBlur(2.0).forward(_random(0)) + 0.05 * _random(1)
    alone = Chain.start(("gaussian_blur",), y, calibration)
    noisy = Chain.start(("gaussian_blur", "noise"), y, calibration)
    assert alone.parameters()["gaussian_blur"] != noisy.parameters()["gaussian_blur"]


def test_an_order_that_cannot_be_undone_is_refused(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="cannot be undone"):
        Chain.start(("jpeg", "gaussian_blur"), _random(0), calibration)


def test_only_a_lone_operator_is_fitted(calibration: Calibration) -> None:
    kernel, noise = SmallKernel.start(_random(0).float(), calibration), Noise(0.1)
    alone, together = Chain((kernel,), (noise,)), Chain((kernel, Downsampling(2)), (noise,))
    x = _random(0).float()
    y = GaussianBlur(2.0).forward(x)
    fitted = alone.fit(x, y, 0.01)
    assert fitted.parameters()["small_kernel"] != alone.parameters()["small_kernel"]
    assert fitted.records == (noise,)
    assert together.fit(x, y, 0.01) is together
