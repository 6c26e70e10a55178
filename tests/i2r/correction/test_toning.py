"""Photographs of one picture through curves, and those that are more than that."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from textures import texture
from torch import Tensor

from i2r.correction.toning import find_toning

TONES = ((0.9, 0.08), (0.8, 0.0), (0.6, -0.1))
"""Slope and offset of each channel of a sepia print."""


def _picture(seed: int) -> Tensor:
    return torch.from_numpy(texture(seed, 48)[..., 0])[None] * 1.6 - 0.8


def _toned(picture: Tensor) -> Tensor:
    """Through curves that bend."""
    return torch.cat([slope * picture + 0.1 * picture**2 + offset for slope, offset in TONES])


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_change_of_the_picture_is_toned_as_the_picture_was(seed: int, other: int) -> None:
    image, changed = _toned(_picture(seed)), _toned(0.9 * _picture(seed) + 0.1 * _picture(other))
    toning = find_toning(image)
    assert toning is not None
    luma = torch.einsum("c,chw->hw", torch.tensor((0.299, 0.587, 0.114)), changed)[None]
    assert (toning.apply(luma) - changed).abs().max() < 0.01


@given(st.integers(0, 10**6))
def test_a_picture_that_did_not_change_leaves_the_image_as_it_is(seed: int) -> None:
    stained = _toned(_picture(seed))
    stained[2, 10:20, 10:20] -= 0.05
    toning = find_toning(stained)
    assert toning is not None
    assert torch.equal(toning.apply(toning.luma), stained)


@given(st.integers(0, 10**6))
def test_colours_are_more_than_toning(seed: int) -> None:
    image = torch.from_numpy(texture(seed, 48)).permute(2, 0, 1) * 2 - 1
    assert find_toning(image) is None
    faint = _toned(0.05 * _picture(seed)) + 0.02 * image
    assert find_toning(faint) is None


def test_noise_of_its_own_in_each_channel_is_more_than_toning() -> None:
    image = _toned(_picture(0))
    assert find_toning(image + 0.1 * torch.randn(image.shape, generator=torch.manual_seed(0))) is None


def test_an_image_of_one_value_or_one_pixel_has_an_answer() -> None:
    for image in (torch.full((3, 8, 8), 0.3), torch.tensor([0.1, -0.2, 0.9])[:, None, None]):
        toning = find_toning(image)
        if toning is not None:
            assert torch.equal(toning.apply(toning.luma), image)


def test_a_large_image_is_taken_apart_as_its_parts_are() -> None:
    image = _toned(_picture(0)).tile(1, 40, 40)
    whole, part = find_toning(image), find_toning(image[:, :48, :48])
    assert whole is not None
    assert part is not None
    assert (whole.curves - part.curves).abs().max() < 0.02
    assert whole.luma.shape == (1, 1920, 1920)
