"""Parameters and image are found together, on image models whose noise is known exactly."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from image_models import GaussianImages
from textures import as_file, texture
from torch import Tensor

from i2r.correction.reconstruction import likeliest_forms, reconstruct
from i2r.diffusion.sampling import counted
from i2r.diffusion.tiling import TileGrid
from i2r.errors import FormError
from i2r.forms import FORMS, Downsampling, GaussianBlur, Jpeg, MotionBlur, SmallKernel
from i2r.forms.form import Form
from i2r.jpeg_tables import JpegTables
from i2r.screening.calibration import Calibration
from i2r.screening.spectrum import log_band_power
from i2r.training.degradation import FloatImage, gaussian_blur, gaussian_noise, low_resolution, motion_blur

GRID = TileGrid.whole(64, 64)


def _psnr(x: Tensor, y: Tensor) -> float:
    return -10 * math.log10((x - y).square().mean().item() / 4)


def _power(frequency: Tensor) -> Tensor:
    """Falls a little faster than that of photographs, as there are only so many pixels."""
    return 4e-5 / (frequency.square() + 4e-4) ** 1.5


@pytest.fixture(scope="module")
def photographs() -> GaussianImages:
    return GaussianImages(_power)


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """One of them, (3, 64, 64)."""
    return _draw(0)


@pytest.fixture(scope="module")
def calibrated(calibration: Calibration) -> Calibration:
    spectrum = torch.stack([log_band_power(_draw(seed)) for seed in range(1, 9)]).mean(dim=0)
    return dataclasses.replace(calibration, spectrum=tuple(spectrum.tolist()))


def _draw(seed: int) -> Tensor:
    white = torch.fft.rfft2(torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed)))
    down, across = torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None]
    return torch.fft.irfft2(white * _power(torch.sqrt(down.square() + across.square())).sqrt(), s=(64, 64))


def _as_file(x: Tensor) -> Tensor:
    return (x.clamp(-1, 1) * 127.5).round() / 127.5


@pytest.mark.parametrize(
    ("form", "gain"),
    [
        (GaussianBlur(1.2), 3.0),
        (MotionBlur(7.0, 0.0), 4.0),
        (Downsampling(2), 0.5),
        (Jpeg(JpegTables.standard(20)), 0.3),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_specified_form_is_undone(
    photographs: GaussianImages, photograph: Tensor, calibrated: Calibration, form: Form, gain: float
) -> None:
    y = _as_file(form.forward(photograph))
    found, nfe = photographs.answer(counted(reconstruct(y, (form.name,), GRID, calibrated, [form])))
    assert _psnr(found.x, photograph) > _psnr(y, photograph) + gain
    assert found.parameters == {form.name: dict(form.parameters())}
    assert nfe > 4
    assert json.loads(json.dumps(found.parameters)) == found.parameters


def test_a_width_is_found_with_the_image(
    photographs: GaussianImages, photograph: Tensor, calibrated: Calibration
) -> None:
    y = _as_file(GaussianBlur(1.2).forward(photograph))
    found = photographs.answer(reconstruct(y, ("gaussian_blur",), GRID, calibrated))
    assert found.parameters["gaussian_blur"]["width"] == pytest.approx(1.2, rel=0.2)
    assert _psnr(found.x, photograph) > _psnr(y, photograph) + 2


def test_noise_is_measured_and_removed(
    photographs: GaussianImages, photograph: Tensor, calibrated: Calibration
) -> None:
    y = photograph + 0.2 * torch.randn(photograph.shape, generator=torch.Generator().manual_seed(1))
    found = photographs.answer(reconstruct(y, ("noise",), GRID, calibrated))
    assert found.parameters["noise"]["level"] == pytest.approx(0.2, rel=0.1)
    assert _psnr(found.x, photograph) > _psnr(y, photograph) + 4


def test_black_that_clipped_noise_made_gray_is_black_again(
    photographs: GaussianImages, calibrated: Calibration
) -> None:
    clean = torch.zeros(3, 64, 64)
    clean[..., :24] = -0.85
    y = (clean + 0.4 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    found = photographs.answer(reconstruct(y, ("noise",), GRID, calibrated))
    dark = slice(4, 20)
    assert y[..., dark].mean() > -0.77
    assert found.x[..., dark].mean().item() == pytest.approx(-0.85, abs=0.05)


def test_lost_pixels_are_found_and_filled(
    smooth_images: GaussianImages, waves: Tensor, calibrated: Calibration
) -> None:
    missing = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.02
    y = torch.where(missing, 1.0, waves)
    found = smooth_images.answer(reconstruct(y, ("mask",), GRID, calibrated))
    assert _psnr(found.x, waves) > _psnr(y, waves) + 10
    assert 0.01 < found.parameters["mask"]["fraction"] < 0.05


def test_forms_compose(photographs: GaussianImages, photograph: Tensor, calibrated: Calibration) -> None:
    blur = MotionBlur(7.0, 0.0)
    missing = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) < 0.02
    y = torch.where(missing, 1.0, _as_file(blur.forward(photograph)))
    found = photographs.answer(reconstruct(y, ("motion_blur", "mask"), GRID, calibrated, [blur]))
    assert list(found.parameters) == ["motion_blur", "mask"]
    assert found.parameters["mask"]["fraction"] > 0.01
    assert _psnr(found.x, photograph) > _psnr(blur.forward(photograph), photograph) + 1


@pytest.mark.parametrize("forms", ["mask,noise", "noise,mask"])
def test_noise_is_removed_and_what_is_lost_is_filled(
    smooth_images: GaussianImages, waves: Tensor, calibrated: Calibration, forms: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    missing = torch.rand(64, 64, generator=generator) < 0.02
    noisy = waves + 0.1 * torch.randn(waves.shape, generator=generator)
    y = torch.where(missing, 1.0, noisy)
    found = smooth_images.answer(reconstruct(y, tuple(forms.split(",")), GRID, calibrated))
    assert list(found.parameters) == forms.split(",")
    assert _psnr(found.x, waves) > _psnr(noisy, waves) + 6


def test_the_padding_of_the_canvas_is_no_part_of_the_image(
    photographs: GaussianImages, photograph: Tensor, calibrated: Calibration
) -> None:
    grid = TileGrid(50, 37, (64, 64), 0)
    y = grid.pad(GaussianBlur(1.2).forward(photograph[:, :50, :37]))
    found = photographs.answer(reconstruct(y, ("gaussian_blur",), grid, calibrated, [GaussianBlur(1.2)]))
    assert found.x.shape == y.shape
    assert torch.equal(found.x, grid.pad(grid.crop(found.x)))


def test_what_the_image_does_not_show_is_an_error_before_any_evaluation(
    photograph: Tensor, calibrated: Calibration
) -> None:
    with pytest.raises(FormError, match="no multiples"):
        next(reconstruct(photograph, ("jpeg",), GRID, calibrated))


def test_a_kernel_is_given_as_it_ended(
    photographs: GaussianImages, photograph: Tensor, calibrated: Calibration
) -> None:
    y = _as_file(GaussianBlur(1.2).forward(photograph))
    found = photographs.answer(reconstruct(y, (SmallKernel.name,), GRID, calibrated))
    kernel = torch.tensor(found.parameters[SmallKernel.name]["kernel"])
    assert kernel.min() >= 0
    assert kernel.sum().item() == pytest.approx(1, abs=0.02)
    assert _psnr(found.x, photograph) > _psnr(y, photograph) + 1


def test_the_image_shows_what_took_its_detail(calibration: Calibration, clean_spectrum: list[float]) -> None:
    calibration = dataclasses.replace(calibration, spectrum=tuple(clean_spectrum))
    image, rng = texture(103), np.random.default_rng(3)

    def shown(image: FloatImage) -> list[str]:
        return [form.name for form in likeliest_forms(as_file(image), calibration)]

    assert shown(image) == []
    assert shown(low_resolution(image, factor=3)) == ["downsampling"]
    assert shown(gaussian_blur(image, sigma=2.0)) == ["gaussian_blur"]
    assert shown(motion_blur(image, rng, length=9))[0] == "motion_blur"
    noisy = gaussian_noise(gaussian_blur(image, sigma=2.0), rng, sigma=2 / 255)
    assert shown(noisy) == ["gaussian_blur", "noise"]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (17, 33), (40, 40)])
def test_every_size_and_content_ends_finite_or_named(
    photographs: GaussianImages,
    photograph: Tensor,
    calibrated: Calibration,
    name: str,
    shape: tuple[int, int],
) -> None:
    grid = TileGrid(*shape, (72, 72), 8)
    drawn = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    for image in (torch.zeros(3, *shape), torch.full((3, *shape), -1.0), drawn):
        try:
            found = photographs.answer(reconstruct(grid.pad(image), (name,), grid, calibrated))
        except FormError:
            assert name in {"motion_blur", "small_kernel", "downsampling", "jpeg"}
            continue
        assert found.x.shape == (3, *grid.canvas_shape)
        assert found.x.isfinite().all()
        json.dumps(found.parameters, allow_nan=False)
