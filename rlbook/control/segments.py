"""Collecting a fixed number of steps from Gymnasium's vector environments, going on where the last call stopped.

Episodes begin and end anywhere in a segment. Under NEXT_STEP autoreset the step after the end of an episode is made up:
the environment ignores the action and returns the first observation of the next episode. `valid` marks these steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from rlbook.control import arguments
from rlbook.control.policies import Policy
from rlbook.control.rollouts import check_policy
from rlbook.returns import check_integer


class Segment(NamedTuple):
    """T+1 consecutive steps of N environments, on the CPU; t = 0..T, whatever episodes they belong to.

    observations [N, T+1, D] float32, s_t; next_observations [N, T+1, D], the true s_{t+1}, also where an episode ends;
    actions [N, T+1] int64, or [N, T+1, A] float32 as they were drawn; rewards [N, T+1] float32; terminated, truncated
    [N, T+1] bool: what the environment reported with r_t; valid [N, T+1] bool: False for the made-up step from the last
    state of an episode to the first of the next, whose action and reward are 0.
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
    envs: VectorEnv, policy: Policy, generator: torch.Generator, position: Position, num_steps: int
) -> tuple[Segment, Position]:
    """Run the policy for num_steps = T+1 steps from `position`; returns them, and where the next segment begins.

    `position` must be where these environments stand: what `reset_position` or the call before returned.
    Actions come from `generator` (CPU), one for each environment and step; real ones are clipped to the environment's
    box on their way there, and returned as they were drawn.
    Raises ValueError for a policy of another kind or size than the environment's or with outputs that are not finite, a
    position of other shapes, a number of steps that is no integer >= 1, and a reward or observation that is not finite.
    Tests hold it, transition by transition, to single environments stepped by hand.
    """
    check_policy(envs, policy)
    arguments.check_generator(generator)
    check_integer("num_steps", num_steps, 1)
    _check_position(envs, position)
    policy.sample(torch.as_tensor(position.observation, dtype=torch.float32), torch.Generator())  # its checks, once
    device, limit, n = next(policy.parameters()).device, action_limit(envs), envs.num_envs
    states = np.empty((n, num_steps + 1, *envs.single_observation_space.shape), dtype=np.float32)
    actions = np.empty((n, num_steps, *envs.single_action_space.shape), dtype=envs.single_action_space.dtype)
    rewards = np.empty((n, num_steps))
    flags = np.empty((2, n, num_steps), dtype=bool)
    observation = position.observation
    with torch.inference_mode():
        for t in range(num_steps):
            states[:, t] = observation
            outputs = policy(torch.from_numpy(states[:, t]).to(device)).cpu()
            actions[:, t] = policy.draw(outputs, generator).numpy()
            observation, rewards[:, t], flags[0, :, t], flags[1, :, t], _ = envs.step(limit(actions[:, t]))
    states[:, num_steps] = observation
    ended = np.concatenate([position.ended[:, None], flags.any(axis=0)], axis=1)
    _check_steps(states, rewards, ended)
    valid = ~ended[:, :-1]
    actions[~valid], rewards[~valid] = 0, 0.0
    following = Position(np.array(observation), ended[:, -1])
    states, actions, rewards, terminated, truncated, valid = map(torch.from_numpy, (states, actions, rewards, *flags, valid))
    return Segment(states[:, :-1], states[:, 1:], actions, rewards.float(), terminated, truncated, valid), following


def action_limit(envs: VectorEnv) -> Callable[[np.ndarray], np.ndarray]:
    """What actions [N] or [N, A] pass through on their way to the environment: clipped to its box, or as they are."""
    space = envs.single_action_space
    if isinstance(space, gymnasium.spaces.Box):
        return lambda actions: np.clip(actions, space.low, space.high)
    return lambda actions: actions


def _check_steps(states: np.ndarray, rewards: np.ndarray, ended: np.ndarray) -> None:
    if not np.isfinite(rewards).all():
        raise ValueError("the environment returned a reward that is not finite")
    if not np.isfinite(states).all():
        raise ValueError("the environment returned an observation that is not finite")
    if (ended[:, 1:] & ended[:, :-1]).any():
        raise ValueError("the environment reported an end with a made-up step: its autoreset is not NEXT_STEP")


def _check_position(envs: VectorEnv, position: Position) -> None:
    if not isinstance(position, Position):
        raise ValueError(f"position must be a Position, as reset_position returns it, got {type(position).__name__}")
    given = tuple(np.shape(field) for field in position)
    needed = ((envs.num_envs, *envs.single_observation_space.shape), (envs.num_envs,))
    if given != needed or np.asarray(position.ended).dtype != bool:
        raise ValueError(f"position must hold observations {needed[0]} and booleans {needed[1]}, got {given[0]} and "
                         f"{np.asarray(position.ended).dtype} {given[1]}")
