"""What a prior answers, and which folders it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, ScoreSdeVeScheduler, UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from i2r.diffusion.noise_schedule import NoiseSchedule
from i2r.errors import PriorError
from i2r.prior.folder import PREDICTION_TYPES, PriorFolder, built_in_priors, digest_prior, find_prior
from i2r.prior.network import Prior, load_prior, noise_of, output_of

CPU = torch.device("cpu")
WEIGHTS = "diffusion_pytorch_model.safetensors"


class WhiteImages(nn.Module):
    """A network that knows images of independent N(0, 1) pixels exactly, whatever it is asked to predict."""

    def __init__(self, schedule: NoiseSchedule, prediction_type: str) -> None:
        super().__init__()
        self.schedule, self.prediction_type = schedule, prediction_type

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule.alpha_sigma(timestep))
        # The variance-preserving sample has unit variance here, so that both posterior means are linear.
        x0, eps = alpha * sample, sigma * sample
        return UNet2DOutput(
            {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[self.prediction_type]
        )


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A prior's folder that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "prior"))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
def test_every_parametrisation_answers_with_the_noise(prediction_type: str, beta_schedule: str) -> None:
    schedule = NoiseSchedule.from_alphas_cumprod(DDIMScheduler(beta_schedule=beta_schedule).alphas_cumprod)
    network = WhiteImages(schedule, prediction_type)
    exact = {"name": "white", "sha256": "", "device": CPU, "precision": "float32"}
    prior = Prior(network, schedule, prediction_type, **exact)
    sigma = torch.tensor([0.05, 0.3, 1.0, 10.0])
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    level = sigma.view(-1, 1, 1, 1)
    torch.testing.assert_close(prior.eps(x, sigma), level * x / (1 + level**2), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_what_was_said_follows_from_the_noise_that_was_found(prediction_type: str) -> None:
    output, sample = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor(0.8), torch.tensor(0.6)
    noise = noise_of(output, sample, *levels, prediction_type)
    torch.testing.assert_close(output_of(noise, sample, *levels, prediction_type), output)


def test_an_unknown_prediction_type_is_refused(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", prediction_type="score")
    with pytest.raises(PriorError, match="'score' is none of epsilon, v_prediction, sample"):
        load_prior(str(folder), CPU)


def test_a_prior_is_what_its_folder_says(folder: Path, tiny: Prior) -> None:
    prior = load_prior(str(folder), CPU)
    assert prior.name == "prior"
    assert prior.sha256 == tiny.sha256 == digest_prior(folder)
    assert prior.prediction_type == "v_prediction"
    assert prior.stride == 2
    assert prior.calibration == tiny.calibration
    x, sigma = torch.rand(2, 3, 32, 32), torch.tensor([0.1, 1.0])
    eps = prior.eps(x, sigma)
    assert eps.dtype == torch.float32
    assert torch.equal(eps, tiny.eps(x, sigma))
    assert not eps.requires_grad


def test_the_level_reaches_the_network(tiny: Prior) -> None:
    x = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    low, high = tiny.eps(x, torch.tensor([0.05, 1.0]))
    assert not torch.allclose(low, high, atol=1e-2)


def test_the_built_in_prior_is_found_by_name() -> None:
    assert "photo-64" in built_in_priors()
    assert find_prior("photo-64") == built_in_priors()["photo-64"]


def test_a_missing_prior_names_the_known_ones(tmp_path: Path) -> None:
    for name in ("no-such-prior", str(tmp_path)):
        with pytest.raises(PriorError, match=r"photo-64.*or a local folder"):
            load_prior(name, CPU)


@pytest.mark.parametrize("part", ["unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[1]", "\x00"])
def test_a_broken_configuration_is_refused(folder: Path, part: str, content: str | None) -> None:
    (folder / part).unlink()
    if content is not None:
        (folder / part).write_text(content)
    with pytest.raises(PriorError, match=f"{Path(part).name} is .*diffusers layout"):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize("size", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, size: int) -> None:
    weights = folder / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(PriorError, match=r"cannot be read .*: copy them again"):
        load_prior(str(folder), CPU)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", block_out_channels=[16, 32])
    with pytest.raises(PriorError, match="copy them again"):
        load_prior(str(folder), CPU)


def test_another_kind_of_network_is_refused(folder: Path) -> None:
    _edit(folder / "unet" / "config.json", _class_name="UNet2DConditionModel")
    with pytest.raises(PriorError, match="UNet2DConditionModel: only UNet2DModel"):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"in_channels": 4}, "4 channels in, 3 out: only RGB or gray priors"),
        ({"out_channels": 5}, "3 channels in, 5 out: it must give the noise"),
        ({"num_class_embeds": 10}, "is conditioned on the class"),
        ({"class_embed_type": "timestep"}, "is conditioned on the class"),
        ({"time_embedding_type": "learned"}, "whole timesteps only"),
        ({"time_embedding_type": "fourier"}, "must be one of ScoreSdeVeScheduler, KarrasVeScheduler"),
    ],
)
def test_a_network_that_wants_something_else_is_refused(
    folder: Path, changes: dict[str, Any], fault: str
) -> None:
    _edit(folder / "unet" / "config.json", **changes)
    with pytest.raises(PriorError, match=fault):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "was made for FlowMatchEuler"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "was made for CMStochastic"),
        ({"_class_name": None}, "was made for None"),
        ({"use_flow_sigmas": True}, "betas do not define"),
        ({"timestep_type": "continuous"}, "betas do not define"),
        ({"clip_sample": True, "clip_sample_range": 3.0}, "clips its images to 3"),
        ({"_class_name": "ScoreSdeVeScheduler", "sigma_min": 2, "sigma_max": 1}, "no levels from sigma_min"),
        ({"_class_name": "ScoreSdeVeScheduler", "sigma_min": "x"}, "no levels from sigma_min"),
    ],
)
def test_a_diffusion_of_another_kind_is_refused(folder: Path, changes: dict[str, Any], fault: str) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(PriorError, match=fault):
        load_prior(str(folder), CPU)


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_betas_of_every_kind_are_read(folder: Path, beta_schedule: str) -> None:
    DDPMScheduler(beta_schedule=beta_schedule).save_pretrained(folder / "scheduler")
    wanted = NoiseSchedule.from_alphas_cumprod(DDPMScheduler(beta_schedule=beta_schedule).alphas_cumprod)
    assert torch.equal(load_prior(str(folder), CPU).schedule.log_sigmas, wanted.log_sigmas)


def test_trained_betas_are_read(folder: Path) -> None:
    betas = torch.linspace(0.001, 0.05, 50).tolist()
    DDIMScheduler(trained_betas=betas).save_pretrained(folder / "scheduler")
    assert PriorFolder(folder).check()["schedule"] == "DDIMScheduler, trained betas, 50 timesteps"
    assert len(load_prior(str(folder), CPU).schedule) == 50


def test_the_variance_of_a_network_that_learned_it_is_left_out(folder: Path) -> None:
    rgb = load_prior(str(folder), CPU)
    weights = load_file(folder / "unet" / WEIGHTS)
    for key in ("conv_out.weight", "conv_out.bias"):
        weights[key] = torch.cat([weights[key], torch.full_like(weights[key], 7.0)])
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})
    _edit(folder / "unet" / "config.json", out_channels=6)
    x, sigma = torch.rand(1, 3, 32, 32), torch.tensor([0.3])
    torch.testing.assert_close(load_prior(str(folder), CPU).eps(x, sigma), rgb.eps(x, sigma))


def test_a_gray_network_sees_the_channels_one_by_one(folder: Path) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :1].contiguous()
    for key in ("conv_out.weight", "conv_out.bias"):
        weights[key] = weights[key][:1].contiguous()
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})
    _edit(folder / "unet" / "config.json", in_channels=1, out_channels=1)
    prior = load_prior(str(folder), CPU)
    x, sigma = torch.rand(2, 3, 32, 32), torch.tensor([0.1, 1.0])
    eps = prior.eps(x, sigma)
    assert eps.shape == x.shape
    for channel in range(3):
        alone = prior.eps(x[:, channel : channel + 1], sigma)
        torch.testing.assert_close(eps[:, channel : channel + 1], alone, atol=0.02, rtol=0.02)


def test_files_may_lie_in_the_folder_itself(folder: Path) -> None:
    nested = load_prior(str(folder), CPU)
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    flat = load_prior(str(folder), CPU)
    x, sigma = torch.rand(1, 3, 32, 32), torch.tensor([0.1])
    assert torch.equal(flat.eps(x, sigma), nested.eps(x, sigma))
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert digest_prior(folder) != flat.sha256


class WhiteScore(nn.Module):
    """The exact score of images in [0, 1] whose pixels are N(0.5, 0.25) before noise."""

    def forward(self, sample: Tensor, sigma: Tensor) -> UNet2DOutput:
        return UNet2DOutput(-(sample - 0.5) / (0.25 + sigma.view(-1, 1, 1, 1) ** 2))


def test_a_score_of_images_in_zero_to_one_answers_with_the_noise() -> None:
    exact = {"name": "white", "sha256": "", "device": CPU, "precision": "float32"}
    prior = Prior(WhiteScore(), NoiseSchedule.between(0.02, 100, 100), "score", **exact)
    sigma = torch.tensor([0.05, 0.3, 1.0, 10.0])
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    level = sigma.view(-1, 1, 1, 1)
    torch.testing.assert_close(prior.eps(x, sigma), level * x / (1 + level**2), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("embedding", ["fourier", "positional"])
def test_a_score_network_is_what_its_folder_says(folder: Path, embedding: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DModel(
            sample_size=32,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            time_embedding_type=embedding,
            down_block_types=("SkipDownBlock2D",) * 2,
            up_block_types=("SkipUpBlock2D",) * 2,
        )
    network.save_pretrained(folder / "unet")
    ScoreSdeVeScheduler(sigma_max=50).save_pretrained(folder / "scheduler")
    assert PriorFolder(folder).check()["schedule"] == "ScoreSdeVeScheduler, noise levels 0.02 to 100"
    prior = load_prior(str(folder), CPU)
    assert prior.prediction_type == "score"
    assert prior.schedule.sigma_max == pytest.approx(100)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        score = network((x + 1) / 2, torch.tensor([0.15])).sample
    torch.testing.assert_close(prior.eps(x, torch.tensor([0.3])), -0.15 * score, atol=0.05, rtol=0.05)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    network = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    (folder / "unet" / WEIGHTS).unlink()
    network.save_pretrained(folder / "unet", safe_serialization=False)
    assert (folder / "unet" / "diffusion_pytorch_model.bin").exists()
    with pytest.raises(PriorError, match=r"no \.safetensors file"):
        load_prior(str(folder), CPU)


def test_a_prior_without_calibration_says_how_to_make_one(folder: Path) -> None:
    (folder / "calibration.json").unlink()
    prior = load_prior(str(folder), CPU)
    with pytest.raises(PriorError, match=r"run `i2r priors calibrate"):
        _ = prior.calibration


@pytest.mark.parametrize(
    "part", [f"unet/{WEIGHTS}", "unet/config.json", "scheduler/scheduler_config.json", "calibration.json"]
)
def test_any_byte_changes_the_digest(folder: Path, part: str) -> None:
    digests = {digest_prior(folder)}
    content = (folder / part).read_bytes()
    for position in (0, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / part).write_bytes(changed)
        digests.add(digest_prior(folder))
    (folder / part).write_bytes(content + b"\n")
    digests.add(digest_prior(folder))
    (folder / part).rename((folder / part).with_name("calibration.json.old"))
    digests.add(digest_prior(folder))
    assert len(digests) == 6
    assert all(len(digest) == 64 for digest in digests)


def test_the_digest_does_not_depend_on_where_the_folder_lies(folder: Path, tiny_folder: Path) -> None:
    assert digest_prior(folder) == digest_prior(tiny_folder)


def test_zero_terminal_snr_is_read_from_the_scheduler(folder: Path) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert load_prior(str(folder), CPU).schedule.sigma_max > 1e3


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "nope"},
        {"beta_start": "x"},
        {"beta_start": 0.02, "beta_end": -0.1},
        {"num_train_timesteps": 1},
    ],
)
def test_an_impossible_schedule_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(PriorError, match="scheduler"):
        load_prior(str(folder), CPU)


def test_missing_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / "unet" / WEIGHTS)  # safetensors.torch
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "unet" / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(PriorError, match="copy them again"):
        load_prior(str(folder), CPU)
