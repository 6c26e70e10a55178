"""The judge is fitted to what the network sees, and goes with its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from i2r.screening import overlay_weights
from i2r.screening.calibration import Spread
from i2r.screening.overlays import CELL_CHANNELS, OverlayNetwork
from i2r.training.hard_negatives import HardNegatives
from i2r.training.overlay_judge import Fit, fit, gather, save
from i2r.training.overlay_network import Drawn, Recipe
from i2r.training.photographs import Photographs

RECIPE = Recipe(crop=32, batch=4, clean=0.5)
QUICK = Fit(steps=400, batch=64, dropped=0.0, learning_rate=1e-2)


@pytest.fixture(scope="module")
def network() -> OverlayNetwork:
    torch.manual_seed(0)
    return OverlayNetwork().eval()


def test_crops_are_judged_that_are_clean_or_surely_covered(network: OverlayNetwork, samples: Path) -> None:
    photographs = Photographs(samples / "clean", RECIPE.crop, short_sides=(64,))
    seen, labels = gather(network, Drawn(photographs, HardNegatives(), RECIPE, 0), crops=40, fewest=24)
    assert seen.shape == (len(labels), 3 * CELL_CHANNELS)
    assert 20 <= len(labels) <= 40
    assert set(labels.tolist()) == {0.0, 1.0}


def test_the_judge_takes_what_was_seen_as_it_is() -> None:
    """It learns on standardised values; what it maps in the end are the values themselves."""
    generator = torch.Generator().manual_seed(1)
    seen = torch.randn(400, 6, generator=generator) * torch.tensor([1e-2, 1, 5, 40, 1, 1]) + 3
    labels = (seen[:, 3] > 3).float()
    judge = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 1))
    loss = fit(judge, seen, labels, QUICK)
    assert loss < 0.5 * np.log(2)
    assert ((judge(seen)[:, 0] > 0) == (labels > 0)).float().mean() > 0.9


def test_what_it_says_of_clean_pictures_goes_with_the_weights(
    network: OverlayNetwork, samples: Path, tmp_path: Path
) -> None:
    path = tmp_path / overlay_weights.PATH.name
    (tmp_path / "clean").mkdir()
    for index, picture in enumerate(4 * sorted((samples / "clean").glob("*.png"))):
        shutil.copy(picture, tmp_path / "clean" / f"{index}.png")
    save(network, path, tmp_path / "clean")
    with safe_open(path, "pt") as file:
        assert Spread(**json.loads(file.metadata()[overlay_weights.CLEAN])).tail > 0
    assert load_file(path).keys() == network.state_dict().keys()
