"""Finite decision processes with a fixed horizon, as tensors, and batches of their trajectories."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.returns import check_discount, check_integer


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite decision process with a fixed horizon.

    Fields: initial [S] = ρ_0(s); transition [S, A, S] = P(s'|s, a); reward [S, A, S] = r(s, a, s'); gamma in [0, 1];
    horizon T >= 0, the time of the last action, so a trajectory has T+1 actions.
    Raises ValueError for shapes that disagree, a mix of dtypes or devices, negative or non-finite entries, and rows
    that do not sum to one (within 1e-6, or within 1e-4 in float32).
    """

    initial: Tensor
    transition: Tensor
    reward: Tensor
    gamma: float
    horizon: int

    def __post_init__(self) -> None:
        for name in ("initial", "transition", "reward"):
            values = getattr(self, name)
            if not isinstance(values, Tensor) or not values.is_floating_point():
                raise ValueError(f"{name} must be a floating point tensor, got {values!r:.60}")
            if values.dtype != self.initial.dtype or values.device != self.initial.device:
                raise ValueError(f"{name} is {values.dtype} on {values.device}, but initial is "
                                 f"{self.initial.dtype} on {self.initial.device}")
            if not values.isfinite().all():
                raise ValueError(f"{name} has entries that are not finite")
        states = self.initial.numel()
        if self.initial.dim() != 1 or states == 0:
            raise ValueError(f"initial must be [S], got {tuple(self.initial.shape)}")
        shape = tuple(self.transition.shape)
        if len(shape) != 3 or shape[0] != states or shape[2] != states or shape[1] == 0:
            raise ValueError(f"transition must be [S, A, S] with S = {states}, got {shape}")
        if self.reward.shape != self.transition.shape:
            raise ValueError(f"reward must be {shape} as transition is, got {tuple(self.reward.shape)}")
        _check_distribution("initial", self.initial)
        _check_distribution("transition", self.transition)
        check_discount("gamma", self.gamma)
        check_integer("horizon, the time T of the last action,", self.horizon, 0)

    @property
    def num_states(self) -> int:
        return self.transition.shape[0]

    @property
    def num_actions(self) -> int:
        return self.transition.shape[1]


class Trajectories(NamedTuple):
    """A batch of trajectories: states [N, T+2] and actions [N, T+1], integers, and rewards [N, T+1]."""

    states: Tensor
    actions: Tensor
    rewards: Tensor


def two_state_mdp(horizon: int = 2) -> MDP:
    """The book's running example: fresh (0) or tired (1), rest (0) or work (1).

    Work pays 2 when fresh and 0.5 when tired, less 0.6 or 0.7 where it leaves you tired; rest pays 0.1 and mostly
    restores. The best policy works when fresh and rests when tired. S = A = 2, T = 2, γ = 0.9: 128 trajectories.
    """
    initial = torch.tensor([0.7, 0.3], dtype=torch.float64)
    transition = torch.tensor([[[0.9, 0.1], [0.35, 0.65]], [[0.75, 0.25], [0.15, 0.85]]], dtype=torch.float64)
    reward = torch.tensor([[[0.1, 0.1], [2.0, 1.4]], [[0.1, 0.1], [0.5, -0.2]]], dtype=torch.float64)
    return MDP(initial, transition, reward, gamma=0.9, horizon=horizon)


def entrance_fee_mdp() -> MDP:
    """A fee first, then a choice: the smallest world in which past rewards reduce the variance.

    At the door (0) whatever you do costs 2; inside (1) the actions pay 1 and 3. S = A = 2, T = 1, γ = 1. At the second
    step the return is the reward to go less 2, so the fee acts as a baseline: under the uniform policy the estimate's
    variance is 1/2 with the return and 5/2 with the reward-to-go.
    """
    transition = torch.zeros(2, 2, 2, dtype=torch.float64)
    transition[:, :, 1] = 1
    reward = torch.tensor([[-2.0, -2.0], [1.0, 3.0]], dtype=torch.float64)[:, :, None].expand(2, 2, 2).clone()
    return MDP(torch.tensor([1.0, 0.0], dtype=torch.float64), transition, reward, gamma=1.0, horizon=1)


def stopping_mdp(go_on: float, stop: float, horizon: int = 1) -> MDP:
    """Go on or stop: the same running state is met at every step, so all steps share its parameters.

    Running (0): action 0 pays go_on and runs on, action 1 pays stop and ends in state 1, where nothing is paid any more.
    S = A = 2, γ = 1. Raises ValueError for rewards that are not finite numbers.
    """
    for name, value in (("go_on", go_on), ("stop", stop)):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value!r}")
    transition = torch.zeros(2, 2, 2, dtype=torch.float64)
    transition[0, 0, 0] = transition[0, 1, 1] = transition[1, :, 1] = 1
    reward = torch.zeros(2, 2, 2, dtype=torch.float64)
    reward[0, 0], reward[0, 1] = go_on, stop
    return MDP(torch.tensor([1.0, 0.0], dtype=torch.float64), transition, reward, gamma=1.0, horizon=horizon)


def bandit(rewards: Tensor) -> MDP:
    """A bandit: one state, one step, action a pays rewards[a]. Raises ValueError unless rewards is [A]."""
    if not isinstance(rewards, Tensor) or rewards.dim() != 1 or rewards.numel() == 0 or not rewards.is_floating_point():
        raise ValueError(f"rewards must be a floating point tensor [A], got {rewards!r:.60}")
    table = rewards[None, :, None]
    one = torch.ones(1, dtype=rewards.dtype, device=rewards.device)
    return MDP(one, torch.ones_like(table), table, gamma=1.0, horizon=0)


def _check_distribution(name: str, values: Tensor) -> None:
    if (values < 0).any():
        raise ValueError(f"{name} has a negative probability: {values.min().item():g}")
    worst = (values.sum(dim=-1) - 1).abs().max().item()
    if worst > (1e-6 if values.dtype == torch.float64 else 1e-4):
        raise ValueError(f"{name} must sum to one over its last axis, but one sum is off by {worst:.3g}")
