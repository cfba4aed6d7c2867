"""What a wrong critic does to generalized advantage estimation: exact bias and variance of the policy gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.exact.arguments import critic_table, log_policy
from rlbook.exact.enumeration import trajectories
from rlbook.exact.estimates import gradient, moments, policy_gradient_estimates
from rlbook.exact.mdp import MDP
from rlbook.exact.weights import gae
from rlbook.returns import check_discount, check_integer


class BiasVariance(NamedTuple):
    """Of an estimate from one trajectory: bias [S·A] = E[ĝ] − ∇J, its square norm, and the variance tr Cov[ĝ]."""

    bias: Tensor
    squared_bias: Tensor
    variance: Tensor

    def mean_squared_error(self, n: int) -> Tensor:
        """E‖ĝ − ∇J‖² = ‖bias‖² + variance / N for the mean of N independent trajectories, a scalar."""
        check_integer("n", n, 1)
        return self.squared_bias + self.variance / n


def gae_bias_variance(mdp: MDP, logits: Tensor, critic: Tensor, lam: float) -> BiasVariance:
    """Bias and variance of ĝ(τ) = Σ_t γ^t u_t Â_t with the advantages that any critic gives  (eq-gae).

    critic and lam as in `weights.gae`. Raises ValueError as it does. The bias is 0 for λ = 1 and for a critic that is
    wrong by a constant at each time, whatever λ. Tests hold it to `expected_gae`.
    """
    every = trajectories(mdp)
    weights = gae(mdp, every, critic, lam)
    mean, covariance = moments(mdp, logits, lambda batch, x: policy_gradient_estimates(mdp, batch, x, weights))
    bias = mean - gradient(mdp, logits).flatten()
    return BiasVariance(bias, bias.square().sum(), covariance.trace())


def expected_gae(mdp: MDP, logits: Tensor, critic: Tensor, lam: float) -> Tensor:
    """Mean of the estimated advantage once state and action are known, as a table [T+1, S, A].

    E[Â_t|s, a] = Σ_s' P(s'|s, a) [r + γ V̂_{t+1}(s') − V̂_t(s) + γλ Σ_a' π_θ(a'|s') E[Â_{t+1}|s', a']],  E[Â_{T+1}] = 0

    With e = V̂ − V it is A_t(s, a) − e_t(s) + γ(1 − λ) Σ_{l≥0} (γλ)^l E[e_{t+l+1}(s_{t+l+1}) | s, a]  (eq-gae-bias).
    Raises ValueError as `weights.gae` does. Tests hold both to the enumerated trajectories.
    """
    check_discount("lam", lam)
    table, policy = critic_table(mdp, critic), log_policy(mdp, logits).exp()
    after, rows = torch.zeros_like(mdp.initial), []
    for t in reversed(range(mdp.horizon + 1)):
        target = mdp.reward + mdp.gamma * (table[t + 1] + lam * after)
        rows.append((mdp.transition * target).sum(-1) - table[t, :, None])
        after = (policy * rows[-1]).sum(-1)
    return torch.stack(rows[::-1])
