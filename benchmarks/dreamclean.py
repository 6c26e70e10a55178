"""After DreamClean (Xiao et al., ICLR 2024): its correction, on our prior.

The image is carried up to a noise level by DDIM inversion and down again. At every level on the way down it
takes a Langevin step that preserves the variance: a share of the predicted noise is taken out and as much
fresh noise put in, so that what is unlikely leaves and the level stays.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from i2r import Prior
from i2r.diffusion.sampling import levels

STEPS = 30
LOWEST, DEPTH = 0.02, 0.3
SHARE = 0.15
"""With the depth, the best for noise and JPEG together, of 0.05, 0.15 and 0.3 and of 0.3, 0.6 and 1.2."""
NFE = 3 * STEPS


def dreamclean(prior: Prior, y: Tensor, *, seed: int = 0) -> Tensor:
    """Restore ``y`` (C, H, W) in [-1, 1], blind, in ``NFE`` evaluations."""
    generator = torch.Generator().manual_seed(seed)
    sigmas = [0.0, *levels(LOWEST, DEPTH, STEPS - 1)]

    def eps(x: Tensor, sigma: float) -> Tensor:
        return prior.eps(x[None], torch.tensor([sigma]))[0]

    x = y
    for sigma, higher in itertools.pairwise(sigmas):
        x = x + (higher - sigma) * eps(x, max(sigma, LOWEST))
    for lower, sigma in reversed(list(itertools.pairwise(sigmas))):
        fresh = torch.randn(x.shape, generator=generator).to(y.device)
        # (1 - s)^2 + s (2 - s) = 1: as much noise as before.
        x = x + sigma * ((SHARE * (2 - SHARE)) ** 0.5 * fresh - SHARE * eps(x, sigma))
        x = x + (lower - sigma) * eps(x, sigma)
    return x
