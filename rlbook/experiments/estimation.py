"""How good is a sample mean? Error against the number of samples, and coverage of confidence regions, on an exact MDP.

Both take seconds, so chapters run them live.
"""

import math
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook import exact
from rlbook.returns import check_integer


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
    """Single-trajectory estimates [M, N, S·A] from fresh simulations: M repetitions of a batch of N trajectories.

    Raises ValueError for an n or a number of repetitions that is no integer >= 1.
    """
    check_integer("n", n, 1)
    check_integer("repetitions", repetitions, 1)
    batch = exact.sample(mdp, logits, repetitions * n, generator)
    return exact.policy_gradient_estimates(mdp, batch, logits).unflatten(0, (repetitions, n))


def errors(
    mdp: exact.MDP, logits: Tensor, sizes: list[int], repetitions: int, generator: torch.Generator
) -> Tensor:
    """Root mean square of ‖ĝ − ∇J‖ over repetitions, one number for each sample size N.

    By eq-sample-mean-variance it estimates √(tr Cov[ĝ(τ)] / N), exactly known from `exact.moments`.
    Raises ValueError for no sizes, and for sizes or a number of repetitions that are no integers >= 1.
    """
    _check_sizes(sizes)
    check_integer("repetitions", repetitions, 1)
    truth = exact.gradient(mdp, logits).flatten()
    squares = []
    for n in sizes:
        means = [gradient_estimates(mdp, logits, n, 1, generator)[0].mean(dim=0) for _ in range(repetitions)]
        error = torch.stack(means) - truth
        squares.append(error.square().sum(dim=-1).mean())
    return torch.stack(squares).sqrt()


def predicted_errors(mdp: exact.MDP, logits: Tensor, sizes: list[int]) -> Tensor:
    """√(tr Cov[ĝ(τ)] / N) for each N, from the exact covariance (eq-sample-mean-variance). Sizes as in `errors`."""
    _check_sizes(sizes)
    covariance = exact.moments(mdp, logits, lambda b, x: exact.policy_gradient_estimates(mdp, b, x)).covariance
    return (covariance.trace() / torch.tensor(sizes, dtype=covariance.dtype, device=covariance.device)).sqrt()


def slope(sizes: list[int], values: Tensor) -> float:
    """Least-squares slope of log(values) over log(sizes): −1/2 for an error that falls as 1/√N.

    Raises ValueError unless there is one value for each size, and two sizes differ.
    """
    _check_sizes(sizes)
    if not isinstance(values, Tensor) or values.shape != (len(sizes),) or len(set(sizes)) < 2:
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"a slope needs different sizes and a tensor of one value for each, got {sizes} and {given}")
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
    check_integer("n", n, 1)
    truth = exact.gradient(mdp, logits).flatten()
    free = torch.arange(logits.numel()).reshape(logits.shape)[:, :-1].flatten()
    if n <= len(free) + 1:
        raise ValueError(f"n must exceed {len(free) + 1} to estimate a covariance of {len(free)} components, got {n}")
    estimates = gradient_estimates(mdp, logits, n, repetitions, generator)
    means = estimates.mean(dim=1)
    centred = estimates - means[:, None]
    covariance = centred.mT @ centred / (n - 1)
    error = means - truth
    half_widths = (chi2_quantile(level, 1) * covariance.diagonal(dim1=1, dim2=2) / n).sqrt()
    reduced = error[:, free]
    distance = n * (reduced * torch.linalg.solve(covariance[:, free][:, :, free], reduced)).sum(-1)
    return Coverage(means, half_widths, error.abs() <= half_widths, distance <= chi2_quantile(level, len(free)))


def chi2_quantile(level: float, degrees: int) -> float:
    """The number that a χ² variable stays below with probability `level`: 3.841 for 95 % and one degree of freedom."""
    if not isinstance(level, Real) or not isinstance(degrees, Real) or not 0 < level < 1 or not 1 <= degrees < math.inf:
        raise ValueError(f"level must be a number in (0, 1) and degrees one >= 1, got {level!r} and {degrees!r}")
    low, high = 0.0, degrees + 40 * math.sqrt(degrees) + 40
    half = torch.tensor(degrees / 2, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        below = torch.special.gammainc(half, torch.tensor(middle / 2, dtype=torch.float64)) < level
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def _check_sizes(sizes: list[int]) -> None:
    if not isinstance(sizes, list | tuple | range) or len(sizes) == 0:
        raise ValueError(f"sizes must be a list of at least one number of samples, got {sizes!r}")
    for size in sizes:
        check_integer("every one of sizes", size, 1)
