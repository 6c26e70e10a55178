"""A training run: a network with its averaged weights, optimiser, time budget and resumable state."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Training settings; with the photographs and the time, they decide the trained weights."""

    crop: int
    batch: int
    learning_rate: float
    warmup_steps: int
    cooldown: float
    """Fraction of the time, at the end, over which the learning rate falls to zero."""
    ema_decay: float = 0.999
    grey: float
    """Fraction of the crops converted to grey, since archives contain grey photographs."""
    seed: int = 0


class TrainingRun(ABC, Generic[Batch]):
    """A network in training, which resumes from the state in its folder if there is one.

    Args:
        network: the module to train; an exponential moving average of its weights is kept.
        pace: training settings.
        folder: folder for the state.
        device: where it is trained.
    """

    def __init__(self, network: Any, pace: Pace, folder: Path, device: torch.device) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)
        self.pace, self.folder, self.device = pace, folder, device
        self.ema = EMAModel(self.network.parameters(), decay=pace.ema_decay)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), pace.learning_rate, weight_decay=1e-2)
        self.step, self.seconds = 0, 0.0
        self.losses: list[tuple[int, float]] = []
        """Pairs of a step and the mean loss of the steps since the last entry."""
        if self.checkpoint.exists():
            self._resume()

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of a batch, which training minimises."""

    @abstractmethod
    def export(self) -> None:
        """Write the network for use; called while its weights are the averaged ones."""

    @property
    def checkpoint(self) -> Path:
        return self.folder / "state.pt"

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]
        logger.info("resumed at step %d", self.step)

    def save(self) -> None:
        """Write the resumable state, then the averaged weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
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
        with self.averaged():
            self.export()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the network's weights by their average within the context."""
        self.ema.store(self.network.parameters())
        self.ema.copy_to(self.network.parameters())
        try:
            yield
        finally:
            self.ema.restore(self.network.parameters())

    def rate(self, progress: float) -> float:
        """Learning rate: linear warm-up in steps, then constant, then linear decay in time.

        Args:
            progress: in [0, 1], of the whole training.
        """
        warm = min(1.0, (self.step + 1) / self.pace.warmup_steps)
        cool = min(1.0, max(0.0, (1 - progress) / self.pace.cooldown))
        return self.pace.learning_rate * warm * cool

    def train_step(self, batch: Batch, progress: float) -> float:
        """Take one step of AdamW; returns the loss.

        Args:
            batch: argument of :meth:`loss`.
            progress: in [0, 1], of the whole training.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(progress)
        loss = self.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.ema.step(self.network.parameters())
        self.step += 1
        return loss.item()

    def train(self, batches: Iterable[Batch], minutes: float, save_every: float = 5.0) -> Iterator[float]:
        """Train until ``minutes`` of training have passed in all, yielding each step's loss.

        Saves every ``save_every`` minutes and at the end.
        """
        budget, saved, started = 60 * minutes, self.seconds, time.monotonic() - self.seconds
        for batch in batches if self.seconds < budget else ():
            yield self.train_step(batch, self.seconds / budget)
            self.seconds = time.monotonic() - started
            if self.seconds >= budget:
                break
            if self.seconds - saved > 60 * save_every:
                self.save()
                saved = self.seconds
        self.save()

    def run(self, batches: Iterable[Batch], minutes: float, every: int = 200) -> None:
        """Train for ``minutes`` in all, logging and recording the mean loss every ``every`` steps."""
        window: list[float] = []
        for loss in self.train(batches, minutes):
            window.append(loss)
            if len(window) == every:
                self.losses.append((self.step, round(sum(window) / every, 5)))
                logger.info("step %d  %.1f min  loss %.4f", self.step, self.seconds / 60, self.losses[-1][1])
                window.clear()
