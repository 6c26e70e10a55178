"""The width of a blur is read off the spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from textures import as_file, texture

from i2r.screening.calibration import BANDS
from i2r.screening.spectrum import TransferFit, blur_width, log_band_power
from i2r.training.degradation import gaussian_blur


@pytest.mark.parametrize("width", [1.0, 1.5, 2.0, 2.5])
def test_width_of_a_blur_is_found(clean_spectrum: list[float], width: float) -> None:
    for seed in (100, 101, 102):
        blurred = as_file(gaussian_blur(texture(seed), sigma=width))
        assert blur_width(blurred, clean_spectrum) == pytest.approx(width, rel=0.25)


def test_sharp_images_have_no_width(clean_spectrum: list[float]) -> None:
    for seed in (100, 101, 102):
        assert blur_width(as_file(texture(seed)), clean_spectrum) < 0.35
    sharp = as_file(texture(7))
    assert blur_width(sharp, log_band_power(sharp).tolist()) == pytest.approx(0, abs=1e-3)


def test_contrast_is_no_blur(clean_spectrum: list[float]) -> None:
    for seed in (100, 101):
        pale = as_file(0.5 + 0.4 * (texture(seed) - 0.5))
        assert blur_width(pale, clean_spectrum) < 0.45


@pytest.mark.parametrize("shape", [(32, 32), (33, 200)])
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_flat_images_have_a_finite_width(
    clean_spectrum: list[float], shape: tuple[int, int], level: float
) -> None:
    assert math.isfinite(blur_width(torch.full((3, *shape), level), clean_spectrum))


@given(seed=st.integers(0, 100))
def test_white_noise_has_a_flat_spectrum_of_its_variance(seed: int) -> None:
    noise = 0.3 * torch.randn(3, 96, 128, generator=torch.Generator().manual_seed(seed))
    powers = log_band_power(noise)
    assert powers.shape == (BANDS,)
    torch.testing.assert_close(powers[2:], torch.full((BANDS - 2,), 2 * math.log(0.3)), atol=0.25, rtol=0)


@given(width=st.floats(0.5, 2), noise=st.floats(0.02, 0.06))
@settings(max_examples=8, deadline=None)
def test_noise_is_no_sharpness(clean_spectrum: list[float], width: float, noise: float) -> None:
    """Told of the noise, the width is found beneath it; untold, noise hides most of the blur."""
    blurred = as_file(gaussian_blur(texture(100), sigma=width + 0.5))
    noisy = blurred + noise * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    estimated = blur_width(noisy, clean_spectrum, noise)
    assert estimated == pytest.approx(width + 0.5, rel=0.35)
    assert blur_width(noisy, clean_spectrum) < estimated


def test_the_transfer_function_that_blurred_fits_best(clean_spectrum: list[float]) -> None:
    fit = TransferFit.of(as_file(gaussian_blur(texture(100), sigma=1.5)), clean_spectrum, 0.003)
    squared = fit.down.square() + fit.across.square()
    misfits = [
        fit.misfit(torch.exp(-2 * math.pi**2 * width**2 * squared)) for width in (0.1, 1.0, 1.5, 2.0, 3.0)
    ]
    assert misfits.index(min(misfits)) == 2


@pytest.mark.parametrize("shape", [(64, 48), (33, 200)])
def test_power_is_that_of_the_mirrored_image(shape: tuple[int, int]) -> None:
    image = as_file(texture(0, 200))[:, : shape[0], : shape[1]].double()
    wide = torch.cat([image, image.flip(-1)], dim=-1)
    power = torch.fft.rfft2(torch.cat([wide, wide.flip(-2)], dim=-2)).abs().square().mean(dim=0)
    down, across = torch.fft.fftfreq(2 * shape[0])[:, None], torch.fft.rfftfreq(2 * shape[1])
    ring = (torch.sqrt(down.square() + across.square()) * 2 * BANDS).long()
    bands = [power[ring == band].mean() / (4 * shape[0] * shape[1]) for band in range(BANDS)]
    torch.testing.assert_close(log_band_power(image), (torch.stack(bands) + 1e-12).log())


@pytest.mark.parametrize("shape", [(96, 130), (300, 200)])
def test_windows_are_averaged(shape: tuple[int, int]) -> None:
    """Of white noise, whose power is the same everywhere."""
    noise = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    fit = TransferFit.of(noise, [0.0] * BANDS, 0.0)
    torch.testing.assert_close(fit.excess.exp().mean().item(), 1.0, atol=0.1, rtol=0)
