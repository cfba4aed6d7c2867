"""Exact variances of policy gradient estimates, and the baselines that make them least.

The variance of a vector is the trace of its covariance, E‖X − E[X]‖²; u_t is the score ∇_θ log π_θ(a_t|s_t) of the
softmax table. Weights Φ [N, T+1] belong to the trajectories that `trajectories` lists, in its order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.exact.arguments import check_horizon, check_weights, log_policy
from rlbook.exact.enumeration import log_probs, trajectories
from rlbook.exact.estimates import policy_gradient_estimates
from rlbook.exact.mdp import MDP, Trajectories
from rlbook.exact.values import action_values, occupancies, return_variances, state_values
from rlbook.exact.weights import discounts, reward_to_go

SHARING = ("none", "time", "all")


class ToGoVariance(NamedTuple):
    """The two parts [T+1] of the variance of each γ^t u_t G_t: what is left with Q_t for G_t, and what G_t adds."""

    action_value: Tensor
    added: Tensor


class Quadratic(NamedTuple):
    """A variance as a function of a baseline b of K numbers: constant − 2 linear·b + bᵀ matrix b."""

    constant: Tensor
    linear: Tensor
    matrix: Tensor

    def __call__(self, baseline: Tensor) -> Tensor:
        """The variance, a scalar, at a baseline [K]."""
        if not isinstance(baseline, Tensor) or baseline.shape != self.linear.shape:
            given = tuple(baseline.shape) if isinstance(baseline, Tensor) else type(baseline).__name__
            raise ValueError(f"baseline must be a tensor of {len(self.linear)} numbers, got {given}")
        return self.constant - 2 * self.linear @ baseline + baseline @ self.matrix @ baseline


def total_variance(mdp: MDP, logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Variance of the estimate from one trajectory, a scalar.

    tr Cov[ĝ(τ)] = Σ_τ P(τ|θ) ‖ĝ(τ) − ∇J‖²,  ĝ(τ) = Σ_t u_t Φ_t  (eq-sample-mean-variance)

    weights: Φ as [N, T+1] or [N], R(τ) if None. Raises ValueError as `policy_gradient_estimates` does.
    Tests hold it to the trace of `moments` and to the sum of `term_covariances`.
    """
    every = trajectories(mdp)
    estimates = policy_gradient_estimates(mdp, every, logits, weights)
    chance = log_probs(mdp, every, logits).exp()
    return chance @ (estimates - chance @ estimates).square().sum(dim=1)


def term_covariances(mdp: MDP, logits: Tensor, weights: Tensor) -> Tensor:
    """How the terms of an estimate vary together, [T+1, T+1]: their variances on the diagonal, the total as the sum.

    C_{tt'} = E[⟨u_t Φ_t, u_t' Φ_t'⟩] − ⟨E[u_t Φ_t], E[u_t' Φ_t']⟩

    weights: Φ as [N, T+1] or [N]. Raises ValueError for another shape or dtype. Tests hold it to `total_variance` and to
    `moments` of a single term.
    """
    every = trajectories(mdp)
    check_weights(mdp, every, weights)
    if weights.dim() == 1:
        weights = weights[:, None].expand(every.actions.shape)
    chance = log_probs(mdp, every, logits).exp()
    terms = weights[:, :, None] * step_scores(mdp, every, logits)
    centred = terms - torch.einsum("n,ntd->td", chance, terms)
    return torch.einsum("n,ntd,nsd->ts", chance, centred, centred)


def step_scores(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Score u_t [N, T+1, S·A] of each action: ∂/∂θ[s, b] log π_θ(a_t|s_t) = 1[s = s_t] (1[b = a_t] − π_θ(b|s_t)).

    Tests hold its sum over time to `score`. Raises ValueError for trajectories that are not of the MDP.
    """
    check_horizon(mdp, batch)
    policy = log_policy(mdp, logits).exp()
    same_state, same_action = (torch.eye(size, dtype=policy.dtype, device=policy.device) for size in policy.shape)
    table = torch.einsum("sx,sab->saxb", same_state, same_action - policy[:, None])
    return table.flatten(2)[batch.states[:, :-1], batch.actions]


def squared_scores(mdp: MDP, logits: Tensor) -> Tensor:
    """‖∇_θ log π_θ(a|s)‖² = 1 − 2 π_θ(a|s) + Σ_b π_θ(b|s)², as a table [S, A]: large where a is unlikely."""
    policy = log_policy(mdp, logits).exp()
    return 1 - 2 * policy + policy.square().sum(dim=-1, keepdim=True)


def to_go_variance(mdp: MDP, logits: Tensor) -> ToGoVariance:
    """Variance of each term γ^t u_t G_t in two parts, each [T+1].

    Var[u_t G_t] = Var[u_t Q_t] + E[‖u_t‖² Var[G_t|s_t, a_t]],  both times γ^{2t}  (the law of total variance)

    The variances of the sums over t differ by Σ_t of the second part if scores at different times are orthogonal
    (distinct states at distinct times); where they share parameters the terms' covariances differ as well.
    Both parts come from recursions, without enumeration; tests hold their sum to `term_covariances`.
    """
    chance, norms, of_actions = occupancies(mdp, logits), squared_scores(mdp, logits), action_values(mdp, logits)
    weighted = chance * of_actions
    means = weighted - log_policy(mdp, logits).exp() * weighted.sum(-1, keepdim=True)
    factor = discounts(mdp).square()
    second = (chance * norms * of_actions.square()).sum(dim=(1, 2))
    added = (chance * norms * return_variances(mdp, logits)).sum(dim=(1, 2))
    return ToGoVariance(factor * (second - means.square().sum(dim=(1, 2))), factor * added)


def optimal_baseline(mdp: MDP, logits: Tensor) -> Tensor:
    """The baseline that makes the variance of each term u_t (G_t − b_t(s_t)) least, as a table [T+1, S].

    b*_t(s) = E[‖u_t‖² Q_t(s, a_t) | s_t = s] / E[‖u_t‖² | s_t = s]  (eq-optimal-baseline)

    Another baseline b costs γ^{2t} E[‖u_t‖² (b_t(s_t) − b*_t(s_t))²] more. Where the policy is deterministic, so that
    u_t = 0, every baseline is as good, and b* is V. Raises ValueError as `state_values` does.
    Source: Greensmith, Bartlett & Baxter (2004), there for the whole estimate. Tests perturb it in every direction.
    """
    weight = log_policy(mdp, logits).exp() * squared_scores(mdp, logits)
    norm = weight.sum(dim=-1)
    least = (weight * action_values(mdp, logits)).sum(dim=-1) / torch.where(norm > 0, norm, 1.0)
    return torch.where(norm > 0, least, state_values(mdp, logits)[:-1])


def baseline_quadratic(mdp: MDP, logits: Tensor, sharing: str = "none") -> Quadratic:
    """The variance of Σ_t γ^t u_t (G_t − b_t(s_t)) as a function of the baseline: exactly quadratic.

    With X = Σ_t γ^t u_t G_t and F_{t,s} = γ^t u_t 1[s_t = s]:
    constant = tr Cov[X],  linear_{t,s} = E[⟨X, F_{t,s}⟩],  matrix = E[⟨F_{t,s}, F_{t',s'}⟩]

    sharing: "none", a number for each (t, s), time first; "time", one for each s; "all", a single number. With "none"
    the matrix is diagonal, since a later score has mean zero given all that came before; a baseline for the sum
    differs from the terms' own only through `linear`. Raises ValueError for another word. Tests hold it to
    `total_variance`.
    """
    if sharing not in SHARING:
        raise ValueError(f"sharing must be one of {SHARING}, got {sharing!r}")
    every, steps, states = trajectories(mdp), mdp.horizon + 1, mdp.num_states
    chance, like = log_probs(mdp, every, logits).exp(), mdp.reward
    terms = discounts(mdp)[:, None] * step_scores(mdp, every, logits)
    visits = torch.nn.functional.one_hot(every.states[:, :-1], states).to(like)
    features = (terms[:, :, None] * visits[..., None]).flatten(1, 2)
    if sharing == "time":
        features = features.unflatten(1, (steps, states)).sum(dim=1)
    if sharing == "all":
        features = features.sum(dim=1, keepdim=True)
    weights = reward_to_go(mdp, every)
    estimates = policy_gradient_estimates(mdp, every, logits, weights)
    return Quadratic(total_variance(mdp, logits, weights), torch.einsum("n,nd,nkd->k", chance, estimates, features),
                     torch.einsum("n,nkd,njd->kj", chance, features, features))


def total_optimal_baseline(mdp: MDP, logits: Tensor, sharing: str = "none") -> Tensor:
    """The baseline that makes the variance of the whole estimate least, as a table [T+1, S].

    argmin over b of tr Cov[Σ_t γ^t u_t (G_t − b_t(s_t))]: matrix b = linear, from `baseline_quadratic`

    sharing as there. It equals `optimal_baseline` if scores at different times are orthogonal, or if actions do not
    influence the states to come. Entries that change nothing (a state that cannot be reached, or where the policy is
    deterministic) are 0. Tests hold it to the gradient of the variance and compare both.
    """
    quadratic = baseline_quadratic(mdp, logits, sharing)
    solution = torch.linalg.pinv(quadratic.matrix, hermitian=True) @ quadratic.linear
    steps, states = mdp.horizon + 1, mdp.num_states
    return solution.reshape(-1, states if sharing != "all" else 1).expand(steps, states).clone()
