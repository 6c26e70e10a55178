"""What the tests of jobs share: a prior that costs next to nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real prior of eighteen thousand parameters that sees no noise in anything."""
    import torch
    from diffusers import UNet2DModel

    from i2r.folder import BUILT_IN

    folder = tmp_path_factory.mktemp("priors") / "tiny"
    with torch.random.fork_rng():
        network = UNet2DModel(
            sample_size=32,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
        )
    torch.nn.init.zeros_(network.conv_out.weight)
    torch.nn.init.zeros_(network.conv_out.bias)
    network.save_pretrained(folder / "unet")
    shutil.copytree(BUILT_IN / "photo-64" / "scheduler", folder / "scheduler")
    for name in ("calibration.json", "model_index.json"):
        shutil.copy(BUILT_IN / "photo-64" / name, folder)
    return folder


@pytest.fixture(scope="session")
def flags(tiny_prior: Path) -> list[str]:
    """Options for a run with that prior, one model at a time."""
    return [f"--prior={tiny_prior}", "--set=method.tile=32", "--set=method.overlap=8", "--workers=1"]
