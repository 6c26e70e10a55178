"""Canvases of latents: as many tiles as the pixels have, and nothing random on the way there and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DModel, VQModel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from i2r import Degraded, Outcome, Restorer, RestoreSettings
from i2r.diffusion.tiling import TileGrid
from i2r.errors import PriorError, SettingsError
from i2r.prior.folder import PriorFolder
from i2r.prior.network import load_prior
from i2r.prior.space import LatentSpace, PixelSpace
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.statistics import STATISTICS
from i2r.training.calibrate import calibrate
from i2r.training.unconditional import draw

CPU = torch.device("cpu")
BLOCKS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4}
ENDS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}


class Folded(nn.Module):
    """An autoencoder that loses nothing: 2x2 pixels become 4 times as many channels."""

    class Latents:
        def __init__(self, latents: Tensor) -> None:
            self.latents = latents

    class Sample:
        def __init__(self, sample: Tensor) -> None:
            self.sample = sample

    def encode(self, image: Tensor) -> Latents:
        return self.Latents(nn.functional.pixel_unshuffle(image, 2))

    def decode(self, latents: Tensor) -> Sample:
        return self.Sample(nn.functional.pixel_shuffle(latents, 2))


@pytest.fixture(params=[VQModel, AutoencoderKL], scope="module", ids=lambda kind: kind.__name__)
def latent_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, calibration: Calibration
) -> Path:
    """A latent prior of random weights: 4 channels, two pixels a latent, two levels."""
    folder = tmp_path_factory.mktemp("priors") / "latent"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=32,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
            add_attention=False,
        )
        request.param(**BLOCKS, **ENDS, scaling_factor=0.5).save_pretrained(folder / "vqvae")
    network.save_pretrained(folder / "unet")
    DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LDMPipeline"}))
    # To it every image is atypical, in all ways.
    clean = dict.fromkeys(STATISTICS, Spread(-100.0, 0.1, 0.05))
    dataclasses.replace(calibration, clean=clean).save(folder)
    return folder


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([2, 4, 8]),
    st.integers(1, 8),
    st.integers(0, 4),
)
def test_a_canvas_of_latents_has_the_tiles_of_its_pixels(
    height: int, width: int, factor: int, tile: int, overlap: int
) -> None:
    pixels = TileGrid(height, width, (factor * tile, factor * tile), factor * min(overlap, tile // 2))
    grid = LatentSpace(Folded(), 1.0, factor, CPU).grid(pixels)
    assert [factor * start for start in grid.rows] == pixels.rows
    assert [factor * start for start in grid.columns] == pixels.columns
    assert tuple(factor * side for side in grid.canvas_shape) == pixels.canvas_shape


@pytest.mark.parametrize("space", [PixelSpace(), LatentSpace(Folded(), 0.25, 2, CPU)])
def test_a_lossless_autoencoder_gives_the_image_back(space: PixelSpace | LatentSpace) -> None:
    pixels = TileGrid(50, 70, (32, 32), 8)
    image = torch.rand(3, *pixels.canvas_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    canvas = space.encode(image, pixels)
    assert canvas.shape[1:] == space.grid(pixels).canvas_shape
    torch.testing.assert_close(space.decode(canvas, pixels), image)


def test_a_latent_prior_is_what_its_folder_says(latent_folder: Path) -> None:
    folder = PriorFolder(latent_folder)
    found = folder.check()
    assert "2 px to a latent, scaled by 0.5" in found["autoencoder"]
    prior = load_prior(str(latent_folder), CPU)
    assert prior.stride == folder.stride == 4
    assert prior.space.factor == 2
    pixels = TileGrid(30, 40, (16, 16), 4)
    image = torch.rand(3, *pixels.canvas_shape) * 2 - 1
    canvas = prior.space.encode(image, pixels)
    assert canvas.shape == (4, *prior.space.grid(pixels).canvas_shape)
    assert torch.equal(canvas, prior.space.encode(image, pixels))
    assert prior.space.decode(canvas, pixels).shape == image.shape
    eps = prior.eps(canvas[None, :, :8, :8], torch.tensor([0.3]))
    assert eps.shape == (1, 4, 8, 8)
    assert eps.isfinite().all()


def test_the_autoencoder_is_in_the_digest(latent_folder: Path, tmp_path: Path) -> None:
    names = [path.relative_to(latent_folder).as_posix() for path in latent_folder.glob("vqvae/*")]
    assert sorted(names) == ["vqvae/config.json", "vqvae/diffusion_pytorch_model.safetensors"]
    digest = PriorFolder(latent_folder).digest()
    config = latent_folder / "vqvae" / "config.json"
    content = config.read_text()
    try:
        config.write_text(content.replace("0.5", "0.6"))
        assert PriorFolder(latent_folder).digest() != digest
    finally:
        config.write_text(content)


def test_a_latent_prior_restores_images_of_any_size(latent_folder: Path) -> None:
    restorer = Restorer(
        load_prior(str(latent_folder), CPU), RestoreSettings(tile=64, overlap=8, steps=2, min_consistency=0)
    )
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.rand(size, generator=generator).numpy() for size in [(70, 101, 3), (64, 64, 1), (5, 9, 3)]
    ]
    results = restorer.restore([Degraded(image) for image in images])
    assert [result.outcome for result in results[:2]] == [Outcome.RESTORED] * 2
    assert results[2].outcome is Outcome.UNCHANGED  # too small to test
    for image, result in zip(images, results, strict=True):
        assert result.image.shape == image.shape
        assert 0 <= result.image.min() <= result.image.max() <= 1
    [alone] = restorer.restore([Degraded(images[0])])
    assert (alone.image == results[0].image).all()


def test_tiles_of_latents_fill_a_device_by_their_own_size(
    latent_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = load_prior(str(latent_folder), CPU)
    side = 64 // prior.space.factor
    monkeypatch.setattr("i2r.restorer.pixels_at_once", lambda device, bytes_a_pixel: 4 * side**2)
    smaller = Restorer(prior, RestoreSettings(tile=64, overlap=8)).smaller()
    assert smaller is not None
    assert smaller[0] == "tiles_per_batch=2"


def test_a_latent_prior_shows_what_it_knows(latent_folder: Path) -> None:
    prior = load_prior(str(latent_folder), CPU)
    images = draw(prior, 2, 32, steps=3)
    assert images.shape == (2, 3, 32, 32)
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, draw(prior, 2, 32, steps=3))


def test_tiles_that_do_not_fit_the_autoencoder_are_refused(latent_folder: Path) -> None:
    prior = load_prior(str(latent_folder), CPU)
    with pytest.raises(SettingsError, match=r"overlap 7 .* multiple of 2"):
        Restorer(prior, RestoreSettings(tile=64, overlap=7))


def test_a_latent_prior_is_calibrated_on_latents(latent_folder: Path) -> None:
    prior = load_prior(str(latent_folder), CPU)
    rough = torch.rand(26, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    crops = nn.functional.interpolate(rough, size=64, mode="bilinear") * 2 - 1
    assert calibrate(prior, crops) != calibrate(prior, -crops)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"_class_name": "AutoencoderTiny"}, "AutoencoderTiny"),
        ({"latent_channels": 8}, "8 latent channels"),
        ({"in_channels": 1}, "1 channels in, 3 out: it must be RGB"),
        ({"scaling_factor": 0}, "scaling_factor 0.0 .* not positive"),
        ({"shift_factor": 0.1}, "shifts its latents"),
    ],
)
def test_an_autoencoder_that_does_not_fit_is_refused(
    latent_folder: Path, changes: dict[str, object], fault: str
) -> None:
    config = latent_folder / "vqvae" / "config.json"
    content = config.read_text()
    try:
        _edit(config, **changes)
        with pytest.raises(PriorError, match=fault):
            load_prior(str(latent_folder), CPU)
    finally:
        config.write_text(content)
