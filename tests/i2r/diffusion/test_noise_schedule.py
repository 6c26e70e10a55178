"""Laws of the noise schedule."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st

from i2r.diffusion.noise_schedule import NoiseSchedule

SCHEDULES = {
    name: NoiseSchedule.from_alphas_cumprod(DDIMScheduler(**options).alphas_cumprod)
    for name, options in {
        "linear": {},
        "scaled": {"beta_schedule": "scaled_linear"},
        "cosine": {"beta_schedule": "squaredcos_cap_v2"},
        "zero terminal SNR": {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    }.items()
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@given(timestep=st.floats(0, 999, width=32))
def test_timestep_undoes_sigma(schedule: NoiseSchedule, timestep: float) -> None:
    start = torch.tensor([timestep])
    back = schedule.timestep(schedule.sigma(start))
    # Neighbouring levels can lie close together: what has to come back is the level.
    torch.testing.assert_close(schedule.sigma(back).log(), schedule.sigma(start).log(), atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(back, start, atol=0.02, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_whole_timesteps_have_the_checkpoints_levels(schedule: NoiseSchedule) -> None:
    timesteps = torch.arange(1000.0)
    torch.testing.assert_close(schedule.sigma(timesteps).log(), schedule.log_sigmas, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(schedule.timestep(schedule.log_sigmas.exp()), timesteps, atol=0.02, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_noise_grows_and_is_continuous(schedule: NoiseSchedule) -> None:
    timesteps = torch.linspace(0, 999, 3001)
    steps = schedule.sigma(timesteps).log().diff()
    assert (steps >= 0).all()
    assert steps.max() <= schedule.log_sigmas.diff().max()
    assert schedule.sigma(timesteps[:1]).item() == pytest.approx(schedule.sigma_min)
    assert schedule.sigma(timesteps[-1:]).item() == pytest.approx(schedule.sigma_max)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_alpha_and_sigma_preserve_variance(schedule: NoiseSchedule) -> None:
    timesteps = torch.linspace(0, 999, 777)
    alpha, sigma = schedule.alpha_sigma(timesteps)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(777))
    torch.testing.assert_close(sigma / alpha, schedule.sigma(timesteps))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_levels_beyond_the_range_are_held_to_it(schedule: NoiseSchedule) -> None:
    assert schedule.timestep(torch.tensor([0.0, 1e-9, 1e9])).tolist() == [0, 0, 999]


def test_zero_terminal_snr_is_finite() -> None:
    alphas = torch.linspace(0.999, 0.0, 50)
    schedule = NoiseSchedule.from_alphas_cumprod(alphas)
    assert schedule.log_sigmas.isfinite().all()
    assert schedule.sigma_max > 1e3


@pytest.mark.parametrize("alphas", [[0.9, 0.5, 0.6], [0.9, 0.5, 0.5], [0.1, 0.5, 0.9]])
def test_noise_that_does_not_grow_is_refused(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="must grow"):
        NoiseSchedule.from_alphas_cumprod(torch.tensor(alphas))
