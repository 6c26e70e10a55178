"""Deep Image Prior (Ulyanov et al., arXiv 1711.10925): an untrained network, fitted to the one image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 64)
INPUT_CHANNELS = 16
RATE = 0.01


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2),
    )


class Hourglass(nn.Module):
    """Down by two at every width and up again, with a thin skip at each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = (INPUT_CHANNELS, *WIDTHS[:-1])
        self.down = nn.ModuleList(block(i, w, stride=2) for i, w in zip(inputs, WIDTHS, strict=True))
        self.skip = nn.ModuleList(nn.Conv2d(i, 4, 1) for i in inputs)
        above = (*WIDTHS[1:], WIDTHS[-1])
        self.up = nn.ModuleList(block(a + 4, w) for a, w in zip(above, WIDTHS, strict=True))
        self.out = nn.Conv2d(WIDTHS[0], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(x))
            x = down(x)
        for up, skipped in zip(reversed(self.up), reversed(skips), strict=True):
            x = up(torch.cat([F.interpolate(x, size=skipped.shape[2:], mode="bilinear"), skipped], dim=1))
        return self.out(x).sigmoid()


def deep_image_prior(y: Tensor, iterations: int, *, seed: int = 0) -> Iterator[Tensor]:
    """Fit the network to ``y`` (C, H, W) in [0, 1], blind; its image after every iteration.

    Without the noise on the input that its authors add: in a few hundred iterations that cost 2 dB.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, z = Hourglass(len(y)), 0.1 * torch.rand(1, INPUT_CHANNELS, *y.shape[1:])
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(iterations):
        adam.zero_grad()
        x = network(z)[0]
        (x - y).square().mean().backward()
        adam.step()
        yield x.detach()
