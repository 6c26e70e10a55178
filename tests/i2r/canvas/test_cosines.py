"""Waves hold all of an image: the same as a Fourier transform of the mirrored image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from i2r.canvas.cosines import COSINES, Kind, analyse, frequencies, synthesise

SHAPES = [(8, 6), (5, 7), (1, 20), (33, 1)]
KINDS: list[Kind] = [(False, False), (True, False), (False, True), (True, True)]


def _image(shape: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.rand(3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _waves(length: int, sines: bool) -> Tensor:
    """The orthonormal waves, (length, length), one a row."""
    wave, place = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(length) + 0.5
    turn = math.pi * wave * place / length
    waves = (turn.sin() if sines else turn.cos()) * math.sqrt(2 / length)
    waves[0] /= math.sqrt(2)
    return waves


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_waves_are_what_they_are_called(shape: tuple[int, int], kind: Kind) -> None:
    x = _image(shape)
    down, across = (_waves(side, sines) for side, sines in zip(shape, kind, strict=True))
    torch.testing.assert_close(analyse(x, kind), down @ x @ across.T)
    torch.testing.assert_close(synthesise(x, kind), down.T @ x @ across)


@pytest.mark.parametrize("shape", SHAPES)
def test_cosines_give_the_image_back(shape: tuple[int, int]) -> None:
    x = _image(shape)
    torch.testing.assert_close(synthesise(analyse(x)), x)
    torch.testing.assert_close(analyse(x).square().sum(), x.square().sum())


@pytest.mark.parametrize("shape", [(5, 7), (8, 6)])
def test_the_mirrored_image_has_these_frequencies(shape: tuple[int, int]) -> None:
    height, width = shape
    x = _image(shape)
    wide = torch.cat([x, x.flip(-1)], dim=-1)
    spectrum = torch.fft.rfft2(torch.cat([wide, wide.flip(-2)], dim=-2)).abs()[:, :height, :width]
    within = spectrum[:, 1:, 1:] / (2 * math.sqrt(height * width))
    torch.testing.assert_close(analyse(x, COSINES)[:, 1:, 1:].abs(), within)
    down, across = frequencies(x)
    torch.testing.assert_close(down[:, 0], torch.fft.fftfreq(2 * height).double()[:height])
    torch.testing.assert_close(across[0], torch.fft.rfftfreq(2 * width).double()[:width])
