"""Every trajectory of a small MDP, its probability, and trajectories drawn at random."""

import torch
from torch import Tensor

from rlbook.exact.arguments import check_batch, check_generator, log_policy
from rlbook.exact.mdp import MDP, Trajectories
from rlbook.returns import check_integer

MOST_TRAJECTORIES = 2_000_000


def trajectories(mdp: MDP) -> Trajectories:
    """Every trajectory that the dynamics allow, once, in lexicographic order.

    Those with ρ_0(s_0) Π_t P(s_{t+1}|s_t, a_t) = 0 are left out: no policy can reach them.
    Raises ValueError beyond two million. Tests hold it to Σ_τ P(τ|θ) = 1 (eq-trajectory-probability) and to a
    nested loop.
    """
    possible = mdp.transition > 0
    states = torch.nonzero(mdp.initial > 0)
    actions = states[:, :0]
    for _ in range(mdp.horizon + 1):
        row, action, next_state = torch.nonzero(possible[states[:, -1]], as_tuple=True)
        if len(row) > MOST_TRAJECTORIES:
            raise ValueError(f"more than {MOST_TRAJECTORIES} trajectories: S = {mdp.num_states}, "
                             f"A = {mdp.num_actions}, T = {mdp.horizon} is too large to enumerate")
        states = torch.cat([states[row], next_state[:, None]], dim=1)
        actions = torch.cat([actions[row], action[:, None]], dim=1)
    return Trajectories(states, actions, mdp.reward[states[:, :-1], actions, states[:, 1:]])


def sample(mdp: MDP, logits: Tensor, n: int, generator: torch.Generator | None = None) -> Trajectories:
    """Draw n independent trajectories by living through them, step by step.

    s_0 ~ ρ_0,  a_t ~ π_θ(·|s_t),  s_{t+1} ~ P(·|s_t, a_t),  t = 0..T  (eq-trajectory-probability)

    Raises ValueError for an n that is no integer >= 1, for logits that are not [S, A] and finite, and for a `generator`
    that is not on the MDP's device. Tests hold its frequencies to the enumerated probabilities (χ²).
    """
    check_integer("n", n, 1)
    check_generator(mdp, generator)
    policy = log_policy(mdp, logits).detach().exp()
    if not logits.isfinite().all():
        raise ValueError(f"logits must be finite to draw actions, got {logits[~logits.isfinite()][0].item()}")
    states, actions = [_draw(mdp.initial.expand(n, -1), generator)], []
    for _ in range(mdp.horizon + 1):
        actions.append(_draw(policy[states[-1]], generator))
        states.append(_draw(mdp.transition[states[-1], actions[-1]], generator))
    states, actions = torch.stack(states, dim=1), torch.stack(actions, dim=1)
    return Trajectories(states, actions, mdp.reward[states[:, :-1], actions, states[:, 1:]])


def log_probs(mdp: MDP, batch: Trajectories, logits: Tensor) -> Tensor:
    """Log-probability [N] of each trajectory, differentiable in the logits.

    log P(τ|θ) = log ρ_0(s_0) + Σ_t [log P(s_{t+1}|s_t, a_t) + log π_θ(a_t|s_t)]  (eq-trajectory-probability)

    Raises ValueError for logits that are not [S, A] in the MDP's dtype and device, and for states [N, T+2] or actions
    [N, T+1] of other shapes or that the MDP does not have.
    """
    check_batch(mdp, batch)
    before, after = batch.states[:, :-1], batch.states[:, 1:]
    dynamics = mdp.initial[batch.states[:, 0]].log() + mdp.transition[before, batch.actions, after].log().sum(dim=1)
    return dynamics + log_policy(mdp, logits)[before, batch.actions].sum(dim=1)


def _draw(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """One index per row [N, K], by inverting the distribution function; an entry of probability 0 is never drawn."""
    cumulative = probabilities.cumsum(dim=-1)
    cumulative = cumulative / cumulative[:, -1:]
    uniform = torch.rand(len(probabilities), 1, dtype=cumulative.dtype, device=cumulative.device, generator=generator)
    return (uniform >= cumulative).sum(dim=-1)
