"""Collecting a fixed number of steps from Gymnasium's vector environments, going on where the last call stopped.

Episodes begin and end anywhere in a segment. Under NEXT_STEP autoreset the step after the end of an episode is made up:
the environment ignores the action and returns the first observation of the next episode. `valid` marks these steps.
"""

from typing import NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlbook.control import arguments
from rlbook.control.policies import CategoricalPolicy
from rlbook.control.rollouts import check_policy
from rlbook.returns import check_integer


class Segment(NamedTuple):
    """T+1 consecutive steps of N environments, on the CPU; t = 0..T, whatever episodes they belong to.

    observations [N, T+1, D] float32, s_t; next_observations [N, T+1, D], the true s_{t+1}, also where an episode ends;
    actions [N, T+1] int64; rewards [N, T+1] float32; terminated, truncated [N, T+1] bool: what the environment reported
    with r_t; valid [N, T+1] bool: False for the made-up step from the last state of an episode to the first of the
    next, whose action and reward are 0.
    """

    observations: Tensor
    next_observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> "Segment":
        """The same segment on another device."""
        return Segment(*(field.to(device) for field in self))


class Position(NamedTuple):
    """Where N environments stand between two segments: the last observation [N, D] that each returned, and whether [N]
    its last step ended an episode, so that the next one is made up."""

    observation: np.ndarray
    ended: np.ndarray


def reset_position(envs: VectorEnv, seed: int) -> Position:
    """Reset all environments. Raises ValueError for a negative seed."""
    check_integer("seed", seed, 0)
    observation, _ = envs.reset(seed=seed)
    return Position(np.array(observation), np.zeros(envs.num_envs, dtype=bool))


def collect_segment(
    envs: VectorEnv, policy: CategoricalPolicy, generator: torch.Generator, position: Position, num_steps: int
) -> tuple[Segment, Position]:
    """Run the policy for num_steps = T+1 steps from `position`; returns them, and where the next segment begins.

    `position` must be where these environments stand: what `reset_position` or the call before returned.
    Actions come from `generator` (CPU), one for each environment and step.
    Raises ValueError for a policy of other sizes than the environment's or with probabilities that are not finite, a
    position of other shapes, a number of steps that is no integer >= 1, and a reward that is not finite.
    Tests hold it, transition by transition, to single environments stepped by hand.
    """
    check_policy(envs, policy)
    arguments.check_generator(generator)
    check_integer("num_steps", num_steps, 1)
    _check_position(envs, position)
    observation, ended = position
    steps = []
    for _ in range(num_steps):
        actions = policy.sample(torch.as_tensor(observation, dtype=torch.float32), generator).numpy()
        following, rewards, terminated, truncated, _ = envs.step(actions)
        following = np.array(following)  # an environment may write its next observation over the last
        steps.append((observation, following, np.where(ended, 0, actions), np.where(ended, 0.0, rewards),
                      terminated & ~ended, truncated & ~ended, ~ended))
        observation, ended = following, (terminated | truncated) & ~ended
    states, following, actions, rewards, *flags = (
        torch.as_tensor(np.stack(field, axis=1)) for field in zip(*steps, strict=True)
    )
    if not rewards.isfinite().all():
        raise ValueError("the environment returned a reward that is not finite")
    return Segment(states.float(), following.float(), actions, rewards.float(), *flags), Position(observation, ended)


def _check_position(envs: VectorEnv, position: Position) -> None:
    if not isinstance(position, Position):
        raise ValueError(f"position must be a Position, as reset_position returns it, got {type(position).__name__}")
    given = tuple(np.shape(field) for field in position)
    needed = ((envs.num_envs, *envs.single_observation_space.shape), (envs.num_envs,))
    if given != needed or np.asarray(position.ended).dtype != bool:
        raise ValueError(f"position must hold observations {needed[0]} and booleans {needed[1]}, got {given[0]} and "
                         f"{np.asarray(position.ended).dtype} {given[1]}")
