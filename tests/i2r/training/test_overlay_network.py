"""A few steps of training: what is learnt from, resumed, saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from i2r.errors import SettingsError
from i2r.screening import overlay_weights
from i2r.screening.overlays import OverlayNetwork
from i2r.training.hard_negatives import HardNegatives
from i2r.training.overlay_network import Drawn, Recipe, Trainer, balanced_loss, main
from i2r.training.photographs import Photographs

RECIPE = Recipe(crop=32, batch=4, warmup_steps=1)


@pytest.fixture(scope="module")
def photographs(samples: Path) -> Photographs:
    return Photographs(samples / "clean", RECIPE.crop, short_sides=(64,))


def _steps(photographs: Photographs, trainer: Trainer, count: int) -> list[float]:
    training = trainer.train(Drawn(photographs, HardNegatives(), RECIPE, trainer.step), minutes=60)
    losses = [next(training) for _ in range(count)]
    training.close()
    trainer.save()
    return losses


def test_batches_are_drawn_anew_and_again_the_same(photographs: Photographs) -> None:
    first, again, later = (iter(Drawn(photographs, HardNegatives(), RECIPE, start)) for start in (0, 0, 5))
    planes, covered = next(first)
    assert planes.shape == (4, 52, 16, 16)
    assert covered.shape == (4, 32, 32)
    assert torch.equal(planes, next(again)[0])
    assert not torch.equal(planes, next(first)[0])
    assert not torch.equal(planes, next(later)[0])


def test_what_is_covered_weighs_the_same_however_little_it_is() -> None:
    covered = torch.zeros(2, 8, 8)
    covered[0, 0, 0] = 1
    covered[1, :4] = 1
    wrong = torch.zeros(2, 8, 8)  # log 2 everywhere
    assert balanced_loss(wrong, covered, 0.1).item() == pytest.approx(1.1 * np.log(2))
    sure = torch.where(covered > 0, 20.0, -20.0)
    assert balanced_loss(sure, covered, 0.1).item() == pytest.approx(0, abs=1e-6)
    missed = sure.clone()
    missed[0, 0, 0] = -5
    other = sure.clone()
    other[1, :4] = -5
    losses = [balanced_loss(logits, covered, 0.1).item() for logits in (missed, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_nothing_is_learnt_where_nothing_is_known() -> None:
    covered = torch.full((1, 4, 4), torch.nan)
    covered[0, 0] = 0
    logits = torch.randn(1, 4, 4, requires_grad=True)
    balanced_loss(logits, covered, 0.1).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().min() > 0
    assert logits.grad[0, 1:].abs().max() == 0


def test_a_resumed_run_goes_on_where_it_stopped(photographs: Photographs, tmp_path: Path) -> None:
    losses = _steps(photographs, Trainer(RECIPE, tmp_path), 3)
    assert np.isfinite(losses).all()
    first = Trainer(RECIPE, tmp_path)
    assert first.step == 3
    _steps(photographs, first, 1)
    second = Trainer(RECIPE, tmp_path)
    assert second.step == 4
    assert second.seconds >= first.seconds
    for ours, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_is_saved_in_half_precision(photographs: Photographs, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    _steps(photographs, trainer, 2)
    saved = load_file(tmp_path / overlay_weights.PATH.name)
    assert saved.keys() == OverlayNetwork().state_dict().keys()
    trainer.ema.copy_to(trainer.network.parameters())
    for name, wanted in trainer.network.named_parameters():
        torch.testing.assert_close(saved[name], wanted.half(), rtol=0, atol=0, msg=name)


def test_what_is_seen_often_is_learnt(photographs: Photographs, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    batch = next(iter(Drawn(photographs, HardNegatives(), RECIPE, 0)))
    losses = [trainer.train_step(batch, 0.0) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no photograph"):
        main(["--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
