"""How good is a sample mean? Error against the number of samples, and coverage of confidence regions, on an exact MDP.

Both take seconds, so chapters run them live.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook import exact


class Coverage(NamedTuple):
    """Confidence regions of M repetitions for D components: `means` and `half_widths` [M, D], `inside` [M, D] and
    `inside_joint` [M]: whether the interval, or the ellipsoid of all components, holds the exact gradient."""

    means: Tensor
    half_widths: Tensor
    inside: Tensor
    inside_joint: Tensor


def gradient_estimates(
    mdp: exact.MDP, logits: Tensor, n: int, repetitions: int, generator: torch.Generator
) -> Tensor:
    """Single-trajectory estimates [M, N, S·A] from fresh simulations: M repetitions of a batch of N trajectories."""
    batch = exact.sample(mdp, logits, repetitions * n, generator)
    return exact.policy_gradient_estimates(mdp, batch, logits).unflatten(0, (repetitions, n))


def errors(
    mdp: exact.MDP, logits: Tensor, sizes: list[int], repetitions: int, generator: torch.Generator
) -> Tensor:
    """Root mean square of ‖ĝ − ∇J‖ over repetitions, one number for each sample size N.

    By eq-sample-mean-variance it estimates √(tr Cov[ĝ(τ)] / N), exactly known from `exact.moments`.
    """
    truth = exact.gradient(mdp, logits).flatten()
    squares = []
    for n in sizes:
        means = [gradient_estimates(mdp, logits, n, 1, generator)[0].mean(dim=0) for _ in range(repetitions)]
        error = torch.stack(means) - truth
        squares.append(error.square().sum(dim=-1).mean())
    return torch.stack(squares).sqrt()


def predicted_errors(mdp: exact.MDP, logits: Tensor, sizes: list[int]) -> Tensor:
    """√(tr Cov[ĝ(τ)] / N) for each N, from the exact covariance (eq-sample-mean-variance)."""
    covariance = exact.moments(mdp, logits, lambda b, x: exact.policy_gradient_estimates(mdp, b, x)).covariance
    return (covariance.trace() / torch.tensor(sizes, dtype=covariance.dtype, device=covariance.device)).sqrt()


def slope(sizes: list[int], values: Tensor) -> float:
    """Least-squares slope of log(values) over log(sizes): −1/2 for an error that falls as 1/√N."""
    x = torch.tensor(sizes, dtype=values.dtype, device=values.device).log()
    y = values.log()
    return (((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()).item()


def coverage(
    mdp: exact.MDP, logits: Tensor, n: int, repetitions: int, generator: torch.Generator, level: float = 0.95
) -> Coverage:
    """How often regions built from one batch of N trajectories alone hold the exact gradient.

    interval of component i: ĝ_i ± √(χ²_1(level) · C_ii / N);  ellipsoid: N (ĝ − ∇J)ᵀ C⁻¹ (ĝ − ∇J) <= χ²_D(level)

    C is the batch's sample covariance (divisor N − 1). The ellipsoid leaves out the last action of every state: within
    a state the components of a softmax score sum to zero, so it carries nothing new and C would be singular.
    Raises ValueError for n too small to invert C.
    """
    free = torch.arange(logits.numel()).reshape(logits.shape)[:, :-1].flatten()
    if n <= len(free) + 1:
        raise ValueError(f"n must exceed {len(free) + 1} to estimate a covariance of {len(free)} components, got {n}")
    estimates = gradient_estimates(mdp, logits, n, repetitions, generator)
    means = estimates.mean(dim=1)
    centred = estimates - means[:, None]
    covariance = centred.mT @ centred / (n - 1)
    error = means - exact.gradient(mdp, logits).flatten()
    half_widths = (chi2_quantile(level, 1) * covariance.diagonal(dim1=1, dim2=2) / n).sqrt()
    reduced = error[:, free]
    distance = n * (reduced * torch.linalg.solve(covariance[:, free][:, :, free], reduced)).sum(-1)
    return Coverage(means, half_widths, error.abs() <= half_widths, distance <= chi2_quantile(level, len(free)))


def chi2_quantile(level: float, degrees: int) -> float:
    """The number that a χ² variable stays below with probability `level`: 3.841 for 95 % and one degree of freedom."""
    if not 0 < level < 1 or degrees < 1:
        raise ValueError(f"level must be in (0, 1) and degrees >= 1, got {level!r} and {degrees!r}")
    low, high = 0.0, degrees + 40 * math.sqrt(degrees) + 40
    half = torch.tensor(degrees / 2, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        below = torch.special.gammainc(half, torch.tensor(middle / 2, dtype=torch.float64)) < level
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2
