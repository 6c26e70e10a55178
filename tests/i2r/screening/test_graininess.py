"""Noise in a part of a picture is distinguished from texture, and located."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2r.screening.calibration import Spread
from i2r.screening.graininess import (
    _WHITE,
    GRAIN,
    _differences,
    graininess,
    noise_mask,
    patchiness,
    starts,
)

CLEAN, CLEAN_GRAY = Spread(-1.1, 0.2, 0.07), Spread(-4.5, 0.4, 0.15)
IN_COLOUR = torch.zeros(3, 128, 160)


def _white(seed: int = 0, channels: int = 3) -> Tensor:
    return torch.randn(channels, 128, 160, generator=torch.Generator().manual_seed(seed))


def _texture() -> Tensor:
    """As strong as white noise, and smoother."""
    white = torch.randn(3, 132, 164, generator=torch.Generator().manual_seed(7))
    smooth = torch.nn.functional.avg_pool2d(white[None], 5, stride=1)[0]
    return smooth / smooth.std()


def _everywhere(eps: Tensor) -> Tensor:
    return torch.ones(eps.shape[1:], dtype=torch.bool)


def _grain(image: Tensor, eps: Tensor) -> Tensor:
    return graininess(image[None], eps[None])[0]


def _patchiness(image: Tensor, eps: Tensor) -> float:
    return patchiness(image[None], eps[None]).item()


@given(st.integers(GRAIN.patch, 1000))
def test_patches_reach_from_end_to_end(length: int) -> None:
    begins = starts(length).tolist()
    assert begins[0] == 0
    assert begins[-1] == length - GRAIN.patch
    assert all(0 < after - before <= GRAIN.step for before, after in itertools.pairwise(begins))


def test_white_noise_is_grainy_and_texture_is_not() -> None:
    grain = _grain(IN_COLOUR, _white())
    assert grain.shape == (7, 9)
    assert -0.25 < grain.min() <= grain.max() < 0.1
    assert _grain(IN_COLOUR, _texture()).max() < -1
    half, whole = (_patchiness(IN_COLOUR, scale * _white()) for scale in (0.5, 1))
    assert half == pytest.approx(whole - 0.693, abs=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_patches_that_are_looked_at_together_are_told_apart(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = torch.stack([0.1 * _white(seed, channels) for seed in range(3)])
    each = torch.stack([_grain(image, image) for image in several])
    torch.testing.assert_close(graininess(several, several), each)
    monkeypatch.setattr("i2r.screening.graininess.GRAIN", replace(GRAIN, values_at_once=1))
    torch.testing.assert_close(graininess(several, several), each)


def test_in_gray_the_image_is_looked_at() -> None:
    noisy, texture = 0.1 * _white(channels=1), 0.3 * _texture()[:1]
    grain = _grain(noisy, torch.zeros_like(noisy))
    assert grain.shape == (7, 9)
    assert torch.equal(grain, _grain(noisy, _white(channels=1)))
    assert grain.min() > _grain(texture, torch.zeros_like(noisy)).max() + 1
    torch.testing.assert_close(_grain(noisy + 0.2, noisy), grain, rtol=0, atol=1e-3)
    faint = _grain(0.02 * _white(channels=1), noisy)
    assert faint.mean().item() == pytest.approx(grain.mean().item() + math.log(0.02 / 0.1), abs=0.15)


def test_the_differences_of_white_noise_are_correlated_as_is_said() -> None:
    differences = _differences(torch.randn(1, 1, 600, 600, generator=torch.Generator().manual_seed(0)))[0]
    assert differences.std().item() == pytest.approx(1, rel=0.02)
    for (down, across), wanted in _WHITE.items():
        moved = torch.roll(differences, (-down, -across), (1, 2))
        assert (moved * differences).mean().item() == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("side", [GRAIN.patch, GRAIN.patch + 1, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_hold_a_patch(side: int, channels: int) -> None:
    image = (0.1 * _white(channels=channels))[:, : GRAIN.patch, :side]
    clean = CLEAN if channels == 3 else CLEAN_GRAY
    assert _patchiness(image, 10 * image) > clean.exceeded_by(1e-3)
    assert noise_mask(image, 10 * image, _everywhere(image), clean).float().mean() > 0.9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_found_where_it_is(seed: int, channels: int) -> None:
    texture = 0.3 * _texture()[:channels]
    noisy = torch.zeros(texture.shape[1:], dtype=torch.bool)
    noisy[30:101, 50:120] = True
    eps = torch.where(noisy, _white(seed, channels), texture)
    clean = CLEAN if channels == 3 else CLEAN_GRAY
    mask = noise_mask(0.1 * eps, eps, _everywhere(eps), clean)
    assert (mask & noisy).sum() > 0.9 * noisy.sum()
    assert (mask & ~noisy).sum() < 0.15 * noisy.sum()


def test_nothing_is_found_where_there_is_none_or_nobody_looks() -> None:
    white, texture = _white(), _texture()
    assert not noise_mask(texture, texture, _everywhere(texture), CLEAN).any()
    assert not noise_mask(white, white, torch.zeros_like(_everywhere(white)), CLEAN).any()


def test_what_adjoins_the_noise_of_a_region_is_found_with_it() -> None:
    eps = torch.cat([_white()[:, :, :80], 0.3 * _texture()[:, :, 80:]], dim=2)
    left = _everywhere(eps)
    left[:, 48:] = False
    mask = noise_mask(eps, eps, left, CLEAN)
    assert mask[:, :72].float().mean() > 0.95
    assert mask[:, 92:].float().mean() < 0.05
