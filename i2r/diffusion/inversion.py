"""DDIM inversion: find the noise from which DDIM regenerates an image, and the residual that remains.

DDIM's step ``x_{i-1} = x_i + (sigma_{i-1} - sigma_i) eps(x_i, sigma_i)`` gives ``x_i`` implicitly, as the
fixed point of ``g(x) = x_{i-1} + (sigma_i - sigma_{i-1}) eps(x, sigma_i)``. The solvers differ in their next
iterate after ``g(x)``; BIRD, the baseline, solves all steps jointly. Each stops at the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from i2r.diffusion.sampling import Process, Query, generate


@dataclass(frozen=True)
class InversionTuning:
    """How the solvers choose their next iterate.

    Attributes:
        damping: share of the way to ``g(x)`` that ``DAMPED`` goes.
        memory: earlier iterates that ``ANDERSON`` mixes; more gain nothing within ten iterations.
        ridge: of its least squares, as a share of the mean squared change of the residuals.
        shortest: step of ``LINE_SEARCH``, in fixed-point steps.
        rate: learning rate of ``BIRD``, in units of the deepest level; 0.06 to 0.2 end within 2 dB of 0.03.
    """

    damping: float = 0.7
    memory: int = 3
    ridge: float = 1e-8
    shortest: float = 1 / 8
    rate: float = 0.03


INVERSION = InversionTuning()


class Solver(StrEnum):
    """How an implicit step is solved; each costs one evaluation per iteration and step.

    - ``FIXED_POINT``: ``x <- g(x)`` (Pan et al., arXiv 2309.04907; Garibi et al., arXiv 2403.14602).
    - ``DAMPED``: goes a share of the way to ``g(x)``, against overshooting.
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
    """How an inversion ended, and what to do."""

    REACHED = "every step reached the tolerance"
    NOT_REACHED = "a step missed the tolerance: allow more iterations or take more levels"
    DIVERGED = "the prior's noise is not finite: lower the depth"


@dataclass(frozen=True)
class Inversion:
    """The inverted noise and its residual.

    Attributes:
        z: (C, H, W), a sample at the deepest level; the last finite sample if the inversion diverged.
        convergence: how it ended.
        trace: RMS residual at every evaluation in turn, in units of the [-1, 1] range: of the step's
            equation, or for ``BIRD`` of the regenerated image.
        residual: the largest of the steps' last RMS residuals; infinite if the inversion diverged.
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
        sigmas: increasing noise levels; evenly spaced in log sigma, else the last steps do not contract.
        iterations: most evaluations per step.
        tolerance: RMS residual at which a step is solved, in units of the [-1, 1] range.
        solver: how a step is solved.
    """
    if solver is Solver.BIRD:
        return (yield from _descend(y, sigmas, iterations, tolerance))
    x, lower = y, 0.0
    eps: Tensor | None = None
    trace: list[float] = []
    worst = 0.0
    for sigma in sigmas:
        # First guess: the noise of the previous level, which changes little from one level to the next.
        guess = x if eps is None else x + (sigma - lower) * eps
        solved, eps, misses = yield from _solve_step(x, guess, sigma, lower, iterations, tolerance, solver)
        trace += misses
        if not math.isfinite(misses[-1]):
            return Inversion(x, Convergence.DIVERGED, tuple(trace), math.inf)
        x, lower, worst = solved, sigma, max(worst, misses[-1])
    reached = Convergence.REACHED if worst <= tolerance else Convergence.NOT_REACHED
    return Inversion(x, reached, tuple(trace), worst)


def _descend(y: Tensor, sigmas: Sequence[float], iterations: int, tolerance: float) -> Process[Inversion]:
    """Fit the noise ``z`` so that it regenerates ``y``, with Adam.

    The linear terms of DDIM add up to the identity: without the network's derivatives, the gradient of
    ``|G(z) - y|^2 / 2`` is ``G(z) - y``.
    """
    z = y.clone()
    adam = torch.optim.Adam([z], lr=INVERSION.rate * sigmas[-1])
    trace: list[float] = []
    for iteration in range(iterations):
        z.grad = (yield from generate(z, sigmas)) - y
        miss = z.grad.square().mean().sqrt().item()
        trace += [miss] * len(sigmas)
        if not math.isfinite(miss):
            return Inversion(y, Convergence.DIVERGED, tuple(trace), math.inf)
        # No update after the last evaluation: its residual would be unknown.
        if miss <= tolerance or iteration == iterations - 1:
            break
        adam.step()
    reached = Convergence.REACHED if miss <= tolerance else Convergence.NOT_REACHED
    return Inversion(z.detach(), reached, tuple(trace), miss)


def _solve_step(
    target: Tensor, x: Tensor, sigma: float, lower: float, iterations: int, tolerance: float, solver: Solver
) -> Process[tuple[Tensor, Tensor, list[float]]]:
    """Solve ``x = target + (sigma - lower) eps(x, sigma)`` from ``x``; returns also eps and the residuals."""
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
        # Every evaluation is followed by an update, also the last, whose own residual is not evaluated.
        if solver is Solver.LINE_SEARCH:
            if miss < best:
                best, share, tried = miss, 1.0, [(x, residual)]
            else:
                share = max(share / 2, INVERSION.shortest)
            x = tried[0][0] + share * tried[0][1]
        elif solver is Solver.ANDERSON:
            tried = [*tried[-INVERSION.memory :], (x, residual)]
            x = _mixed(tried)
        else:
            x = x + (INVERSION.damping if solver is Solver.DAMPED else 1.0) * residual
        if miss <= tolerance:
            break
    return x, eps, trace


def _mixed(tried: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Combine the iterates so that the combined residual is least, and add that residual (Anderson)."""
    x, residual = tried[-1]
    if len(tried) == 1:
        return x + residual
    moves = torch.stack([(x - earlier).flatten() for earlier, _ in tried[:-1]])
    changes = torch.stack([(residual - earlier).flatten() for _, earlier in tried[:-1]])
    gram = (changes @ changes.T).double()
    ridge = INVERSION.ridge * gram.diagonal().mean()
    gram += ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    # Pseudo-inverse: once the iterates no longer move, the matrix is singular.
    inverse = torch.linalg.pinv(gram, hermitian=True)
    weights = (inverse @ (changes @ residual.flatten()).double()).to(x)
    return x + residual - (weights @ (moves + changes)).view_as(x)
