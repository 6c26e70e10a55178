"""Train an unconditional pixel prior on a folder of photographs.

    python -m i2r.training --data PHOTOS --out prior --minutes 60

The result is a local folder in the diffusers format that :func:`i2r.prior.network.load_prior` reads.
Interrupted runs resume from ``OUT/training``. The network predicts ``v = alpha eps - sigma x0`` (Salimans and
Ho, arXiv 2202.00512, appendix D); noise levels are drawn log-normally around the small levels at which
restoration uses the prior, as Karras et al. (arXiv 2206.00364, section 5) do around theirs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor

from i2r.device import Device
from i2r.diffusion.noise_schedule import NoiseSchedule
from i2r.training.photographs import Photographs
from i2r.training.run import Pace, TrainingRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """How ``photo-64`` was trained."""

    crop: int = 64
    batch: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 200
    cooldown: float = 0.3
    grey: float = 0.1
    sigma_log_mean: float = math.log(0.15)
    sigma_log_std: float = 1.2
    uniform_timesteps: float = 0.15
    """Fraction of the crops whose timestep is uniform instead, so that full depth is learnt too."""


def build_network() -> UNet2DModel:
    """Build the network of ``photo-64``: 5.9 M parameters, convolutions only, so that it accepts any size.

    GroupNorm with groups of four channels or more preserves contrast; the 32 groups that are the default of
    diffusers would normalise each of 32 channels by itself.
    """
    return UNet2DModel(
        sample_size=64,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
        norm_num_groups=8,
    )


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False)


class Trainer(TrainingRun[Tensor]):
    """Trains a prior, and exports it as a folder in the diffusers layout."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out = recipe, out
        self.scheduler = build_scheduler()
        self.schedule = NoiseSchedule.from_alphas_cumprod(self.scheduler.alphas_cumprod)
        super().__init__(build_network(), recipe, out / "training", device)

    def export(self) -> None:
        # Half precision on disk halves the wheel, and loses nothing, since networks run in bfloat16 autocast.
        copy.deepcopy(self.network).half().save_pretrained(self.out / "unet", safe_serialization=True)
        self.scheduler.save_pretrained(self.out / "scheduler")
        index = {"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"]}
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        (self.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        record = asdict(self.recipe) | {"steps": self.step, "minutes": round(self.seconds / 60, 1)}
        (self.folder / "record.json").write_text(json.dumps(record | {"losses": self.losses}) + "\n")

    def draw_timesteps(self, count: int) -> Tensor:
        sigma = torch.exp(torch.randn(count) * self.recipe.sigma_log_std + self.recipe.sigma_log_mean)
        timesteps = self.schedule.timestep(sigma)
        uniform = torch.rand(count) < self.recipe.uniform_timesteps
        return torch.where(uniform, torch.rand(count) * (len(self.schedule) - 1), timesteps)

    def loss(self, batch: Tensor) -> Tensor:
        """``|v - v_theta(alpha x + sigma eps, t)|^2`` of crops (N, 3, S, S) in [-1, 1]."""
        timesteps = self.draw_timesteps(len(batch))
        alpha, sigma = (
            level.view(-1, 1, 1, 1).to(self.device) for level in self.schedule.alpha_sigma(timesteps)
        )
        x = batch.to(self.device, memory_format=torch.channels_last)
        eps = torch.randn_like(x)
        with torch.autocast(self.device.type, torch.bfloat16):
            predicted = self.network(alpha * x + sigma * eps, timesteps.to(self.device)).sample
        return (predicted.float() - (alpha * eps - sigma * x)).square().mean()


def batches(photographs: Photographs, trainer: Trainer) -> Iterator[Tensor]:
    """Yield random crops without end; a resumed run gets different ones."""
    generator = np.random.default_rng([trainer.recipe.seed, trainer.step])
    torch.manual_seed(trainer.recipe.seed + trainer.step)
    while True:
        yield photographs.draw(trainer.recipe.batch, generator)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m i2r.training", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder searched for photographs")
    parser.add_argument("--out", type=Path, default=Path("prior"), help="the prior's folder (default: prior)")
    parser.add_argument("--minutes", type=float, default=60, help="in all, resumed runs included")
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipe = Recipe(batch=options.batch)
    device = Device.found().where
    photographs = Photographs(options.data, recipe.crop, recipe.grey)
    trainer = Trainer(recipe, options.out, device)
    logger.info("%d photographs, %s", len(photographs), device)
    trainer.run(batches(photographs, trainer), options.minutes)


if __name__ == "__main__":
    main()
