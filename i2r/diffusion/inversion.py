"""Inversion: the noise that regenerates an image, found step by step, and how well it was found.

DDIM's step ``x_{i-1} = x_i + (sigma_{i-1} - sigma_i) eps(x_i, sigma_i)`` gives ``x_i`` implicitly, as the
fixed point of ``g(x) = x_{i-1} + (sigma_i - sigma_{i-1}) eps(x, sigma_i)``. The solvers differ in how they go
on from ``g(x)``; BIRD's, the baseline, searches all steps at once. Each stops when it has reached its
tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from i2r.diffusion.sampling import Process, Query, generate

_DAMPING = 0.7
_MEMORY = 3  # earlier iterates that Anderson's acceleration mixes; more gain nothing within ten iterations
_SHORTEST = 1 / 8  # step of the line search, in fixed-point steps
_RIDGE = 1e-8
_RATE = 0.03  # of Adam, in units of the deepest level; with 0.06 to 0.2 it ends within 2 dB of this


class Solver(StrEnum):
    """How an implicit step is solved; all cost one evaluation an iteration and step.

    - ``FIXED_POINT``: ``x <- g(x)`` (Pan et al., arXiv 2309.04907; Garibi et al., arXiv 2403.14602).
    - ``DAMPED``: goes 0.7 of the way to ``g(x)``, which tames a predictor that overshoots.
    - ``ANDERSON``: mixes the last few ``g(x)`` so that their residuals cancel best (Walker and Ni 2011).
    - ``LINE_SEARCH``: a fixed-point step, halved from the best ``x`` so far until the residual falls.
    - ``BIRD``: Adam on the noise of all steps together, with the gradient through the linear terms of DDIM
      alone: the network is never differentiated (Chihaoui et al., arXiv 2310.04103).
    """

    FIXED_POINT = "fixed_point"
    DAMPED = "damped"
    ANDERSON = "anderson"
    LINE_SEARCH = "line_search"
    BIRD = "bird"


class Convergence(StrEnum):
    """How an inversion ended."""

    REACHED = "reached"
    NOT_REACHED = "not_reached"
    DIVERGED = "diverged"

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Convergence.REACHED: "every step reached the tolerance",
    Convergence.NOT_REACHED: "a step missed the tolerance: allow more iterations or take more levels",
    Convergence.DIVERGED: "the prior's noise is not finite: lower the depth",
}


@dataclass(frozen=True)
class Inversion:
    """A latent noise and how well it was found.

    Attributes:
        z: (C, H, W), a sample at the deepest level; where the inversion diverged, the last finite one.
        convergence: how it ended.
        trace: for every evaluation in turn, the RMS by which its step's equation was missed, in units of the
            [-1, 1] range; of a solver that searches all steps at once, by which they missed the image.
        residual: the largest of the last RMS of every step.
    """

    z: Tensor
    convergence: Convergence
    trace: tuple[float, ...]
    residual: float

    @property
    def nfe(self) -> int:
        return len(self.trace)


def invert(
    y: Tensor,
    sigmas: Sequence[float],
    iterations: int,
    *,
    tolerance: float = 1e-4,
    solver: Solver = Solver.ANDERSON,
) -> Process[Inversion]:
    """Find ``z`` with ``generate(z, sigmas) = y``.

    Args:
        y: (C, H, W) in [-1, 1].
        sigmas: increasing noise levels; even in log sigma, or the last steps do not contract.
        iterations: the most evaluations a step.
        tolerance: RMS at which a step is solved, in units of the [-1, 1] range.
        solver: how a step is solved.
    """
    if solver is Solver.BIRD:
        return (yield from _descend(y, sigmas, iterations, tolerance))
    x, lower = y, 0.0
    eps: Tensor | None = None
    trace: list[float] = []
    worst = 0.0
    for sigma in sigmas:
        # The noise changes little from one level to the next: a first guess.
        guess = x if eps is None else x + (sigma - lower) * eps
        step = yield from _solve_step(x, guess, sigma, lower, iterations, tolerance, solver)
        trace += step.trace
        if not math.isfinite(step.trace[-1]):
            return Inversion(x, Convergence.DIVERGED, tuple(trace), math.inf)
        worst = max(worst, step.trace[-1])
        x, eps, lower = step.x, step.eps, sigma
    reached = Convergence.REACHED if worst <= tolerance else Convergence.NOT_REACHED
    return Inversion(x, reached, tuple(trace), worst)


def _descend(y: Tensor, sigmas: Sequence[float], iterations: int, tolerance: float) -> Process[Inversion]:
    """Fit the noise to the image that it regenerates.

    The linear terms of DDIM add up to the identity: the gradient of ``|G(z) - y|^2 / 2`` is ``G(z) - y``.
    """
    z = y.clone()
    adam = torch.optim.Adam([z], lr=_RATE * sigmas[-1])
    trace: list[float] = []
    for iteration in range(iterations):
        z.grad = (yield from generate(z, sigmas)) - y
        miss = z.grad.square().mean().sqrt().item()
        trace += [miss] * len(sigmas)
        if not math.isfinite(miss):
            return Inversion(y, Convergence.DIVERGED, tuple(trace), math.inf)
        if miss <= tolerance or iteration == iterations - 1:  # a step more would be one that nobody looked at
            break
        adam.step()
    reached = Convergence.REACHED if miss <= tolerance else Convergence.NOT_REACHED
    return Inversion(z.detach(), reached, tuple(trace), miss)


@dataclass(frozen=True)
class _Step:
    x: Tensor
    eps: Tensor
    trace: list[float]


def _solve_step(
    target: Tensor,
    x: Tensor,
    sigma: float,
    lower: float,
    iterations: int,
    tolerance: float,
    solver: Solver,
) -> Process[_Step]:
    """Solve ``x = target + (sigma - lower) eps(x, sigma)`` from ``x``."""
    trace: list[float] = []
    tried: list[tuple[Tensor, Tensor]] = []  # x and its residual g(x) - x
    share, best = 1.0, math.inf
    for _ in range(iterations):
        eps = yield Query(x, sigma)
        residual = target + (sigma - lower) * eps - x
        miss = residual.square().mean().sqrt().item()
        trace.append(miss)
        if not math.isfinite(miss):
            break
        # The last evaluation is used up by its step, whose own residual nobody has looked at.
        if solver is Solver.LINE_SEARCH:
            if miss < best:
                best, share, tried = miss, 1.0, [(x, residual)]
            else:
                share = max(share / 2, _SHORTEST)
            x = tried[0][0] + share * tried[0][1]
        elif solver is Solver.ANDERSON:
            tried = [*tried[-_MEMORY:], (x, residual)]
            x = _mixed(tried)
        else:
            x = x + (_DAMPING if solver is Solver.DAMPED else 1.0) * residual
        if miss <= tolerance:
            break
    return _Step(x, eps, trace)


def _mixed(tried: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The combination of the iterates whose combined residual is least, moved by that residual."""
    x, residual = tried[-1]
    if len(tried) == 1:
        return x + residual
    moves = torch.stack([(x - earlier).flatten() for earlier, _ in tried[:-1]])
    changes = torch.stack([(residual - earlier).flatten() for _, earlier in tried[:-1]])
    gram = (changes @ changes.T).double()
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # Of iterates that no longer move, the residuals say nothing, and the matrix has no inverse.
    inverse = torch.linalg.pinv(gram, hermitian=True)
    weights = (inverse @ (changes @ residual.flatten()).double()).to(x)
    return x + residual - (weights @ (moves + changes)).view_as(x)
