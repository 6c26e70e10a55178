"""Fit the judge of overlays: whether something lies over a region, from what the trained network sees in it.

    python -m i2r.training.overlay_judge --weights overlays.safetensors --data PHOTOS --clean PICTURES

The network stays as it is (:mod:`i2r.training.overlay_network`). The judge learns from the same drawn crops,
of which those with few covered pixels are left out: a mark or two are as likely content. What the finished
judge says of clean pictures of many kinds is written beside the weights.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2r.screening import overlay_weights
from i2r.screening.overlays import OverlayFinder, OverlayNetwork, summary
from i2r.training.calibrate import spread_of
from i2r.training.hard_negatives import HardNegatives
from i2r.training.overlay_network import Batch, Drawn, Recipe
from i2r.training.photographs import Photographs, pictures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """How the judge is fitted.

    Attributes:
        crops: that it learns from.
        clean: fraction of them without an overlay.
        fewest: least covered pixels of a crop that is covered.
        dropped: fraction of the inputs that are dropped in each step: photographs are few.
        steps, batch, learning_rate, weight_decay: of AdamW; the rate falls to zero along a cosine.
        seed: of everything.
    """

    crops: int = 9000
    clean: float = 0.5
    fewest: int = 120
    dropped: float = 0.5
    steps: int = 1500
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


@torch.inference_mode()
def gather(
    network: OverlayNetwork, batches: Iterable[Batch], crops: int, fewest: int
) -> tuple[Tensor, Tensor]:
    """What the network sees in drawn crops, (N, 3 CELL_CHANNELS), and whether each is covered, (N,)."""
    seen, labels = [], []
    for planes, covered in batches:
        each = network(planes.float())[1].flatten(2)
        seen.append(summary(each.mean(dim=2), each.square().mean(dim=2), each.amax(dim=2)))
        counts = (covered == 1).sum(dim=(1, 2))
        # Where no pixel is labelled but some are unknown, what was drawn is hardly visible.
        hidden = covered.isnan().any(dim=2).any(dim=1) | (counts > 0)
        labels.append(torch.where(counts >= fewest, 1.0, torch.where(hidden, torch.nan, 0.0)))
        if sum(map(len, labels)) >= crops:
            break
    known = torch.cat(labels).isfinite()
    return torch.cat(seen)[known], torch.cat(labels)[known]


def fit(judge: nn.Sequential, seen: Tensor, labels: Tensor, how: Fit) -> float:
    """Fit the judge to what was seen (N, C) and the labels (N,); returns the mean loss of the last steps.

    Its inputs are standardised; the first layer takes that over in the end.
    """
    torch.manual_seed(how.seed)
    middle, spread = seen.mean(dim=0), seen.std(dim=0) + 1e-3
    first, *_ = (layer for layer in judge if isinstance(layer, nn.Linear))
    nn.init.xavier_uniform_(first.weight)
    nn.init.zeros_(first.bias)
    optimiser = torch.optim.AdamW(judge.parameters(), how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    losses: list[float] = []
    for _ in range(how.steps):
        chosen = torch.randint(len(seen), (how.batch,))
        given = F.dropout((seen[chosen] - middle) / spread, how.dropped)
        loss = F.binary_cross_entropy_with_logits(judge(given)[:, 0], labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        first.weight.div_(spread)
        first.bias.sub_(first.weight @ middle)
    last = losses[-len(losses) // 10 :]
    return sum(last) / len(last)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m i2r.training.overlay_judge", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="of the network; its judge is replaced")
    parser.add_argument("--data", type=Path, required=True, help="folder of clean photographs")
    parser.add_argument("--clean", type=Path, required=True, help="folder of others, to measure it on")
    parser.add_argument("--cutouts", type=Path, help="folder of things on a transparent background, PNG")
    parser.add_argument("--fonts", type=Path, help="folder of TrueType fonts")
    parser.add_argument("--crops", type=int, default=Fit.crops, help="to learn from")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    how = Fit(crops=options.crops)
    network = OverlayNetwork().eval()
    network.load_state_dict(load_file(options.weights), strict=False)
    recipe = replace(Recipe(), clean=how.clean)
    photographs = Photographs(options.data, recipe.crop, recipe.grey)
    drawn = Drawn(photographs, HardNegatives(options.cutouts, options.fonts), recipe, start=0)
    seen, labels = gather(network, drawn, how.crops, how.fewest)
    logger.info("%d crops, %d of them covered", len(labels), labels.sum())
    logger.info("loss %.4f", fit(network.judge, seen, labels, how))
    save(network, options.weights, options.clean)


def save(network: OverlayNetwork, path: Path, clean: Path) -> None:
    """Write the weights in half precision, with the log odds that the judge gives to clean pictures."""
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    finder = OverlayFinder(network)
    log_odds = [
        value
        for picture in pictures(clean)
        for value in finder.judged(torch.from_numpy(picture).permute(2, 0, 1) * 2 - 1).tolist()
    ]
    save_file(weights, path, {overlay_weights.CLEAN: json.dumps(asdict(spread_of(log_odds)))})


if __name__ == "__main__":
    main()
