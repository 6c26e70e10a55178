"""Low resolution: as Pillow makes it, and how its factor is found."""

from __future__ import annotations

import pytest
import torch
from textures import as_file, texture

from i2r.errors import FormError
from i2r.forms import Downsampling
from i2r.screening.calibration import Calibration
from i2r.training.degradation import gaussian_blur, low_resolution


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("shape", [(96, 96), (97, 70)])
def test_reduction_and_enlargement_are_pillows(factor: int, shape: tuple[int, int]) -> None:
    image = 0.5 + 0.5 * (texture(0)[: shape[0], : shape[1]] - 0.5)
    x = torch.from_numpy(image * 2 - 1).permute(2, 0, 1)
    theirs = torch.from_numpy(low_resolution(image, factor=factor) * 2 - 1).permute(2, 0, 1)
    torch.testing.assert_close(Downsampling(factor).forward(x), theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_factor_is_found(calibration: Calibration, factor: int, seed: int) -> None:
    y = as_file(low_resolution(texture(seed), factor=factor))
    assert Downsampling.start(y, calibration).factor == factor


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_low_resolution_is_seen(factor: int) -> None:
    assert Downsampling.seen_in(as_file(low_resolution(texture(2), factor=factor))) == Downsampling(factor)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 1.5, 3.0])
def test_a_blur_is_not_taken_for_low_resolution(sigma: float) -> None:
    assert Downsampling.seen_in(as_file(gaussian_blur(texture(2), sigma=sigma))) is None


def test_small_images_tell_no_resolution(calibration: Calibration) -> None:
    with pytest.raises(FormError, match="3x7 is too small"):
        Downsampling.start(torch.zeros(3, 7, 3), calibration)
