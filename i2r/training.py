"""Train an unconditional pixel prior on a folder of photographs.

    python -m i2r.training --data PHOTOS --out prior --minutes 60

The result is a local folder in the diffusers format that :func:`i2r.prior.load_prior` reads. Interrupted
runs resume from ``OUT/training``. The network predicts ``v = alpha eps - sigma x0`` (Salimans and Ho,
arXiv 2202.00512, appendix D); noise levels are drawn log-normally around the small levels at which
restoration uses the prior, as Karras et al. (arXiv 2206.00364, section 5) do around theirs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel

from i2r.photographs import Photographs
from i2r.schedule import NoiseSchedule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What decides the trained weights, next to the photographs and the time given."""

    crop: int = 64
    batch: int = 16
    learning_rate: float = 5e-4
    warmup_steps: int = 200
    cooldown: float = 0.3
    """Fraction of the time, at the end, over which the learning rate falls to zero."""
    ema_decay: float = 0.999
    sigma_log_mean: float = math.log(0.15)
    sigma_log_std: float = 1.2
    uniform_timesteps: float = 0.15
    """Fraction of the crops whose timestep is uniform instead, so that full depth is learnt too."""
    grey: float = 0.1
    """Fraction of the crops turned grey: archives are."""
    seed: int = 0


def build_network() -> UNet2DModel:
    """The network of ``photo-64``: 5.9 M parameters, convolutions only, so that it serves any canvas.

    Groups of four channels or more keep contrast visible to the network; the 32 groups that diffusers
    defaults to would normalise each of 32 channels by itself.
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


class Trainer:
    """Network, average, optimiser and clock: everything that a resumed run needs."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device = recipe, out, device
        self.scheduler = build_scheduler()
        self.schedule = NoiseSchedule.from_alphas_cumprod(self.scheduler.alphas_cumprod)
        self.network = build_network().to(device, memory_format=torch.channels_last)
        self.ema = EMAModel(self.network.parameters(), decay=recipe.ema_decay)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), recipe.learning_rate, weight_decay=1e-2)
        self.step, self.seconds = 0, 0.0
        self.losses: list[tuple[int, float]] = []
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.out / "training" / "state.pt"

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]
        logger.info("resumed at step %d", self.step)

    def save(self) -> None:
        """Write the resumable state, then the averaged weights as a diffusers folder."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        # Networks run under bfloat16 autocast, so half precision on disk loses nothing and halves the wheel.
        copy.deepcopy(self.network).half().save_pretrained(self.out / "unet", safe_serialization=True)
        self.ema.restore(self.network.parameters())
        self.scheduler.save_pretrained(self.out / "scheduler")
        index = {"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"]}
        index["scheduler"] = ["diffusers", "DDIMScheduler"]
        (self.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        record = asdict(self.recipe) | {"steps": self.step, "minutes": round(self.seconds / 60, 1)}
        (self.out / "training" / "record.json").write_text(
            json.dumps(record | {"losses": self.losses}) + "\n"
        )

    def rate(self, progress: float) -> float:
        """Learning rate: a linear warm-up in steps, then constant, then a linear fall in time."""
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        cool = min(1.0, max(0.0, (1 - progress) / self.recipe.cooldown))
        return self.recipe.learning_rate * warm * cool

    def draw_timesteps(self, count: int) -> torch.Tensor:
        sigma = torch.exp(torch.randn(count) * self.recipe.sigma_log_std + self.recipe.sigma_log_mean)
        timesteps = self.schedule.timestep(sigma)
        uniform = torch.rand(count) < self.recipe.uniform_timesteps
        return torch.where(uniform, torch.rand(count) * (len(self.schedule) - 1), timesteps)

    def train_step(self, x: torch.Tensor, progress: float) -> float:
        """One step of Adam on ``|v - v_theta(alpha x + sigma eps, t)|^2``; returns the loss."""
        timesteps = self.draw_timesteps(len(x))
        alpha, sigma = (
            level.view(-1, 1, 1, 1).to(self.device) for level in self.schedule.alpha_sigma(timesteps)
        )
        x = x.to(self.device, memory_format=torch.channels_last)
        eps = torch.randn_like(x)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(progress)
        with torch.autocast(self.device.type, torch.bfloat16):
            predicted = self.network(alpha * x + sigma * eps, timesteps.to(self.device)).sample
        loss = (predicted.float() - (alpha * eps - sigma * x)).square().mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.ema.step(self.network.parameters())
        self.step += 1
        return loss.item()


def train(
    photographs: Photographs, trainer: Trainer, minutes: float, save_every: float = 5.0
) -> Iterator[float]:
    """Train until ``minutes`` of training have passed in all, yielding each step's loss.

    Saves every ``save_every`` minutes and at the end.
    """
    generator = np.random.default_rng([trainer.recipe.seed, trainer.step])
    torch.manual_seed(trainer.recipe.seed + trainer.step)
    budget, saved = 60 * minutes, trainer.seconds
    while trainer.seconds < budget:
        started = time.monotonic()
        yield trainer.train_step(photographs.draw(trainer.recipe.batch, generator), trainer.seconds / budget)
        trainer.seconds += time.monotonic() - started
        if trainer.seconds - saved > 60 * save_every:
            trainer.save()
            saved = trainer.seconds
    trainer.save()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m i2r.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of photographs, searched recursively"
    )
    parser.add_argument("--out", type=Path, default=Path("prior"), help="the prior's folder (default: prior)")
    parser.add_argument(
        "--minutes", type=float, default=60, help="training time in all, resumed runs included"
    )
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipe = Recipe(batch=options.batch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photographs = Photographs(options.data, recipe.crop, recipe.grey)
    trainer = Trainer(recipe, options.out, device)
    logger.info("%d photographs, %s", len(photographs), device)
    window: list[float] = []
    for loss in train(photographs, trainer, options.minutes):
        window.append(loss)
        if len(window) == 200:
            trainer.losses.append((trainer.step, round(sum(window) / len(window), 5)))
            minutes = trainer.seconds / 60
            logger.info("step %d  %.1f min  loss %.4f", trainer.step, minutes, trainer.losses[-1][1])
            window.clear()


if __name__ == "__main__":
    main()
