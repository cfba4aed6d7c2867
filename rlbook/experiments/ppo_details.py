"""The details of PPO, each switched in turn: how many steps CartPole-v1 takes until it is solved."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from statistics import fmean, median

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from rlbook.control import PPOConfig, Result, ppo, solved
from rlbook.experiments import experiment
from rlbook.experiments.ppo import finite

DETAIL_SEEDS = range(220, 230)
THRESHOLD, MAX_STEPS = 475.0, 200_000
TERMINATING = "CartPoleTerminating-v1"


@experiment
def ppo_details() -> dict:
    """`PPOConfig()` with one change at a time, from the same seeds; a run stops when it is solved, or after 200 000 steps.

    Solved: the mean return of the last 100 episodes has reached 475. The learning rate falls over the default budget of
    400 000 steps, so that stopping changes no run. Nothing was tuned for any of the changes.
    """
    return steps_to_solve(details())


def details() -> dict[str, dict]:
    """What is changed in the default recipe, by name."""
    return {
        "default": {},
        "norm_adv off": {"norm_adv": False},
        "orthogonal_init off": {"orthogonal_init": False},
        "anneal_lr off": {"anneal_lr": False},
        "clip_vloss on": {"clip_vloss": True},
        "update_epochs 1": {"update_epochs": 1},
        "update_epochs 3": {"update_epochs": 3},
        "update_epochs 12": {"update_epochs": 12},
        "num_minibatches 1": {"num_minibatches": 1},
        "norm_obs on": {"norm_obs": True},
        "norm_reward on": {"norm_reward": True},
        "no clip": {"clip_coef": math.inf},
        "ent_coef 0.01": {"ent_coef": 0.01},
        "gae_lambda 1": {"gae_lambda": 1.0},
        "max_grad_norm off": {"max_grad_norm": math.inf},
        "truncated as terminated": {},
    }


def steps_to_solve(changes: dict[str, dict], seeds: Iterable[int] = DETAIL_SEEDS, max_steps: int = MAX_STEPS) -> dict:
    """For each seed and change, the step at which the run was solved, None if it was not, and the mean return of its last
    100 episodes when it stopped."""
    runs = []
    for seed in seeds:
        found = {name: until_solved(name, seed, change, max_steps) for name, change in changes.items()}
        runs.append({"seed": seed, "solved_at": {name: at for name, (at, _) in found.items()},
                     "final_return": {name: final for name, (_, final) in found.items()}})
    settings = {name: value for name, value in asdict(PPOConfig(device="cpu")).items() if name != "seed"}
    logged = {name: {key: finite(value) for key, value in change.items()} for name, change in changes.items()}
    return {"env_id": "CartPole-v1", "config": settings, "details": logged, "seeds": list(seeds), "runs": runs,
            "threshold": THRESHOLD, "max_steps": max_steps}


def until_solved(name: str, seed: int, change: dict, max_steps: int) -> tuple[int | None, float | None]:
    """(step at which it was solved, mean return of the last 100 episodes) of one run; (None, None) if its losses were no
    longer finite."""
    def callback(run: Result) -> bool:
        return solved(run.episodes, THRESHOLD) is not None or run.history["global_step"][-1] >= max_steps

    env_id = terminating_cartpole() if name == "truncated as terminated" else "CartPole-v1"
    try:
        run = ppo(env_id, PPOConfig(**{"device": "cpu", **change, "seed": seed}), callback=callback)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        return None, None
    return solved(run.episodes, THRESHOLD), round(fmean(run.episodes["return"][-100:]), 1)


class TerminatingCartPole(CartPoleVectorEnv):
    """CartPole whose end by the clock is reported as a termination, so that no value is added behind it."""

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated | truncated, np.zeros_like(truncated), info


def terminating_cartpole() -> str:
    """Register `TerminatingCartPole` with Gymnasium, once; returns its name there."""
    if TERMINATING not in gymnasium.registry:
        gymnasium.register(TERMINATING, entry_point="gymnasium.envs.classic_control.cartpole:CartPoleEnv",
                           vector_entry_point=TerminatingCartPole, max_episode_steps=500)
    return TERMINATING


def details_summary(log: dict) -> dict[str, dict]:
    """Of each change: how many runs were solved; [fewest, median, most] steps until then, infinite where a run was not; the
    median over the seeds of the ratio to the default's steps (infinite where unsolved; None where only the default was
    unsolved in half of the pairs); how many seeds took more steps than the default; the median final return."""
    found = {}
    for name in log["details"]:
        steps, base = ([math.inf if run["solved_at"][key] is None else run["solved_at"][key] for run in log["runs"]]
                       for key in (name, "default"))
        pairs = [a / b for a, b in zip(steps, base, strict=True) if math.isfinite(b)]
        final = [run["final_return"][name] for run in log["runs"] if run["final_return"][name] is not None]
        found[name] = {"solved": sum(map(math.isfinite, steps)), "steps": [min(steps), median(steps), max(steps)],
                       "ratio": median(pairs) if pairs else None,
                       "slower": sum(a > b for a, b in zip(steps, base, strict=True)),
                       "final_return": median(final) if final else None}
    return found
