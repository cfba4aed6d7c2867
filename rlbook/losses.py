"""Losses: the negatives of the book's objectives, one number per element, to be minimised.

Nothing is averaged here: the caller sums over time and divides by what the equation divides by.
NaN propagates.
"""

import torch
from torch import Tensor


def policy_gradient_loss(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """Minus the weighted log-probability, whose gradient is minus one term of the policy gradient.

    loss_t = −Φ_t · log π_θ(a_t|s_t),  ∇_θ loss_t = −Φ_t · ∇_θ log π_θ(a_t|s_t)  (eq-policy-gradient, eq-general-form)

    The weights Φ_t (R(τ), rewards to go, advantages: whatever eq-general-form allows) are constants: they are detached,
    so no gradient reaches whatever computed them. The value of this loss is no measure of performance.
    Shapes: logprobs [..., T+1] = log π_θ(a_t|s_t), advantages the same. Returns [..., T+1]: summed over t and divided
    by the number of trajectories |D|, its gradient is −ĝ (eq-gradient-estimate).
    Raises ValueError for shapes that differ (nothing is broadcast), integers, a mix of dtypes or devices.
    Source: Williams (1992), REINFORCE; Spinning Up, "Deriving the Simplest Policy Gradient".
    Tests hold it to the exact gradient of an enumerated MDP, once every trajectory is weighted by its probability.
    """
    _check_alike(logprobs=logprobs, advantages=advantages)
    return -advantages.detach() * logprobs


def _check_alike(**named: Tensor) -> None:
    """Raise ValueError unless all are floating point tensors of one shape, dtype and device."""
    for name, values in named.items():
        if not isinstance(values, Tensor) or not values.is_floating_point():
            kind = values.dtype if isinstance(values, torch.Tensor) else type(values).__name__
            raise ValueError(f"{name} must be a floating point tensor, got {kind}")
    names, first = " and ".join(named), next(iter(named.values()))
    if any(values.shape != first.shape for values in named.values()):
        shapes = " and ".join(str(tuple(values.shape)) for values in named.values())
        raise ValueError(f"{names} must have one shape, got {shapes}; nothing is broadcast")
    if any(values.dtype != first.dtype or values.device != first.device for values in named.values()):
        kinds = " and ".join(f"{values.dtype} on {values.device}" for values in named.values())
        raise ValueError(f"{names} must have one dtype and device, got {kinds}")
