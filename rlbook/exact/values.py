"""Values of a policy with so many steps left: exact tables by recursion backwards in time.

The horizon is finite, so a value depends on the time as well as on the state: V is [T+2, S] and Q and A are
[T+1, S, A], time first. All are differentiable in the logits.
"""

import torch
from torch import Tensor

from rlbook.exact.arguments import check_horizon, describe, log_policy, table_over_time
from rlbook.exact.mdp import MDP, Trajectories


def state_values(mdp: MDP, logits: Tensor) -> Tensor:
    """Expected reward-to-go from a state, as a table [T+2, S], differentiable.

    V_t(s) = E[G_t | s_t = s] = Σ_a π_θ(a|s) Q_t(s, a),  V_{T+1} = 0  (eq-state-value, eq-bellman)

    Raises ValueError for logits that are not [S, A] in the MDP's dtype and device. Tests hold it to the conditional
    means of G_t over the enumerated trajectories, and Σ_s ρ_0(s) V_0(s) to `expected_return`.
    """
    return bellman(mdp, logits)[0]


def action_values(mdp: MDP, logits: Tensor) -> Tensor:
    """Expected reward-to-go from a state and an action, as a table [T+1, S, A], differentiable.

    Q_t(s, a) = E[G_t | s_t = s, a_t = a] = Σ_s' P(s'|s, a) [r(s, a, s') + γ V_{t+1}(s')]  (eq-action-value, eq-bellman)

    Raises ValueError as `state_values` does. Tests hold it to the conditional means of G_t.
    """
    return bellman(mdp, logits)[1]


def advantages(mdp: MDP, logits: Tensor) -> Tensor:
    """How much better an action is than the policy's average, as a table [T+1, S, A], differentiable.

    A_t(s, a) = Q_t(s, a) − V_t(s),  Σ_a π_θ(a|s) A_t(s, a) = 0  (eq-advantage)

    Raises ValueError as `state_values` does.
    """
    values, of_actions = bellman(mdp, logits)
    return of_actions - values[:-1, :, None]


def return_variances(mdp: MDP, logits: Tensor) -> Tensor:
    """Variance of the reward-to-go once state and action are known, as a table [T+1, S, A].

    Var[G_t|s, a] = Σ_s' P(s'|s, a) [(r + γ V_{t+1}(s') − Q_t(s, a))² + γ² Var[G_{t+1}|s']],
    Var[G_t|s] = Σ_a π_θ(a|s) [A_t(s, a)² + Var[G_t|s, a]],  Var[G_{T+1}|s] = 0

    Raises ValueError as `state_values` does. Source: Sobel (1982), for a discounted infinite horizon. Tests hold it to
    the conditional variances over the enumerated trajectories.
    """
    (values, of_actions), policy = bellman(mdp, logits), log_policy(mdp, logits).exp()
    after, tables = torch.zeros_like(mdp.initial), []
    for t in reversed(range(mdp.horizon + 1)):
        surprise = mdp.reward + mdp.gamma * values[t + 1] - of_actions[t, :, :, None]
        tables.append((mdp.transition * (surprise.square() + mdp.gamma**2 * after)).sum(-1))
        after = (policy * ((of_actions[t] - values[t, :, None]).square() + tables[-1])).sum(-1)
    return torch.stack(tables[::-1])


def occupancies(mdp: MDP, logits: Tensor) -> Tensor:
    """Probability of each state and action at each time, as a table [T+1, S, A], differentiable.

    d_t(s, a) = P(s_t = s, a_t = a),  d_0(s, a) = ρ_0(s) π_θ(a|s),
    d_{t+1}(s', a') = Σ_{s,a} d_t(s, a) P(s'|s, a) π_θ(a'|s')

    Raises ValueError as `state_values` does. Tests hold it to the enumerated trajectories.
    """
    policy, state, tables = log_policy(mdp, logits).exp(), mdp.initial, []
    for _ in range(mdp.horizon + 1):
        tables.append(state[:, None] * policy)
        state = torch.einsum("sa,sax->x", tables[-1], mdp.transition)
    return torch.stack(tables)


def look_up(mdp: MDP, batch: Trajectories, table: Tensor) -> Tensor:
    """The entries of a table that each trajectory meets, Φ [N, T+1].

    Φ_t = table_t(s_t) for a table [S], [T+1, S] or [T+2, S];  Φ_t = table_t(s_t, a_t) for a table [T+1, S, A]

    Raises ValueError for a table of another shape, dtype or device, and for trajectories that are not of the MDP or
    not T+1 steps long.
    """
    check_horizon(mdp, batch)
    time = torch.arange(mdp.horizon + 1, device=mdp.reward.device)
    if isinstance(table, Tensor) and table.dim() == 3:
        shape = (mdp.horizon + 1, mdp.num_states, mdp.num_actions)
        if tuple(table.shape) != shape or table.dtype != mdp.reward.dtype or table.device != mdp.reward.device:
            raise ValueError(f"table must be [T+1, S, A] = {shape} of the MDP's {mdp.reward.dtype} on "
                             f"{mdp.reward.device}, got {describe(table)} on {table.device}")
        return table[time, batch.states[:, :-1], batch.actions]
    return table_over_time(mdp, "table", table)[time, batch.states[:, :-1]]


def bellman(mdp: MDP, logits: Tensor) -> tuple[Tensor, Tensor]:
    """V [T+2, S] and Q [T+1, S, A] of a policy, by the Bellman equations read backwards in time  (eq-bellman-q, eq-bellman-v).

    Raises ValueError as `state_values` does.
    """
    policy = log_policy(mdp, logits).exp()
    state_value, tables = torch.zeros_like(mdp.initial), []    # V_{T+1} = 0
    for _ in range(mdp.horizon + 1):                           # t = T, ..., 0
        # Q_t(s, a): the mean over s' of r(s, a, s') + γ V_{t+1}(s')
        target = mdp.reward + mdp.gamma * state_value
        action_value = (mdp.transition * target).sum(-1)
        # V_t(s): the mean over a of Q_t(s, a)
        state_value = (policy * action_value).sum(-1)
        tables.append((state_value, action_value))
    state_values, action_values = zip(*tables[::-1], strict=True)
    end = torch.zeros_like(mdp.initial)
    return torch.stack([*state_values, end]), torch.stack(action_values)
