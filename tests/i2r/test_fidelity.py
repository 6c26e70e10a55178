"""The consistency score forgives missing detail and damage, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2r.fidelity import consistency_psnr
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage, gaussian_blur, gaussian_noise, jpeg


def _scene(height: int = 96, width: int = 120) -> FloatImage:
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(rows / 9 + k) * np.cos(columns / 13) / 3 + 0.5 for k in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)


def test_equal_images_agree() -> None:
    assert consistency_psnr(_scene(), _scene()) == math.inf


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.5))
def test_a_shift_of_brightness_counts_in_full_on_any_size(height: int, width: int, shift: float) -> None:
    image = np.full((height, width, 3), 0.25, np.float32)
    assert consistency_psnr(image + np.float32(shift), image) == pytest.approx(
        -20 * math.log10(shift), abs=0.01
    )


@pytest.mark.parametrize(
    "degraded",
    [
        gaussian_noise(_scene(), np.random.default_rng(0), sigma=50 / 255),
        jpeg(_scene(), quality=10),
        gaussian_blur(_scene(), sigma=1.5),
    ],
    ids=["noise", "jpeg", "blur"],
)
def test_lost_detail_is_forgiven(degraded: FloatImage) -> None:
    assert consistency_psnr(_scene(), degraded) > 30
    assert consistency_psnr(_scene(), degraded) > psnr(_scene(), degraded)


def test_invented_content_is_not() -> None:
    invented = _scene()
    invented[20:60, 30:80] = 1 - invented[20:60, 30:80]
    assert consistency_psnr(invented, _scene()) < 24


def test_what_was_filled_is_not_held_against_the_result() -> None:
    damaged, hit = _scene(), np.random.default_rng(0).random((96, 120)) < 0.1
    damaged[hit] = 1.0
    assert consistency_psnr(_scene(), damaged) < 30
    assert consistency_psnr(_scene(), damaged, hit) == math.inf
    assert consistency_psnr(_scene(), damaged, np.ones_like(hit)) == math.inf
