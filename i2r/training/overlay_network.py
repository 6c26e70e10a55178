"""Train the network that detects overlays, on a folder of clean photographs.

    python -m i2r.training.overlay_network --data PHOTOS --out overlays --minutes 60

Its training data is drawn anew at each step: content that resembles overlays
(:mod:`i2r.training.hard_negatives`) and overlays (:mod:`i2r.training.overlay_drawing`). Interrupted runs
resume from ``OUT/state.pt``; ``OUT/overlays.safetensors`` holds the averaged weights.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from i2r.screening import overlay_weights
from i2r.screening.overlays import OverlayNetwork, features
from i2r.training.degradation import FloatImage, gaussian_blur, gaussian_noise, jpeg
from i2r.training.hard_negatives import HardNegatives
from i2r.training.overlay_drawing import draw_overlay
from i2r.training.photographs import Photographs
from i2r.training.run import Pace, TrainingRun


@dataclass(frozen=True, kw_only=True)
class Recipe(Pace):
    """Training settings of the network in the package."""

    crop: int = 192
    batch: int = 6
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    cooldown: float = 0.25
    grey: float = 0.15
    clean: float = 0.4
    """Fraction of the crops without an overlay."""
    hard: float = 0.5
    """Fraction of the crops with content that resembles an overlay."""
    degraded: float = 0.3
    """Fraction of the crops that are also noisy, blurred or compressed, before or after the overlay."""
    balance: float = 0.1
    """Weight of the covered pixels of a crop together, however few, so that specks are learnt."""


Batch = tuple[Tensor, Tensor]
"""Input of the network, (N, 52, S / 2, S / 2) in bfloat16, and labels of covered pixels, (N, S, S)."""


class Drawn(IterableDataset[Batch]):
    """Endless random batches; a run resumed at step ``start`` gets different ones."""

    def __init__(
        self, photographs: Photographs, negatives: HardNegatives, recipe: Recipe, start: int
    ) -> None:
        self.photographs, self.negatives = photographs, negatives
        self.recipe, self.start = recipe, start

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.recipe.seed, self.start, worker.id if worker else 0])
        while True:
            crops = self.photographs.draw(self.recipe.batch, rng) / 2 + 0.5
            drawn = [self._draw(crop.permute(1, 2, 0).numpy(), rng) for crop in crops]
            images = torch.from_numpy(np.stack([image for image, _ in drawn])).permute(0, 3, 1, 2) * 2 - 1
            covered = torch.from_numpy(np.stack([where for _, where in drawn]))
            yield features(images).bfloat16(), covered

    def _draw(self, crop: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
        toned = rng.integers(2) * rng.normal(0, 0.1, 3) + rng.normal(0, 0.25)
        clean = np.clip(np.rot90(crop, int(rng.integers(4))), 0, 1) ** np.exp(toned).astype(np.float32)
        if rng.random() < self.recipe.hard:
            clean = self.negatives.draw(clean, rng)
        degraded, first = rng.random() < self.recipe.degraded, rng.random() < 0.5
        image = _degraded(clean, rng) if degraded and first else clean
        covered = np.zeros(clean.shape[:2], np.float32)
        if rng.random() >= self.recipe.clean:
            image, covered = draw_overlay(image, rng)
        image = _degraded(image, rng) if degraded and not first else image
        return (np.rint(image * 255) / 255).astype(np.float32), covered


def _degraded(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Add noise, blur or compression: the network must not detect these, and must detect overlays in them."""
    kind = rng.integers(3)
    if kind == 0:
        return gaussian_noise(image, rng, sigma=math.exp(rng.uniform(math.log(2), math.log(60))) / 255)
    if kind == 1:
        return gaussian_blur(image, sigma=rng.uniform(0.5, 3))
    return jpeg(image, quality=int(rng.integers(8, 90)))


def balanced_loss(logits: Tensor, covered: Tensor, balance: float) -> Tensor:
    """Cross-entropy in which the covered pixels together have the same weight in every crop.

    Args:
        logits: (N, H, W).
        covered: (N, H, W), 1 or 0; NaN at pixels to ignore.
        balance: weight of the covered pixels, where that of the others is 1.
    """
    known = covered.isfinite()
    target = covered.nan_to_num(0.0)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive = (known & (target > 0.5)).flatten(1)
    negative = (known & (target <= 0.5)).flatten(1)
    entropy = entropy.flatten(1)
    missed = (entropy * positive).sum(dim=1) / positive.sum(dim=1).clamp_min(1)
    false = (entropy * negative).sum(dim=1) / negative.sum(dim=1).clamp_min(1)
    return (balance * missed + false).mean()


class Trainer(TrainingRun[Batch]):
    """Trains the network on a CPU.

    Args:
        recipe: training settings.
        out: folder for the state and the weights.
        start: weights to begin with, as :meth:`export` writes them; None for random ones.
        compiled: whether to compile the network, which takes half a minute and halves the time of a step.
    """

    def __init__(
        self, recipe: Recipe, out: Path, start: Path | None = None, *, compiled: bool = False
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        network = OverlayNetwork()
        if start is not None:
            network.load_state_dict(load_file(start), strict=False)
        super().__init__(network, recipe, out, torch.device("cpu"))
        self._forward = torch.compile(self.network) if compiled else self.network

    def loss(self, batch: Batch) -> Tensor:
        planes, covered = batch
        with torch.autocast("cpu", torch.bfloat16):
            logits, _ = self._forward(planes.contiguous(memory_format=torch.channels_last))
        return balanced_loss(logits.float(), covered, self.recipe.balance)

    def export(self) -> None:
        """Write the weights; :mod:`i2r.training.overlay_judge` fits the judge, which this trains not."""
        weights = {name: value.half().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, self.folder / overlay_weights.PATH.name)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m i2r.training.overlay_network", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photographs")
    parser.add_argument("--cutouts", type=Path, help="folder of things on a transparent background, PNG")
    parser.add_argument("--fonts", type=Path, help="folder of TrueType fonts")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--out", type=Path, default=Path("overlays"), help="folder of the weights")
    parser.add_argument("--minutes", type=float, default=60, help="in all, resumed runs included")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe()
    photographs = Photographs(options.data, recipe.crop, recipe.grey)
    trainer = Trainer(recipe, options.out, options.start, compiled=True)
    drawn = Drawn(photographs, HardNegatives(options.cutouts, options.fonts), recipe, trainer.step)
    trainer.run(DataLoader(drawn, batch_size=None, num_workers=options.workers), options.minutes)


if __name__ == "__main__":
    main()
