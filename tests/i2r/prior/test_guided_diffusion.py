"""A converted checkpoint gives what the network that it came from gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from adm import Adm
from safetensors.torch import save_file
from torch import Tensor

from i2r.errors import PriorError
from i2r.prior.folder import PriorFolder
from i2r.prior.guided_diffusion import Unsaid, build_network, convert_checkpoint
from i2r.prior.network import load_prior

CPU = torch.device("cpu")
TOLERANCE = 2e-5
"""Largest difference allowed between outputs of unit size: float32 sums in another order."""


def _made(adm: Adm) -> tuple[Tensor, Tensor, Tensor]:
    """A sample, its timesteps and what the network says of them."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    timestep = torch.tensor([3.0, 873.5])
    return x, timestep, adm(x, timestep)


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"new_order": True},
        {"by_resnet": False, "layers": 1},
        {"by_resnet": False, "new_order": True, "attention": frozenset({1, 2})},
        {"shifts": False, "attention": frozenset(), "layers": 3, "multipliers": (1, 2)},
        {"attention": frozenset({0, 1, 2}), "head": 16, "layers": 1},
    ],
    ids=str,
)
def test_the_converted_network_is_the_original(kind: dict[str, Any]) -> None:
    adm = Adm(**kind)
    x, timestep, wanted = _made(adm)
    network = build_network(adm.weights, Unsaid(adm.head, adm.new_order)).eval()
    with torch.no_grad():
        given = network(x, timestep).sample
    assert wanted.std() > 0.3
    assert (given - wanted).abs().max() < TOLERANCE


@pytest.mark.parametrize("wrong", [Unsaid(32, True), Unsaid(64, False)])
def test_what_is_not_said_matters(wrong: Unsaid) -> None:
    adm = Adm()
    x, timestep, wanted = _made(adm)
    with torch.no_grad():
        given = build_network(adm.weights, wrong).eval()(x, timestep).sample
    assert (given - wanted).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_checkpoint_becomes_a_prior(tmp_path: Path, suffix: str) -> None:
    adm = Adm(layers=1)
    x, _, _ = _made(adm)
    checkpoint = tmp_path / f"model{suffix}"
    (torch.save if suffix == ".pt" else save_file)(adm.weights, checkpoint)
    convert_checkpoint(checkpoint, tmp_path / "prior", Unsaid(head_channels=32))
    found = PriorFolder(tmp_path / "prior").check()
    assert found["channels"] == "3 in, 6 out, half of them variances: left out"
    assert found["schedule"] == "DDPMScheduler, linear betas, 1000 timesteps"
    prior = load_prior(str(tmp_path / "prior"), CPU)
    assert prior.stride == 4
    level = prior.schedule.sigma(torch.tensor([500.0]))
    noise = adm(x / torch.sqrt(1 + level**2), torch.tensor([500.0]))[:, :3]
    # The prior computes in bfloat16.
    torch.testing.assert_close(prior.eps(x, level.expand(2)), noise, atol=0.1, rtol=0.05)


def _without(weights: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if name != key}


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    adm = Adm(layers=1)
    _made(adm)
    for weights, reason in (
        (adm.weights | {"label_emb.weight": torch.zeros(10, 256)}, "on the class"),
        (adm.weights | {"input_blocks.1.0.other.weight": torch.zeros(1)}, "other"),
        (adm.weights | {"time_embed.0.weight": torch.zeros(256, 128)}, "embedding of time"),
        (_without(adm.weights, "middle_block.1.qkv.weight"), "Missing key"),
        ({"model.weight": torch.zeros(1)}, "one level only"),
    ):
        with pytest.raises(PriorError, match=f"no unconditional network .*{reason}"):
            build_network(weights, Unsaid(head_channels=32))
    with pytest.raises(PriorError, match="do not divide into heads of 48"):
        build_network(adm.weights, Unsaid(head_channels=48))


class Trap:
    """What an unpickler would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_nothing_of_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"trap": Trap()}, tmp_path / "model.pt")
    with pytest.raises(PriorError, match="cannot be read"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "prior")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PriorError, match=r"cannot be read .* copy it again"):
            convert_checkpoint(tmp_path / name, tmp_path / "prior")
    with pytest.raises(PriorError, match="cannot be read"):
        convert_checkpoint(tmp_path / "nowhere.pt", tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


def test_a_list_of_tensors_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "model.pt")
    with pytest.raises(PriorError, match="no table of tensors"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "prior")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    with pytest.raises(PriorError, match="exists: give a new folder"):
        convert_checkpoint(tmp_path / "model.pt", tmp_path / "prior")
