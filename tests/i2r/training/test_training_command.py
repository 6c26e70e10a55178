"""A few steps of training: resumed, saved, loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from i2r.errors import SettingsError
from i2r.prior.network import load_prior
from i2r.training.__main__ import Recipe, Trainer, batches, build_network, build_scheduler, main
from i2r.training.photographs import Photographs

CPU = torch.device("cpu")
RECIPE = Recipe(crop=16, batch=2, warmup_steps=1)


@pytest.fixture(scope="module")
def data(samples: Path) -> Path:
    """The folder of the sample photographs, whose short sides reach 256 px."""
    return samples / "clean"


@pytest.fixture(scope="module")
def photographs(data: Path) -> Photographs:
    return Photographs(data, RECIPE.crop, short_sides=(64,))


def _steps(photographs: Photographs, trainer: Trainer, count: int) -> list[float]:
    """Train for so many steps and save."""
    training = trainer.train(batches(photographs, trainer), minutes=60)
    losses = [next(training) for _ in range(count)]
    training.close()
    trainer.save()
    return losses


@pytest.fixture(scope="module")
def trained(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior's folder after three steps."""
    out = tmp_path_factory.mktemp("training") / "prior"
    losses = _steps(photographs, Trainer(RECIPE, out, CPU), 3)
    assert np.isfinite(losses).all()
    return out


def test_the_saved_folder_is_a_prior(trained: Path) -> None:
    prior = load_prior(str(trained), CPU)
    assert prior.prediction_type == "v_prediction"
    assert prior.stride == 8
    x = torch.rand(1, 3, 16, 16)
    assert prior.eps(x, torch.tensor([0.1])).isfinite().all()
    assert not list(trained.rglob("*.bin"))


def test_the_folder_holds_the_average_in_half_precision(trained: Path) -> None:
    trainer = Trainer(RECIPE, trained, CPU)
    trainer.ema.copy_to(trainer.network.parameters())
    saved = load_prior(str(trained), CPU, precision="float32").network
    for (name, wanted), stored in zip(trainer.network.named_parameters(), saved.parameters(), strict=True):
        torch.testing.assert_close(stored, wanted.half().float(), rtol=0, atol=0, msg=name)


def test_a_resumed_run_goes_on_where_it_stopped(trained: Path, photographs: Photographs) -> None:
    first = Trainer(RECIPE, trained, CPU)
    assert first.step == 3
    assert first.seconds > 0
    optimiser = first.optimiser.state_dict()["state"]
    assert {int(state["step"]) for state in optimiser.values()} == {3}
    _steps(photographs, first, 1)
    second = Trainer(RECIPE, trained, CPU)
    assert second.step == 4
    assert second.seconds >= first.seconds
    for ours, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert json.loads((trained / "training" / "record.json").read_text())["steps"] == 4


def test_training_ends_with_its_time(photographs: Photographs, tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path, CPU)
    losses = list(trainer.train(batches(photographs, trainer), minutes=1e-6))
    assert len(losses) == trainer.step == 1
    ended = Trainer(RECIPE, tmp_path, CPU)
    assert list(ended.train(batches(photographs, ended), minutes=1e-6)) == []


def test_the_learning_rate_warms_up_and_falls(tmp_path: Path) -> None:
    trainer = Trainer(Recipe(warmup_steps=10, cooldown=0.5, learning_rate=1.0), tmp_path, CPU)
    assert trainer.rate(0.0) == pytest.approx(0.1)
    trainer.step = 100
    assert [trainer.rate(progress) for progress in (0.0, 0.5, 0.75, 1.0)] == pytest.approx([1, 1, 0.5, 0])


def test_timesteps_lie_in_the_schedule(tmp_path: Path) -> None:
    trainer = Trainer(RECIPE, tmp_path, CPU)
    timesteps = trainer.draw_timesteps(2000)
    assert timesteps.min() >= 0
    assert timesteps.max() <= len(trainer.schedule) - 1
    levels = trainer.schedule.sigma(timesteps).log().median().exp().item()
    assert 0.1 < levels < 0.3


def test_the_network_and_its_schedule_are_those_of_the_built_in_prior() -> None:
    prior = load_prior("photo-64", CPU)
    assert (
        dict(prior.network.config).items()
        >= {
            key: value
            for key, value in dict(build_network().config).items()
            if not key.startswith("_") and not isinstance(value, tuple)
        }.items()
    )
    assert build_scheduler().config["prediction_type"] == prior.prediction_type


def test_the_command_explains_itself() -> None:
    command = [sys.executable, "-m", "i2r.training.__main__", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--minutes" in done.stdout


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no photograph"):
        main(["--data", str(tmp_path), "--out", str(tmp_path / "prior")])
    assert not (tmp_path / "prior").exists()
