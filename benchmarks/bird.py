"""The optimiser of BIRD (Chihaoui et al., arXiv 2310.04103): the baseline of the inversion.

A gradient reaches the latent noise through the linear terms of DDIM and the clamp of the posterior mean only:
the network is evaluated without one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from i2r import Prior

STEPS = 10
RATE = 0.03
"""At noise 25/255, 60 iterations reach 25.1 dB with 0.01, 28.3 with this and 26.9 with 0.1."""
DEEPEST = 80.0
"""Beyond this noise level nothing of an image is left (Karras et al., arXiv 2206.00364)."""


def bird(
    prior: Prior,
    y: Tensor,
    iterations: int,
    degrade: Callable[[Tensor], Tensor] = torch.clone,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Find the noise whose image ``x`` has ``degrade(x)`` nearest to ``y``; ``steps`` NFE an iteration.

    Args:
        prior: the network is evaluated on the whole image.
        y: (C, H, W) in [-1, 1].
        iterations: of Adam, after each of which the noise is projected onto the sphere of radius sqrt(D).
        degrade: differentiable.
        steps: of DDIM, from pure noise to the image.
        rate: of Adam.

    Yields:
        After every iteration, the image (C, H, W) of the noise before it.
    """
    last = len(prior.schedule) - 1
    timesteps = torch.linspace(last, last / steps, steps, device=prior.device)
    sigmas = [*prior.schedule.sigma(timesteps).clamp_max(DEEPEST).tolist(), 0.0]
    radius = y.numel() ** 0.5
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y.device).requires_grad_()
    adam = torch.optim.Adam([z], lr=rate)
    for _ in range(iterations):
        x = sigmas[0] * z
        for sigma, lower in itertools.pairwise(sigmas):
            eps = prior.eps(x.detach()[None], torch.tensor([sigma]))[0].clone()
            mean = (x - sigma * eps).clamp(-1, 1)
            x = mean + lower * eps
        adam.zero_grad()
        (degrade(x) - y).square().mean().backward()
        adam.step()
        with torch.no_grad():
            z *= radius / z.norm()
        yield x.detach()
