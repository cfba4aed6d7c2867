"""Collecting whole episodes from Gymnasium's vector environments, exactly.

Each of N environments runs its first episode and no more; what comes after its end is masked. Under NEXT_STEP
autoreset, which is asked for explicitly, the observation that arrives with the end of an episode is its true last one,
and the made-up transition that follows falls behind the mask.
"""

from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from rlbook.control import arguments
from rlbook.control.policies import CategoricalPolicy, Policy
from rlbook.returns import check_integer


class Episodes(NamedTuple):
    """A batch D of N trajectories, on the CPU; time runs over t = 0..T of the longest, shorter ones end in zeros.

    observations [N, T+2, D] float32, s_0 to s_{T+1}; actions [N, T+1] int64; rewards [N, T+1] float32;
    terminated, truncated [N, T+1] bool: what the environment reported with r_t; mask [N, T+1] bool: whether t is in
    the episode.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "Episodes":
        """The same episodes on another device."""
        return Episodes(*(field.to(device) for field in self))

    @property
    def lengths(self) -> Tensor:
        """Number of actions [N] of each episode."""
        return self.mask.sum(dim=-1)


def make_envs(env_id: str, num_envs: int, max_episode_steps: int | None = None) -> VectorEnv:
    """N copies of an environment, vectorised by its own class where it has one, else stepped one after the other.

    max_episode_steps: where to truncate; None keeps the environment's own limit.
    Raises ValueError for an unknown id, an environment that needs what is not installed, numbers that are no integers
    >= 1, actions that are neither Discrete from 0 nor a flat Box of float32, observations that are not a flat Box, no
    limit at all on the length of an episode, or a vector class without NEXT_STEP autoreset.
    """
    arguments.check_env_id(env_id)
    check_integer("num_envs", num_envs, 1)
    if max_episode_steps is not None:
        check_integer("max_episode_steps", max_episode_steps, 1)
    try:
        spec = gymnasium.spec(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"unknown environment {env_id!r}: {error}") from error
    limit = {} if max_episode_steps is None else {"max_episode_steps": max_episode_steps}
    if not limit and spec.max_episode_steps is None:
        raise ValueError(f"{env_id} has no time limit, so an episode may never end: give max_episode_steps")
    mode, settings = "vector_entry_point", {}
    if spec.vector_entry_point is None:
        mode, settings = "sync", {"vector_kwargs": {"autoreset_mode": AutoresetMode.NEXT_STEP}}
    try:
        envs = gymnasium.make_vec(env_id, num_envs, mode, **settings, **limit)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"{env_id} cannot be made: {error}") from error
    try:
        _check_spaces(env_id, envs)
    except ValueError:
        envs.close()
        raise
    return envs


def collect(envs: VectorEnv, policy: CategoricalPolicy, generator: torch.Generator, seed: int) -> Episodes:
    """Run the policy for one episode in each environment: D = {τ_1, ..., τ_N}, τ_i ~ π_θ.

    Actions come from `generator` (CPU), the environments from `seed`, so both together decide the result.
    Raises ValueError for a policy of other sizes than the environment's or with probabilities that are not finite, a
    negative seed, and if the environment returns a reward that is not finite.
    Tests hold it, transition by transition, to single environments stepped by hand.
    """
    if not isinstance(policy, CategoricalPolicy):
        raise ValueError(f"policy must be a CategoricalPolicy, got {type(policy).__name__}")
    check_policy(envs, policy)
    arguments.check_generator(generator)
    check_integer("seed", seed, 0)
    observation, _ = envs.reset(seed=seed)
    running = np.ones(envs.num_envs, dtype=bool)
    observations, steps = [observation], []
    while running.any():
        actions = policy.sample(torch.as_tensor(observation, dtype=torch.float32), generator).numpy()
        observation, rewards, terminated, truncated, _ = envs.step(actions)
        observations.append(np.where(running[:, None], observation, 0.0))
        steps.append([np.where(running, x, 0) for x in (actions, rewards, terminated, truncated)] + [running])
        running = running & ~(terminated | truncated)
    actions, rewards, terminated, truncated, mask = (
        torch.as_tensor(np.stack(field, axis=1)) for field in zip(*steps, strict=True)
    )
    if not rewards.isfinite().all():
        raise ValueError("the environment returned a reward that is not finite")
    states = torch.as_tensor(np.stack(observations, axis=1)).float()
    return Episodes(states, actions, rewards.float(), terminated.bool(), truncated.bool(), mask)


def check_policy(envs: VectorEnv, policy: Policy) -> None:
    """Raise ValueError unless policy is one that fits the environment's observations and actions."""
    if not isinstance(policy, Policy):
        raise ValueError(f"policy must be a CategoricalPolicy or a GaussianPolicy, got {type(policy).__name__}")
    kind, needed = policy_sizes(envs)
    if policy.kind != kind:
        raise ValueError(f"the environment has actions {envs.single_action_space} and needs a {kind} policy, "
                         f"got a {policy.kind} one")
    sizes = (policy.sizes[0], policy.sizes[-1])
    if sizes != needed:
        verb = "chooses among" if kind == "categorical" else "draws vectors of"
        raise ValueError(f"the policy takes {sizes[0]} numbers and {verb} {sizes[1]} actions, but the environment "
                         f"gives {needed[0]} and has {needed[1]}")


def policy_sizes(envs: VectorEnv) -> tuple[str, tuple[int, int]]:
    """The kind of policy that the environment needs, of `POLICIES`, and how many numbers it takes and gives."""
    actions, observations = envs.single_action_space, envs.single_observation_space
    if isinstance(actions, gymnasium.spaces.Discrete):
        return "categorical", (observations.shape[0], int(actions.n))
    return "gaussian", (observations.shape[0], actions.shape[0])


def _check_spaces(env_id: str, envs: VectorEnv) -> None:
    actions, observations = envs.single_action_space, envs.single_observation_space
    discrete = isinstance(actions, gymnasium.spaces.Discrete) and actions.start == 0
    real = isinstance(actions, gymnasium.spaces.Box) and len(actions.shape) == 1 and actions.dtype == np.float32
    if not discrete and not real:
        raise ValueError(f"{env_id} has actions {actions}; policies here are categorical and need Discrete(n) from 0, "
                         f"or Gaussian and need a Box with one axis, float32")
    if not isinstance(observations, gymnasium.spaces.Box) or len(observations.shape) != 1:
        raise ValueError(f"{env_id} has observations {observations}; this policy needs a Box with one axis")
    if envs.metadata.get("autoreset_mode") is not AutoresetMode.NEXT_STEP:
        mode = envs.metadata.get("autoreset_mode")
        raise ValueError(f"{env_id}'s vector environment must use NEXT_STEP autoreset, got {mode}")
