"""The self-test lets the built-in prior pass, and stops every way of reading it wrongly."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from i2r.diffusion.noise_schedule import NoiseSchedule
from i2r.errors import PriorError
from i2r.prior.folder import PREDICTION_TYPES
from i2r.prior.network import Prior, load_prior
from i2r.prior.selftest import SELF_TEST, self_test

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("photo-64", CPU)


class Retrained(nn.Module):
    """The built-in prior's network, as if it had been trained to predict something else."""

    def __init__(self, prior: Prior, prediction_type: str) -> None:
        super().__init__()
        self.prior, self.prediction_type = prior, prediction_type
        self.config = prior.network.config

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        schedule = self.prior.schedule
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule.alpha_sigma(timestep))
        eps = self.prior.eps(sample / alpha, schedule.sigma(timestep))
        x0 = (sample - sigma * eps) / alpha
        return UNet2DOutput(
            {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[self.prediction_type]
        )


def test_the_built_in_prior_denoises(prior: Prior) -> None:
    left = self_test(prior)
    assert tuple(left) == SELF_TEST.levels
    assert all(0 < share < 0.05 for share in left.values())


@pytest.mark.parametrize("trained", PREDICTION_TYPES)
@pytest.mark.parametrize("said", PREDICTION_TYPES)
def test_a_network_is_read_as_it_was_trained_or_not_at_all(prior: Prior, trained: str, said: str) -> None:
    read = Prior(Retrained(prior, trained), prior.schedule, said, name="retrained", sha256="", device=CPU)
    if said == trained:
        assert self_test(read) == pytest.approx(self_test(prior), rel=0.2)
        return
    with pytest.raises(PriorError, match=f"does not denoise|denoises better read as {trained}"):
        self_test(read)


def test_random_weights_do_not_denoise(tiny: Prior) -> None:
    with pytest.raises(PriorError, match="the prior tiny does not denoise"):
        self_test(tiny)


def test_numbers_that_are_none_do_not_denoise(prior: Prior) -> None:
    class Nothing(Retrained):
        def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
            return UNet2DOutput(torch.full_like(sample, float("nan")))

    broken = copy.copy(prior)
    broken.network = Nothing(prior, "epsilon")
    with pytest.raises(PriorError, match="leaves nan%"):
        self_test(broken)


def test_another_schedule_does_not_denoise(prior: Prior) -> None:
    other = copy.copy(prior)
    other.schedule = NoiseSchedule(prior.schedule.log_sigmas - 4)
    with pytest.raises(PriorError, match="does not denoise"):
        self_test(other)
