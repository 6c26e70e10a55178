"""The network of Dhariwal and Nichol (arXiv 2105.05233, sections 3 and appendix A) as one function of its
weights, which makes the weights as it goes: what a converter of checkpoints is held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Adm:
    """A small network with random weights under the names of a guided-diffusion checkpoint.

    Attributes:
        width: channels of the first level.
        multipliers: of the width, level by level.
        attention: levels that attend.
        layers: residual blocks on each level.
        head: channels of an attention head.
        new_order: queries, keys and values are split before the heads.
        by_resnet: residual blocks change the size, not convolutions.
        shifts: time scales and shifts after the second norm, instead of being added before it.
        weights: filled by the first call.
    """

    width: int = 64
    multipliers: tuple[int, ...] = (1, 1, 2)
    attention: frozenset[int] = frozenset({2})
    layers: int = 2
    head: int = 32
    new_order: bool = False
    by_resnet: bool = True
    shifts: bool = True
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        """(B, 3, H, W) at (B,) timesteps to (B, 6, H, W): noise and variance."""
        frequency = torch.exp(-math.log(10_000) * torch.arange(self.width // 2) / (self.width // 2))
        angle = timestep[:, None] * frequency
        time = F.silu(self._linear("time_embed.0", torch.cat([angle.cos(), angle.sin()], 1), 4 * self.width))
        time = F.silu(self._linear("time_embed.2", time, 4 * self.width))

        x = self._conv("input_blocks.0.0", x, self.width)
        skips, number, top = [x], 0, len(self.multipliers) - 1
        for level, multiplier in enumerate(self.multipliers):
            for _ in range(self.layers):
                number += 1
                x = self._block(f"input_blocks.{number}", x, time, multiplier * self.width, level)
                skips.append(x)
            if level < top:
                number += 1
                name = f"input_blocks.{number}.0"
                if self.by_resnet:
                    x = self._residual(name, x, time, x.shape[1], lambda x: F.avg_pool2d(x, 2))
                else:
                    x = self._conv(f"{name}.op", x, x.shape[1], stride=2)
                skips.append(x)
        x = self._residual("middle_block.0", x, time, x.shape[1])
        x = self._attend("middle_block.1", x)
        x = self._residual("middle_block.2", x, time, x.shape[1])
        number = -1
        for level in range(top, -1, -1):
            for layer in range(self.layers + 1):
                number += 1
                name = f"output_blocks.{number}"
                x = torch.cat([x, skips.pop()], 1)
                x = self._block(name, x, time, self.multipliers[level] * self.width, level)
                if level and layer == self.layers:
                    place = f"{name}.{2 if level in self.attention else 1}"
                    if self.by_resnet:
                        x = self._residual(place, x, time, x.shape[1], _double)
                    else:
                        x = self._conv(f"{place}.conv", _double(x), x.shape[1])
        return self._conv("out.2", F.silu(self._norm("out.0", x)), 6)

    def _block(self, name: str, x: Tensor, time: Tensor, channels: int, level: int) -> Tensor:
        x = self._residual(f"{name}.0", x, time, channels)
        return self._attend(f"{name}.1", x) if level in self.attention else x

    def _residual(
        self,
        name: str,
        x: Tensor,
        time: Tensor,
        channels: int,
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        change = resize or _same
        inner = change(F.silu(self._norm(f"{name}.in_layers.0", x)))
        inner = self._conv(f"{name}.in_layers.2", inner, channels)
        embedded = self._linear(f"{name}.emb_layers.1", time, channels * (2 if self.shifts else 1))[
            ..., None, None
        ]
        if self.shifts:
            scale, shift = embedded.chunk(2, 1)
            inner = self._norm(f"{name}.out_layers.0", inner) * (1 + scale) + shift
        else:
            inner = self._norm(f"{name}.out_layers.0", inner + embedded)
        inner = self._conv(f"{name}.out_layers.3", F.silu(inner), channels)
        x = change(x)
        return inner + (
            x if x.shape[1] == channels else self._conv(f"{name}.skip_connection", x, channels, 1)
        )

    def _attend(self, name: str, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        flat = self._norm(f"{name}.norm", x).flatten(2)
        mixed = F.conv1d(flat, *self._pair(f"{name}.qkv", (3 * channels, channels, 1)))
        heads = channels // self.head
        if self.new_order:
            q, k, v = mixed.view(batch, 3, heads, self.head, -1).unbind(1)
        else:
            q, k, v = mixed.view(batch, heads, 3, self.head, -1).unbind(2)
        attention = torch.einsum("bhcq,bhck->bhqk", q, k).div(math.sqrt(self.head)).softmax(-1)
        gathered = torch.einsum("bhqk,bhck->bhcq", attention, v).reshape(batch, channels, -1)
        out = F.conv1d(gathered, *self._pair(f"{name}.proj_out", (channels, channels, 1)))
        return x + out.view(batch, channels, height, width)

    def _linear(self, name: str, x: Tensor, channels: int) -> Tensor:
        return F.linear(x, *self._pair(name, (channels, x.shape[1])))

    def _conv(self, name: str, x: Tensor, channels: int, side: int = 3, stride: int = 1) -> Tensor:
        kernel, bias = self._pair(name, (channels, x.shape[1], side, side))
        return F.conv2d(x, kernel, bias, stride, side // 2)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, *self._pair(name, (x.shape[1],)), eps=1e-5)

    def _pair(self, name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The weight and the bias of a layer."""
        if f"{name}.weight" not in self.weights:
            generator = torch.Generator().manual_seed(len(self.weights))
            spread = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.2
            weight = spread * torch.randn(shape, generator=generator)
            self.weights[f"{name}.weight"] = weight if len(shape) > 1 else 1 + weight
            self.weights[f"{name}.bias"] = 0.2 * torch.randn(shape[0], generator=generator)
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


def _same(x: Tensor) -> Tensor:
    return x


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
