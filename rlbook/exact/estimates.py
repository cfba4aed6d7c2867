"""The objective, its gradient, and the exact moments of any estimator of it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.exact.arguments import check_batch, check_logits, check_weights, describe, log_policy
from rlbook.exact.enumeration import log_probs, trajectories
from rlbook.exact.mdp import MDP, Trajectories
from rlbook.returns import discounted_returns


class Moments(NamedTuple):
    """Mean [D] and covariance [D, D] of an estimator with D components."""

    mean: Tensor
    covariance: Tensor


def returns(mdp: MDP, batch: Trajectories) -> Tensor:
    """Return [N] of each trajectory: R(τ) = Σ_t γ^t r_t  (eq-return). Raises ValueError unless rewards is [N, T+1]."""
    rewards = getattr(batch, "rewards", None)
    if not isinstance(rewards, Tensor) or rewards.dim() != 2:
        raise ValueError(f"rewards must be a tensor [N, T+1], got {describe(rewards)}")
    return discounted_returns(rewards, mdp.gamma)[:, 0]


def expected_return(mdp: MDP, logits: Tensor) -> Tensor:
    """The objective, a scalar, differentiable: J(π_θ) = Σ_τ P(τ|θ) R(τ)  (eq-expected-return).

    Tests hold it to backward induction on the Bellman equation.
    """
    every = trajectories(mdp)
    return log_probs(mdp, every, logits).exp() @ returns(mdp, every)


def gradient(mdp: MDP, logits: Tensor) -> Tensor:
    """The exact gradient [S, A] of the objective, by differentiating the sum: ∇_θ J(π_θ) = Σ_τ ∇_θ P(τ|θ) R(τ).

    No score function is involved, so eq-policy-gradient can be tested against it; it is held to finite differences.
    """
    check_logits(mdp, logits)
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(expected_return(mdp, logits), logits)[0]


def kl(mdp: MDP, logits: Tensor, other: Tensor) -> Tensor:
    """Divergence of the trajectories of two policies, a scalar, differentiable in both.

    KL(P_θ ‖ P_θ') = Σ_τ P(τ|θ) log [P(τ|θ) / P(τ|θ')];  the dynamics cancel in the ratio.

    A trajectory that the first policy never takes (a logit of -inf) adds nothing: 0 · log 0 = 0. One that only the
    first takes makes it infinite.
    Tests hold it to the sum over time of the expected divergence of the action distributions (the chain rule).
    """
    every = trajectories(mdp)
    ours, theirs = log_probs(mdp, every, logits), log_probs(mdp, every, other)
    return ours.exp() @ torch.where(ours.isneginf(), 0.0, ours - theirs)


def score(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Score [N, S·A] of each trajectory, in closed form.

    ∇_θ log P(τ|θ) = Σ_t ∇_θ log π_θ(a_t|s_t),  (∇_{θ[s]} log π_θ(a|s))_b = 1[b = a] − π_θ(b|s)  (eq-trajectory-score)

    Tests hold it to automatic differentiation of `log_probs`, and its exact mean to zero (eq-score-mean-zero).
    """
    check_batch(mdp, batch)
    return policy_gradient_estimates(mdp, batch, logits, torch.ones_like(batch.actions, dtype=mdp.reward.dtype))


def policy_gradient_estimates(
    mdp: MDP, batch: Trajectories, logits: Tensor, weights: Tensor | None = None
) -> Tensor:
    """One estimate [N, S·A] of the gradient from each trajectory, in closed form; their mean is ĝ.

    ĝ(τ) = Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t,  Φ_t = R(τ) by default  (eq-policy-gradient, eq-gradient-estimate)

    weights: Φ_t as [N, T+1], or one number per trajectory, [N], in the MDP's dtype. Raises ValueError for any other
    shape, type or dtype, and for logits and trajectories as `log_probs` does.
    Tests hold its exact mean to `gradient`, and each row to the gradient of `losses.policy_gradient_loss`.
    """
    check_batch(mdp, batch)
    if weights is None:
        weights = returns(mdp, batch)
    check_weights(mdp, batch, weights)
    if weights.dim() == 1:
        weights = weights[:, None].expand(batch.actions.shape)
    policy = log_policy(mdp, logits).exp()
    taken = batch.states[:, :-1] * mdp.num_actions + batch.actions
    weight_of_taken = torch.zeros(len(weights), policy.numel(), dtype=policy.dtype, device=policy.device)
    weight_of_taken = weight_of_taken.scatter_add(1, taken, weights).unflatten(1, policy.shape)
    weight_of_state = weight_of_taken.sum(dim=2, keepdim=True)
    return (weight_of_taken - weight_of_state * policy).flatten(1)


def moments(mdp: MDP, logits: Tensor, estimator: Callable[[Trajectories, Tensor], Tensor]) -> Moments:
    """Exact mean and covariance of any estimator that maps one trajectory to D numbers.

    E[X] = Σ_τ P(τ|θ) X(τ),  Cov[X] = Σ_τ P(τ|θ) (X(τ) − E[X]) (X(τ) − E[X])ᵀ

    estimator(trajectories, logits) -> [N, D]. The mean of n independent ones has covariance Cov[X]/n
    (eq-sample-mean-variance). Raises ValueError if the estimator returns another shape or dtype.
    """
    if not callable(estimator):
        raise ValueError(f"estimator must be a function of trajectories and logits, got {estimator!r:.60}")
    every = trajectories(mdp)
    values = estimator(every, logits)
    kind, n = mdp.reward.dtype, len(every.actions)
    if not isinstance(values, Tensor) or values.dim() != 2 or len(values) != n or values.dtype != kind:
        raise ValueError(f"the estimator must return a {kind} tensor [N, D] with N = {n}, got {describe(values)}")
    probabilities = log_probs(mdp, every, logits).exp()
    mean = probabilities @ values
    centred = values - mean
    return Moments(mean, centred.T @ (probabilities[:, None] * centred))
