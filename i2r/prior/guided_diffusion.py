"""Checkpoints of OpenAI's guided-diffusion (Dhariwal and Nichol, arXiv 2105.05233) as priors.

Such a file holds the weights alone. The architecture is derived from their names and shapes. What those leave
open, such as the width of an attention head and the order of queries, keys and values, must be specified.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from i2r.errors import PriorError
from i2r.prior.folder import INDEX

Weights = Mapping[str, Tensor]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


@dataclass(frozen=True)
class Unsaid:
    """Properties that a checkpoint does not contain; the defaults are those of the published 256x256 models.

    Attributes:
        head_channels: width of an attention head.
        new_attention_order: whether queries, keys and values were split before the heads.
        beta_schedule: ``linear``, or ``squaredcos_cap_v2``, which guided-diffusion calls cosine.
        timesteps: number of timesteps of the diffusion.
    """

    head_channels: int = 64
    new_attention_order: bool = False
    beta_schedule: str = "linear"
    timesteps: int = 1000


def convert_checkpoint(checkpoint: Path, out: Path, unsaid: Unsaid | None = None) -> None:
    """Convert a checkpoint to a prior's folder, which is written completely or not at all.

    Args:
        checkpoint: a ``.pt`` file, from which only tensors are read, or a ``.safetensors`` file.
        out: the folder, which must not exist.
        unsaid: the properties that the checkpoint does not contain.

    Raises:
        PriorError: the checkpoint cannot be read or has another architecture, or ``out`` exists.
    """
    unsaid = unsaid or Unsaid()
    if out.exists():
        raise PriorError(f"{out} exists: give a new folder")
    network = build_network(read_weights(checkpoint), unsaid)
    has_variance = network.config["out_channels"] > network.config["in_channels"]
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        network.save_pretrained(partial / "unet")
        DDPMScheduler(
            num_train_timesteps=unsaid.timesteps,
            beta_schedule=unsaid.beta_schedule,
            beta_start=0.1 / unsaid.timesteps,
            beta_end=20 / unsaid.timesteps,
            variance_type="learned_range" if has_variance else "fixed_large",
        ).save_pretrained(partial / "scheduler")
        index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
        index["scheduler"] = ["diffusers", "DDPMScheduler"]
        (partial / INDEX).write_text(json.dumps(index, indent=2) + "\n")
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_weights(checkpoint: Path) -> Weights:
    """Read the tensors of a checkpoint, by name, without executing pickled code.

    Raises:
        PriorError: the file is damaged, or holds more than tensors.
    """
    try:
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise PriorError(
            f"the checkpoint {checkpoint} cannot be read ({reason}): copy it again, or give its weights alone"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise PriorError(f"the checkpoint {checkpoint} is no table of tensors: give the weights alone")
    return weights


def build_network(weights: Weights, unsaid: Unsaid) -> UNet2DModel:
    """Build the equivalent diffusers network and load the weights.

    Raises:
        PriorError: the weights are of another architecture.
    """
    try:
        plan = _read_plan(weights)
        config = _configuration(weights, plan, unsaid)
        network = UNet2DModel(**config)
        network.load_state_dict(dict(_renamed(weights, plan, unsaid)))
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise PriorError(
            f"the checkpoint is no unconditional network of guided-diffusion ({reason}): "
            "give one of its 256x256_diffusion_uncond kind"
        ) from error
    return network


@dataclass(frozen=True)
class Plan:
    """The architecture, as derived from the names and shapes of the weights.

    Attributes:
        layers: residual blocks on each level of the encoder.
        channels: channels of each level.
        attention: whether each level has attention.
    """

    layers: int
    channels: tuple[int, ...]
    attention: tuple[bool, ...]


def _read_plan(weights: Weights) -> Plan:
    if "label_emb.weight" in weights:
        raise ValueError("it is conditioned on the class of an image")
    layers = _layers(weights)
    levels = range(1, _count(weights, "input_blocks"), layers + 1)
    channels = tuple(len(weights[f"input_blocks.{first}.0.out_layers.3.weight"]) for first in levels)
    attention = tuple(f"input_blocks.{first}.1.qkv.weight" in weights for first in levels)
    if weights["time_embed.0.weight"].shape[1] != channels[0]:
        raise ValueError("its first level is not as wide as its embedding of time")
    return Plan(layers, channels, attention)


def _count(weights: Weights, name: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in weights if key.startswith(f"{name}.")), default=-1)


def _layers(weights: Weights) -> int:
    """Count the residual blocks on each level of the encoder.

    The encoder does not show it: a residual block that downsamples has the same weights as any other. A level
    of the decoder has one block more, and the last of them also upsamples.
    """
    for block in range(_count(weights, "output_blocks")):
        last = 2 if f"output_blocks.{block}.1.qkv.weight" in weights else 1
        if any(f"output_blocks.{block}.{last}.{part}.weight" in weights for part in ("in_layers.2", "conv")):
            return block
    raise ValueError("it has one level only")


def _configuration(weights: Weights, plan: Plan, unsaid: Unsaid) -> dict[str, Any]:
    by_resnet = not any(key.startswith("input_blocks.") and ".op." in key for key in weights)
    shifts = len(weights["input_blocks.1.0.emb_layers.1.weight"]) == 2 * plan.channels[0]
    plain = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if by_resnet else ("DownBlock2D", "UpBlock2D")
    )
    attending = [width for width, attends in zip(plan.channels, plan.attention, strict=True) if attends]
    if any(width % unsaid.head_channels for width in (*attending, plan.channels[-1])):
        raise ValueError(f"its channels do not divide into heads of {unsaid.head_channels}")
    return {
        "in_channels": weights["input_blocks.0.0.weight"].shape[1],
        "out_channels": len(weights["out.2.weight"]),
        "block_out_channels": plan.channels,
        "layers_per_block": plan.layers,
        "down_block_types": [("AttnDownBlock2D" if a else plain[0]) for a in plan.attention],
        "up_block_types": [("AttnUpBlock2D" if a else plain[1]) for a in reversed(plan.attention)],
        "downsample_type": "resnet" if by_resnet else "conv",
        "upsample_type": "resnet" if by_resnet else "conv",
        "attention_head_dim": unsaid.head_channels,
        "attn_norm_num_groups": 32,
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift" if shifts else "default",
        "freq_shift": 0,
        "flip_sin_to_cos": True,
    }


def _renamed(weights: Weights, plan: Plan, unsaid: Unsaid) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor under its diffusers name."""
    homes = dict(_homes(plan))
    for key, tensor in weights.items():
        module, kind = key.rsplit(".", 1)
        if module in _ENDS:
            yield f"{_ENDS[module]}.{kind}", tensor
            continue
        block, place, part = _split(module)
        home = homes[f"{block}.{place}"]
        if part == "qkv":
            for name, rows in zip(
                ("to_q", "to_k", "to_v"), _queries_keys_values(tensor, unsaid), strict=True
            ):
                yield f"{home}.{name}.{kind}", rows
        elif part == "proj_out":
            yield f"{home}.to_out.0.{kind}", tensor.squeeze(-1) if kind == "weight" else tensor
        elif part == "norm":
            yield f"{home}.group_norm.{kind}", tensor
        elif part in ("op", "conv"):
            yield f"{home}.conv.{kind}", tensor
        else:
            yield f"{home}.{_RESNET[part]}.{kind}", tensor


def _split(module: str) -> tuple[str, str, str]:
    """Split ``input_blocks.3.0.in_layers.2`` into block, place in the block, and part."""
    parts = module.split(".")
    blocks = 1 if parts[0] == "middle_block" else 2
    return ".".join(parts[:blocks]), parts[blocks], ".".join(parts[blocks + 1 :])


def _homes(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the name of every residual block, attention and resampling here and in diffusers."""
    levels = len(plan.channels)
    for level in range(levels):
        attention = plan.attention[levels - 1 - level]
        for layer in range(plan.layers):
            block = 1 + level * (plan.layers + 1) + layer
            yield f"input_blocks.{block}.0", f"down_blocks.{level}.resnets.{layer}"
            yield f"input_blocks.{block}.1", f"down_blocks.{level}.attentions.{layer}"
        block = (level + 1) * (plan.layers + 1)
        yield f"input_blocks.{block}.0", f"down_blocks.{level}.downsamplers.0"
        for layer in range(plan.layers + 1):
            block = level * (plan.layers + 1) + layer
            second = f"attentions.{layer}" if attention else "upsamplers.0"
            yield f"output_blocks.{block}.0", f"up_blocks.{level}.resnets.{layer}"
            yield f"output_blocks.{block}.1", f"up_blocks.{level}.{second}"
            yield f"output_blocks.{block}.2", f"up_blocks.{level}.upsamplers.0"
    yield "middle_block.0", "mid_block.resnets.0"
    yield "middle_block.1", "mid_block.attentions.0"
    yield "middle_block.2", "mid_block.resnets.1"


def _queries_keys_values(tensor: Tensor, unsaid: Unsaid) -> Iterator[Tensor]:
    """Split the rows of (3C, C, 1) weights or (3C,) biases into queries, keys and values of all heads."""
    rows = tensor.flatten(1) if tensor.ndim == 3 else tensor
    head = unsaid.head_channels
    heads = len(rows) // (3 * head)
    order = (3, heads, head) if unsaid.new_attention_order else (heads, 3, head)
    split = rows.unflatten(0, order)
    for part in split.unbind(0 if unsaid.new_attention_order else 1):
        yield part.flatten(0, 1).contiguous()
