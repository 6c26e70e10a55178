"""Priors that cost next to nothing: a tiny network, and image models whose noise is known in closed form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from image_models import GaussianImages
from textures import as_file, texture
from torch import Tensor

from i2r.prior.network import Prior, load_prior
from i2r.screening import overlay_weights
from i2r.screening.calibration import Calibration, Spread
from i2r.screening.spectrum import log_band_power
from i2r.screening.statistics import STATISTICS


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    """A calibration of the right form; its values mean nothing."""
    return Calibration(
        level=0.06,
        damage_level=0.3,
        clean={name: Spread(0.1 * index, 0.05, 0.02) for index, name in enumerate(STATISTICS)},
        entry_scale={0.02: -0.3, 0.1: -0.2, 0.8: 0.0},
        block_entry=(-4.0, 1.5),
        spectrum=tuple(4.0 - 0.5 * band for band in range(16)),
        overlays=overlay_weights.digest(),
        alarms=tuple(0.1 + 0.001 * index for index in range(200)),
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> Path:
    """A prior in the diffusers layout: two levels of random weights. Read-only: copy it to change it."""
    folder = tmp_path_factory.mktemp("priors") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=32,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
            add_attention=False,
        )
    network.save_pretrained(folder / "unet")
    DDIMScheduler(prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDIMPipeline"}))
    calibration.save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Prior:
    return load_prior(str(tiny_folder), torch.device("cpu"))


@pytest.fixture(scope="session")
def prior() -> Prior:
    """The one that ships with the package; never changed."""
    return load_prior("photo-64", torch.device("cpu"))


@pytest.fixture(scope="session")
def white_images() -> GaussianImages:
    """Images of independent N(0, 1) pixels: ``eps = sigma x / (1 + sigma^2)``."""
    return GaussianImages(torch.ones_like)


@pytest.fixture(scope="session")
def smooth_images() -> GaussianImages:
    """Images of a few waves across the canvas and nothing finer."""
    return GaussianImages(lambda frequency: torch.where(frequency < 0.08, 100.0, 1e-5))


@pytest.fixture(scope="session")
def waves() -> Tensor:
    """One of the smooth images, (3, 64, 64), within [-0.8, 0.8]."""
    angle = 2 * torch.pi * torch.arange(64) / 64
    wave = torch.stack([torch.sin(k * angle)[:, None] + torch.cos(angle)[None] for k in (1, 2, 3)])
    return 0.4 * wave


@pytest.fixture(scope="session")
def clean_spectrum() -> list[float]:
    """Log band power of textures that nothing has blurred."""
    powers = [log_band_power(as_file(texture(seed))) for seed in range(8)]
    return torch.stack(powers).mean(dim=0).tolist()
