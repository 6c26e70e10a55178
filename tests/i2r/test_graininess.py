"""Noise in a part of a picture is told from texture, where it is."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.calibration_file import Spread
from i2r.graininess import PATCH, STEP, graininess, noise_mask, patchiness, starts

CLEAN = Spread(-1.1, 0.2, 0.07)


def _white(seed: int = 0, channels: int = 3) -> Tensor:
    return torch.randn(channels, 128, 160, generator=torch.Generator().manual_seed(seed))


def _texture() -> Tensor:
    """As strong as white noise, and smoother."""
    white = torch.randn(3, 132, 164, generator=torch.Generator().manual_seed(7))
    smooth = torch.nn.functional.avg_pool2d(white[None], 5, stride=1)[0]
    return smooth / smooth.std()


def _everywhere(eps: Tensor) -> Tensor:
    return torch.ones(eps.shape[1:], dtype=torch.bool)


@given(st.integers(PATCH, 1000))
def test_patches_reach_from_end_to_end(length: int) -> None:
    begins = starts(length)
    assert begins[0] == 0
    assert begins[-1] == length - PATCH
    assert all(0 < after - before <= STEP for before, after in itertools.pairwise(begins))


@pytest.mark.parametrize("channels", [1, 3])
def test_white_noise_is_grainy_and_texture_is_not(channels: int) -> None:
    grain = graininess(_white(channels=channels))
    assert grain.shape == (7, 9)
    assert -0.25 < grain.min() <= grain.max() < 0.1
    assert graininess(_texture()).max() < -1
    assert patchiness(0.5 * _white()) == pytest.approx(patchiness(_white()) - 0.693, abs=1e-3)


@pytest.mark.parametrize("side", [PATCH, PATCH + 1, 40])
def test_small_images_hold_a_patch(side: int) -> None:
    eps = _white()[:, :PATCH, :side]
    assert patchiness(eps) == pytest.approx(0, abs=0.2)
    assert noise_mask(eps, _everywhere(eps), CLEAN).float().mean() > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_found_where_it_is(seed: int) -> None:
    eps = 0.3 * _texture()
    noisy = torch.zeros(eps.shape[1:], dtype=torch.bool)
    noisy[30:101, 50:120] = True
    eps = torch.where(noisy, _white(seed), eps)
    mask = noise_mask(eps, _everywhere(eps), CLEAN)
    assert (mask & noisy).sum() > 0.9 * noisy.sum()
    assert (mask & ~noisy).sum() < 0.15 * noisy.sum()


def test_nothing_is_found_where_there_is_none_or_nobody_looks() -> None:
    assert not noise_mask(_texture(), _everywhere(_texture()), CLEAN).any()
    assert not noise_mask(_white(), torch.zeros_like(_everywhere(_white())), CLEAN).any()


def test_what_adjoins_the_noise_of_a_region_is_found_with_it() -> None:
    eps = torch.cat([_white()[:, :, :80], 0.3 * _texture()[:, :, 80:]], dim=2)
    left = _everywhere(eps)
    left[:, 48:] = False
    mask = noise_mask(eps, left, CLEAN)
    assert mask[:, :72].float().mean() > 0.95
    assert mask[:, 92:].float().mean() < 0.05
