"""How good a policy is, on fresh episodes."""

import numpy as np
import torch
from torch import Tensor

from rlbook.control import arguments
from rlbook.control.policies import Policy
from rlbook.control.rollouts import check_policy, make_envs
from rlbook.control.segments import action_limit
from rlbook.returns import check_integer


def evaluate(
    policy: Policy, env_id: str, episodes: int, seed: int, deterministic: bool = False, max_episode_steps: int | None = None
) -> Tensor:
    """Undiscounted returns [episodes], float64, of one episode in each of so many environments.

    Actions are drawn from the policy, or, if deterministic, the most probable ones; real ones are clipped to the
    environment's box. Nothing is learnt: moments of the observations stay as they are. The first episode of every
    environment counts, whatever its length, so short episodes are not counted more often than long ones.
    Raises ValueError for an environment that `make_envs` refuses, a policy that does not fit it, numbers that are no
    integers, episodes < 1, and a return that is not finite.
    """
    check_integer("episodes", episodes, 1)
    arguments.check_seed(seed)
    arguments.check_bool("deterministic", deterministic)
    envs = make_envs(env_id, episodes, max_episode_steps)
    try:
        check_policy(envs, policy)
        limit, generator = action_limit(envs), torch.Generator().manual_seed(seed)
        env_seed = int(np.random.SeedSequence(seed, spawn_key=(2,)).generate_state(1)[0] >> 1)
        observation, _ = envs.reset(seed=env_seed)
        returns, running = np.zeros(episodes), np.ones(episodes, dtype=bool)
        while running.any():
            states = torch.as_tensor(observation, dtype=torch.float32)
            actions = policy.mode(states) if deterministic else policy.sample(states, generator)
            observation, rewards, terminated, truncated, _ = envs.step(limit(actions.numpy()))
            returns += np.where(running, rewards, 0.0)
            running &= ~(terminated | truncated)
    finally:
        envs.close()
    if not np.isfinite(returns).all():
        raise ValueError("the environment returned a reward that is not finite")
    return torch.from_numpy(returns)
