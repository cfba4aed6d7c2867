"""The weight Φ_t of each score in the policy gradient: the line of the algorithm that changes from rung to rung.

Each takes a batch of whole episodes, the critic's values V_φ(s_0), ..., V_φ(s_{T+1}) [N, T+2] (None without a critic)
and the settings, and returns Φ [N, T+1]. What stands behind the end of an episode is for the mask to leave out.
"""

from collections.abc import Callable
from functools import wraps
from inspect import unwrap

import torch
from torch import Tensor

from rlbook.control.arguments import check_choice
from rlbook.returns import gae, rewards_to_go, total_returns


def total_return(episodes, values, config):
    """Φ_t = R(τ), the same for each step of an episode  (eq-phi-return)."""
    return total_returns(episodes.rewards, episodes.mask, config.gamma)


def reward_to_go(episodes, values, config):
    """Φ_t = G_t = Σ_{t'≥t} γ^{t'-t} r_{t'}: what came before the action is left out  (eq-phi-reward-to-go)."""
    return rewards_to_go(episodes.rewards, episodes.mask, config.gamma)


def baseline(episodes, values, config):
    """Φ_t = G_t − V_φ(s_t): how much better it went than the critic expected  (eq-phi-baseline)."""
    return rewards_to_go(episodes.rewards, episodes.mask, config.gamma) - values[..., :-1]


def advantage(episodes, values, config):
    """Φ_t = Â_t, generalized advantage estimation  (eq-gae); a terminated end is worth 0, a truncated one V_φ(s_{T+1})."""
    return gae(episodes.rewards, values[..., :-1], values[..., 1:],
               episodes.terminated, episodes.truncated, config.gamma,
               config.gae_lambda)


def needs_values(weight: Callable) -> Callable:
    """The same weight, which raises ValueError for values that are missing or not one for each state, [N, T+2]."""

    @wraps(weight)
    def checked(episodes, values, config):
        needed = episodes.observations.shape[:-1]
        if not isinstance(values, Tensor) or values.shape != needed:
            given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"values must be a tensor {tuple(needed)}, V of every state, for these weights, got {given}")
        return weight(episodes, values, config)

    return checked


WEIGHTS: dict[str, Callable] = {
    "return": total_return, "reward_to_go": reward_to_go, "baseline": needs_values(baseline), "gae": needs_values(advantage),
}


def uses_critic(name: str) -> bool:
    """Whether the weight of that name reads the critic's values. Raises ValueError for an unknown name."""
    check_choice("weights", name, tuple(WEIGHTS))
    return unwrap(WEIGHTS[name]) in (baseline, advantage)


def discounted_in_time(weights: Tensor, config) -> Tensor:
    """γ^t Φ_t, as the policy gradient of J asks where Φ_t is G_t, Q or A, counted from t; R(τ) has γ^t inside.

    Shapes: weights [..., T+1], t = 0..T; returns the same. With γ = 1 nothing changes.
    """
    if WEIGHTS[config.weights] is total_return:
        return weights
    times = torch.arange(weights.shape[-1], dtype=weights.dtype, device=weights.device)
    return weights * config.gamma**times


def scale_to_unit_std(weights: Tensor, mask: Tensor) -> Tensor:
    """Weights divided by their population standard deviation over the counted steps, not centred.

    Every weight is divided by one positive number, so ĝ keeps its direction and only its length changes from batch to
    batch. Where all counted weights are equal up to rounding, they are returned as they are: there is no scale.
    Raises ValueError for a mask that is not boolean, of the weights' shape and True somewhere.
    """
    if mask.dtype != torch.bool or mask.shape != weights.shape or not mask.any():
        raise ValueError(f"mask must be boolean, {tuple(weights.shape)} as the weights are, and True somewhere, "
                         f"got {mask.dtype} {tuple(mask.shape)} with {mask.sum().item()} steps")
    counted = weights[mask]
    spread = counted.std(correction=0)
    rounding = 10 * torch.finfo(weights.dtype).eps * counted.abs().max()
    return torch.where(spread > rounding, weights / spread, weights)
