"""How often does a weight with less noise in it make the policy gradient noisier? A survey of random decision processes.

It takes seconds, so chapters run it live.
"""

import torch
from torch import Tensor

from rlbook import exact
from rlbook.exact import weights
from rlbook.returns import check_discount, check_integer

REWARDS = ("normal", "positive", "by state")
WEIGHTS = ("return", "to-go", "to-go − V", "to-go − b*", "Q", "A")


def random_mdp(
    states: int, actions: int, horizon: int, gamma: float, rewards: str, generator: torch.Generator
) -> tuple[exact.MDP, Tensor]:
    """A random MDP in float64 and random logits [S, A].

    ρ_0 and P(·|s, a) are softmaxes of standard normal numbers, and so is the policy. The rewards r(s, a, s') are
    standard normal ("normal"), their absolute values ("positive"), or such numbers plus three times one for each s
    ("by state"). Raises ValueError for another word and for sizes that are no integers >= 1.
    """
    if rewards not in REWARDS:
        raise ValueError(f"rewards must be one of {REWARDS}, got {rewards!r}")
    check_integer("states", states, 1)
    check_integer("actions", actions, 1)
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, got {generator!r}")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    initial, transition, table = normal(states), normal(states, actions, states), normal(states, actions, states)
    if rewards == "positive":
        table = table.abs()
    if rewards == "by state":
        table = table + 3 * normal(states, 1, 1)
    mdp = exact.MDP(initial.softmax(-1), transition.softmax(-1), table, gamma, horizon)
    return mdp, normal(states, actions)


def second_moments(mdp: exact.MDP, logits: Tensor) -> Tensor:
    """E‖ĝ(τ)‖² with each of `WEIGHTS`, in their order: as all have the same mean, they differ as the variances do.

    Tests hold it to `exact.total_variance` plus ‖∇J‖².
    """
    every = exact.trajectories(mdp)
    chance = exact.log_probs(mdp, every, logits).exp()
    baselines = (None, exact.state_values(mdp, logits), exact.optimal_baseline(mdp, logits))
    phis = [
        weights.total_return(mdp, every),
        *(weights.reward_to_go(mdp, every, baseline) for baseline in baselines),
        weights.action_value(mdp, every, logits),
        weights.advantage(mdp, every, logits),
    ]
    estimates = torch.einsum("wnt,ntd->wnd", torch.stack(phis), exact.step_scores(mdp, every, logits))
    return estimates.square().sum(dim=-1) @ chance


def survey(
    count: int = 1000, rewards: str = "normal", seed: int = 0, horizon: int = 2, gamma: float = 0.9
) -> tuple[dict[tuple[str, str], float], Tensor]:
    """Shares of random MDPs in which one weight has more variance than another, and all the numbers behind them.

    The MDPs have two states and, by turns, two and three actions. Returns a dict that maps (a, b), two of `WEIGHTS`, to
    the share with Var[a] > Var[b], and the second moments [count, len(WEIGHTS)] (see `second_moments`).
    """
    check_integer("count", count, 1)
    check_integer("seed", seed, 0)
    check_discount("gamma", gamma)
    generator = torch.Generator().manual_seed(seed)
    rows = [second_moments(*random_mdp(2, 2 + i % 2, horizon, gamma, rewards, generator)) for i in range(count)]
    table = torch.stack(rows)
    greater = (table[:, :, None] > table[:, None] * (1 + 1e-12)).double().mean(dim=0)
    shares = {(a, b): greater[i, j].item() for i, a in enumerate(WEIGHTS) for j, b in enumerate(WEIGHTS) if i != j}
    return shares, table
