"""Noise and missing pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.forms import Mask, Noise
from i2r.screening.calibration import Calibration


@pytest.mark.parametrize("level", [0.02, 0.2, 0.6])
def test_the_level_of_noise_is_found(waves: Tensor, calibration: Calibration, level: float) -> None:
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    assert Noise.start(waves + level * noise, calibration).level == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2)])
def test_no_size_is_too_small(calibration: Calibration, shape: tuple[int, int]) -> None:
    assert Noise.start(torch.zeros(3, *shape), calibration).level == 0


@given(seed=st.integers(0, 100))
def test_known_pixels_are_kept(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y, expected = torch.rand(2, 3, 6, 6, generator=generator)
    mask = Mask(torch.rand(6, 6, generator=generator) < 0.5)
    revealed = mask.reveal(y, expected)
    assert torch.equal(revealed[:, mask.missing], expected[:, mask.missing])
    assert torch.equal(revealed[:, ~mask.missing], y[:, ~mask.missing])
