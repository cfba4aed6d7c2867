"""Weights Φ_t of the policy gradient, as [N, T+1] from a batch of trajectories, for `policy_gradient_estimates`.

∇_θ J(π_θ) = E[Σ_t ∇_θ log π_θ(a_t|s_t) Φ_t]  (eq-general-form)

Every function here returns such a Φ, γ^t included, so that with each the mean is the gradient of the discounted
objective; `gae` alone needs a true critic or λ = 1 for that. Tests hold the exact means to `gradient`.
All raise ValueError for trajectories that are not of the MDP or not T+1 steps long, and for tables and logits of
another shape, dtype or device than the MDP's.
"""

import torch
from torch import Tensor

from rlbook import returns
from rlbook.exact import values
from rlbook.exact.arguments import check_horizon, critic_table, table_over_time
from rlbook.exact.mdp import MDP, Trajectories


def discounts(mdp: MDP) -> Tensor:
    """γ^t for t = 0..T, as [T+1]: how much the objective counts time t."""
    return mdp.gamma ** torch.arange(mdp.horizon + 1, dtype=mdp.reward.dtype, device=mdp.reward.device)


def total_return(mdp: MDP, batch: Trajectories) -> Tensor:
    """Φ_t = R(τ) at every t  (eq-phi-return). Returns [N, T+1]."""
    check_horizon(mdp, batch)
    return returns.total_returns(batch.rewards, gamma=mdp.gamma)


def reward_to_go(mdp: MDP, batch: Trajectories, baseline: Tensor | None = None) -> Tensor:
    """Φ_t = γ^t (G_t − b_t(s_t)),  G_t = Σ_{t'≥t} γ^{t'−t} r_{t'}  (eq-phi-reward-to-go, eq-phi-baseline).

    baseline: a table [S], [T+1, S] or [T+2, S], of whose rows t = 0..T count; none means 0. Returns [N, T+1].
    """
    check_horizon(mdp, batch)
    to_go = returns.rewards_to_go(batch.rewards, gamma=mdp.gamma)
    if baseline is not None:
        to_go = to_go - values.look_up(mdp, batch, table_over_time(mdp, "baseline", baseline))
    return discounts(mdp) * to_go


def action_value(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Φ_t = γ^t Q_t(s_t, a_t)  (eq-action-value). Returns [N, T+1]."""
    return discounts(mdp) * values.look_up(mdp, batch, values.action_values(mdp, logits))


def advantage(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Φ_t = γ^t A_t(s_t, a_t)  (eq-advantage). Returns [N, T+1]."""
    return discounts(mdp) * values.look_up(mdp, batch, values.advantages(mdp, logits))


def td_errors(mdp: MDP, batch: Trajectories, critic: Tensor) -> Tensor:
    """δ_t = r_t + γ V̂_{t+1}(s_{t+1}) − V̂_t(s_t)  (eq-td-error), without γ^t. Critic and shape as in `gae`."""
    now, after, ended = _along(mdp, batch, critic)
    return returns.td_errors(batch.rewards, now, after, ended, mdp.gamma)


def gae(mdp: MDP, batch: Trajectories, critic: Tensor, lam: float) -> Tensor:
    """Φ_t = γ^t Â_t,  Â_t = Σ_{l≥0} (γλ)^l δ_{t+l}  (eq-gae).

    critic: any table V̂ as [S], [T+1, S] or [T+2, S], such as `state_values` or a wrong one. The end is worth 0:
    V̂_{T+1} is 0 whatever [S] says, and a last row of [T+2, S] that is not 0 raises ValueError, as does a λ outside
    [0, 1]. Returns [N, T+1].
    """
    now, after, ended = _along(mdp, batch, critic)
    return discounts(mdp) * returns.gae(batch.rewards, now, after, ended, torch.zeros_like(ended), mdp.gamma, lam)


def _along(mdp: MDP, batch: Trajectories, critic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The critic at s_t and at s_{t+1}, and whether step t is the last, each [N, T+1]."""
    check_horizon(mdp, batch)
    table = critic_table(mdp, critic)
    time = torch.arange(mdp.horizon + 2, device=mdp.reward.device)
    values = table[time, batch.states]
    return values[:, :-1], values[:, 1:], (time[1:] > mdp.horizon).expand(batch.actions.shape)
