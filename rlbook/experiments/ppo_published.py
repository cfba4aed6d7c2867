"""PPO where RL Baselines3 Zoo has published a result: CartPole, Acrobot, Pendulum and LunarLander.

What the Zoo publishes (benchmark.md, read in its repository): mean ± standard deviation of the returns of one agent over many
episodes, actions taken as the most probable ones. Its settings are those of its hyperparams/ppo.yml. Its critic's loss lacks
the factor 1/2, so its vf_coef of 0.5 is 1.0 here.
"""

from collections.abc import Iterable
from dataclasses import asdict
from statistics import fmean, median

from rlbook.control import PPOConfig, Result, evaluate, ppo
from rlbook.experiments import experiment, rounded
from rlbook.experiments.ppo import WINDOW

EPISODES = 100
CARTPOLE_SEEDS = range(240, 250)
ACROBOT_SEEDS = range(260, 265)
PENDULUM_SEEDS = range(280, 285)
LUNARLANDER_SEEDS = range(300, 303)
PUBLISHED = {  # environment: mean, standard deviation, steps of training
    "CartPole-v1": (500.0, 0.0, 100_000), "Acrobot-v1": (-73.5, 18.2, 1_000_000), "Pendulum-v1": (-172.2, 104.2, 100_000),
    "LunarLander-v2": (242.1, 31.8, 1_000_000),
}


@experiment
def ppo_cartpole() -> dict:
    """The default recipe, with 100 000 steps instead of 400 000 (49 iterations), over which the learning rate falls to 0."""
    return trained("CartPole-v1", PPOConfig(device="cpu", total_timesteps=49 * 2048), CARTPOLE_SEEDS)


@experiment
def ppo_acrobot() -> dict:
    """The Zoo's settings for Acrobot-v1, with a fifth of its 1 000 000 steps (49 iterations). Nothing was tuned here."""
    config = PPOConfig(device="cpu", total_timesteps=49 * 4096, num_envs=16, num_steps=256, num_minibatches=64, update_epochs=4,
                       gamma=0.99, gae_lambda=0.94, norm_obs=True, norm_reward=True, **zoo_defaults(3e-4))
    return trained("Acrobot-v1", config, ACROBOT_SEEDS)


@experiment
def ppo_pendulum() -> dict:
    """The Zoo's settings for Pendulum-v1 (100 000 steps), except that the noise is drawn anew in every step. Nothing was tuned
    here."""
    config = PPOConfig(device="cpu", total_timesteps=25 * 4096, num_envs=4, num_steps=1024, num_minibatches=64, update_epochs=10,
                       gamma=0.9, gae_lambda=0.95, **zoo_defaults(1e-3))
    return trained("Pendulum-v1", config, PENDULUM_SEEDS)


@experiment
def ppo_lunarlander() -> dict:
    """The Zoo's settings for LunarLander-v2 (1 000 000 steps), on its successor. Nothing was tuned here. Needs Box2D."""
    config = PPOConfig(device="cpu", total_timesteps=62 * 16384, num_envs=16, num_steps=1024, num_minibatches=256,
                       update_epochs=4, gamma=0.999, gae_lambda=0.98, ent_coef=0.01, **zoo_defaults(3e-4))
    return trained("LunarLander-v3", config, LUNARLANDER_SEEDS)


def zoo_defaults(learning_rate: float) -> dict:
    """What the Zoo's settings for these have in common: a constant learning rate, and Stable-Baselines3's own defaults."""
    return {"learning_rate": learning_rate, "anneal_lr": False, "vf_coef": 1.0, "clip_coef": 0.2, "max_grad_norm": 0.5}


def trained(env_id: str, config: PPOConfig, seeds: Iterable[int]) -> dict:
    """One run for each seed. For every iteration the steps so far and the mean return of the last 20 episodes, to four digits
    (before the first episode ends, no entry: both lists begin where it has); after training, [mean, standard deviation] of the
    returns of 100 fresh episodes with the most probable actions ("deterministic") and with drawn ones ("sampled")."""
    settings = {name: value for name, value in asdict(config).items() if name != "seed"}
    runs = [{"seed": seed, **trained_once(env_id, PPOConfig(seed=seed, **settings))} for seed in seeds]
    return {"env_id": env_id, "config": settings, "seeds": list(seeds), "runs": runs, "window": WINDOW, "episodes": EPISODES}


def trained_once(env_id: str, config: PPOConfig) -> dict:
    """One run as `trained` logs it. Fresh episodes have a seed of their own, 10 000 above the run's."""
    steps, returns = [], []

    def callback(run: Result) -> None:
        if run.episodes["return"]:
            steps.append(run.history["global_step"][-1])
            returns.append(fmean(run.episodes["return"][-WINDOW:]))

    run = ppo(env_id, config, callback=callback)
    found = {}
    for name, deterministic in (("deterministic", True), ("sampled", False)):
        values = evaluate(run.policy, env_id, EPISODES, config.seed + 10_000, deterministic)
        found[name] = rounded([values.mean().item(), values.std(correction=0).item()])
    return {"global_step": steps, "recent_return": rounded(returns), **found}


def evaluation_summary(log: dict, actions: str = "deterministic") -> dict:
    """Over the runs of a log of `trained`: [worst, median, best] of their mean returns, and the median of their standard
    deviations. Raises ValueError unless actions is "deterministic" or "sampled"."""
    if actions not in ("deterministic", "sampled"):
        raise ValueError(f"actions must be 'deterministic' or 'sampled', got {actions!r}")
    means, deviations = zip(*(run[actions] for run in log["runs"]), strict=True)
    return {"runs": len(means), "mean": [min(means), median(means), max(means)], "deviation": median(deviations)}
