"""Who gets the credit? Exact variances of the policy gradient with a critic and with a group's mean, for rewards token by
token and rewards at the end. It takes a second for each length, so chapters run it live."""

import math

import torch
from torch import Tensor

from rlbook import exact
from rlbook.returns import check_integer

REWARDS = ("dense", "terminal", "exact match")
CRITICS = ("perfect", "zero", "stale", "inverted")


def token_mdp(length: int, rewards: str) -> exact.MDP:
    """Completions of `length` tokens, each right (action 1) or wrong (0); the state is how many tokens stand there and how
    many of them are right.

    rewards "dense": 1 / length for a right token, as it is written; "terminal": the same sum, with the last token;
    "exact match": 1 with the last token if all are right. "dense" and "terminal" have the same return for every completion,
    hence the same objective and the same gradient. γ = 1. Raises ValueError for another word, and for no token.
    """
    check_integer("length", length, 1)
    if rewards not in REWARDS:
        raise ValueError(f"rewards must be one of {REWARDS}, got {rewards!r}")
    count = (length + 1) * (length + 2) // 2
    transition = torch.zeros(count, 2, count, dtype=torch.float64)
    reward = torch.zeros_like(transition)
    for t in range(length):
        for right in range(t + 1):
            for action in (0, 1):
                total, here, after = right + action, place(t, right), place(t + 1, right + action)
                transition[here, action, after] = 1
                last = t == length - 1
                paid = {"dense": action / length, "terminal": last * total / length, "exact match": last * (total == length)}
                reward[here, action, after] = float(paid[rewards])
    for right in range(length + 1):
        transition[place(length, right), :, place(length, right)] = 1
    start = torch.zeros(count, dtype=torch.float64)
    start[0] = 1
    return exact.MDP(start, transition, reward, gamma=1.0, horizon=length - 1)


def place(written: int, right: int) -> int:
    """The state's number: `written` tokens, `right` of them right."""
    return written * (written + 1) // 2 + right


def token_logits(length: int, right: float) -> Tensor:
    """The policy that writes the right token with that probability in every state; each state has logits of its own."""
    if not 0 < right < 1:
        raise ValueError(f"right must be a probability in (0, 1), got {right!r}")
    count = (length + 1) * (length + 2) // 2
    return torch.tensor([0.0, math.log(right / (1 - right))], dtype=torch.float64).expand(count, 2).clone()


def critic(mdp: exact.MDP, right: float, name: str) -> Tensor:
    """A table V̂ [T+2, S] for the policy `token_logits(length, right)`, by name.

    "perfect": its V; "zero"; "stale": V of a policy that is right half as often, as of a critic that learns too slowly;
    "inverted": 2 V_0 − V, which falls where V rises. Raises ValueError for another name.
    """
    if name not in CRITICS:
        raise ValueError(f"critic must be one of {CRITICS}, got {name!r}")
    if name == "zero":
        return torch.zeros(mdp.horizon + 2, mdp.num_states, dtype=torch.float64)
    values = exact.state_values(mdp, token_logits(mdp.horizon + 1, right / 2 if name == "stale" else right))
    if name == "inverted":
        values = 2 * values[0, 0] - values
        values[-1] = 0
    return values


def group_variance(mdp: exact.MDP, logits: Tensor, num_generations: int) -> Tensor:
    """Variance per completion, G tr Cov[ĝ_G], of the group's estimate without the standard deviation.

    ĝ_G = 1/G Σ_i (R_i − mean of the other R_j) s_i = 1/(G(G−1)) Σ_{i≠j} h_ij,  h_ij = ½ (R_i − R_j)(s_i − s_j)
    G tr Cov[ĝ_G] = 2/(G−1) · (2 (G−2) tr Cov[E[h_12 | 1]] + tr Cov[h_12]),  E[h_12 | 1] = ½ ((R_1 − J) s_1 + ∇J)

    s_i is the score of the completion, R_i its return; the same G/(G−1) times the mean with the own sample in the baseline
    (eq-rloo). It is a U-statistic (Hoeffding 1948): as G grows it tends to the variance of (R − J) s. Tests hold it to the
    enumeration of all groups. Raises ValueError for groups of one.
    """
    check_integer("num_generations", num_generations, 2)
    every = exact.trajectories(mdp)
    chance = exact.log_probs(mdp, every, logits).exp()
    score, total = exact.step_scores(mdp, every, logits).sum(1), every.rewards.sum(-1)
    objective, gradient = chance @ total, chance @ (total[:, None] * score)
    known = ((total - objective)[:, None] * score + gradient) / 2
    first = chance @ (known - gradient).square().sum(-1)
    squares = (total[:, None] - total).square() * (score.square().sum(-1)[:, None] + score.square().sum(-1) - 2 * score @ score.T)
    second = chance @ (squares / 4) @ chance - gradient.square().sum()
    return 2 / (num_generations - 1) * (2 * (num_generations - 2) * first + second)


def to_go_variance(mdp: exact.MDP, logits: Tensor) -> Tensor:
    """Variance per completion of Σ_t u_t (G_t − E[G_t]): the mean of a group at every position, in the limit of a large group.

    What "process supervision" does in GRPO's paper: each token is weighted by the rewards that come after it, compared with
    the others' at the same position. For terminal rewards it is (R − J) s again.
    """
    every = exact.trajectories(mdp)
    chance = exact.log_probs(mdp, every, logits).exp()
    to_go = every.rewards.flip(-1).cumsum(-1).flip(-1)
    return exact.total_variance(mdp, logits, to_go - chance @ to_go)


def compare_credit(length: int, rewards: str, right: float = 0.5) -> dict[str, dict[str, float]]:
    """Squared bias and variance per completion of each estimate, relative to ‖∇J‖², by name.

    "group of G" for 2, 4, 8, 16; "group, to go" (`to_go_variance`); "<critic>, λ=<λ>" for λ = 1, 0.95, 0: PPO's advantages.
    With right = 1/2 both actions have scores of one length, so that V is the best baseline of a state; elsewhere it is not
    (eq-optimal-baseline), and a critic that is wrong in the right direction can have less variance than the true one.
    The mean of N completions has an expected squared error of squared_bias + variance / N. Raises as `token_mdp` does.
    """
    mdp, logits = token_mdp(length, rewards), token_logits(length, right)
    size = exact.gradient(mdp, logits).square().sum()
    rows = {f"group of {g}": (0.0, group_variance(mdp, logits, g)) for g in (2, 4, 8, 16)}
    rows["group, to go"] = (0.0, to_go_variance(mdp, logits))
    for name in CRITICS:
        for lam in (1.0, 0.95, 0.0):
            found = exact.gae_bias_variance(mdp, logits, critic(mdp, right, name), lam)
            rows[f"{name}, λ={lam:g}"] = (found.squared_bias, found.variance)
    return {name: {"squared_bias": float(bias / size), "variance": float(variance / size)}
            for name, (bias, variance) in rows.items()}
