"""PPO on CartPole-v1 with and without the clip, over seeds that no setting was chosen on."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from statistics import fmean, median

from rlbook.control import PPOConfig, Result, ppo
from rlbook.experiments import experiment, rounded
from rlbook.returns import check_integer

CLIP_SEEDS = range(200, 210)
CLIP_STEPS = 49 * 2048      # about 100 000: whole iterations of 32 environments and 64 steps
MANY_EPOCHS, FEW_EPOCHS = 20, 6
WINDOW = 20                 # episodes in the running mean of the return
LOGGED = ("losses/approx_kl", "losses/max_ratio", "losses/clipfrac", "losses/entropy")


@experiment
def clip_kept() -> dict:
    """ε = 0.2 and many epochs on every batch; see `clip_config`."""
    return ppo_curves(clip_config(MANY_EPOCHS, 0.2))


@experiment
def clip_dropped() -> dict:
    """The same without the clip, ε = ∞."""
    return ppo_curves(clip_config(MANY_EPOCHS, math.inf))


@experiment
def clip_kept_few_epochs() -> dict:
    """ε = 0.2 and the usual number of epochs."""
    return ppo_curves(clip_config(FEW_EPOCHS, 0.2))


@experiment
def clip_dropped_few_epochs() -> dict:
    """The same without the clip."""
    return ppo_curves(clip_config(FEW_EPOCHS, math.inf))


def clip_config(update_epochs: int, clip_coef: float) -> PPOConfig:
    """The default recipe for 49 iterations, with the learning rate constant, so that late steps are as large as early ones.

    Tried on seeds 0 to 2, without the clip: 20 epochs at a constant rate, and nothing else; it is what the logs have.
    """
    return PPOConfig(device="cpu", total_timesteps=CLIP_STEPS, anneal_lr=False, update_epochs=update_epochs, clip_coef=clip_coef)


def ppo_curves(config: PPOConfig, seeds: Iterable[int] = CLIP_SEEDS, env_id: str = "CartPole-v1") -> dict:
    """One run for each seed: the settings without the seed and, for every iteration, the steps so far, the mean return of the
    last 20 episodes (of all, while there are fewer), KL, the largest ratio, the fraction clipped and the entropy, to three
    digits. "diverged": whether the run ended early because its losses were no longer finite."""
    settings = {name: value for name, value in asdict(config).items() if name != "seed"}
    runs = [{"seed": seed, **ppo_curve(env_id, PPOConfig(seed=seed, **settings))} for seed in seeds]
    settings["clip_coef"] = finite(config.clip_coef)
    return {"env_id": env_id, "config": settings, "seeds": list(seeds), "runs": runs, "window": WINDOW}


def ppo_curve(env_id: str, config: PPOConfig) -> dict:
    """One run as `ppo_curves` logs it."""
    returns, runs = [], []

    def callback(run: Result) -> None:
        runs[:] = [run]
        returns.append(fmean(run.episodes["return"][-WINDOW:]))

    diverged = False
    try:
        ppo(env_id, config, callback=callback)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        diverged = True
    history = runs[0].history if runs else dict.fromkeys(("global_step", *LOGGED), [])
    kept = {name: [finite(value) for value in rounded(history[name], 3)] for name in LOGGED}
    return {"diverged": diverged, "global_step": list(history["global_step"]), "recent_return": rounded(returns, 3), **kept}


def finite(value: float) -> float | None:
    """What JSON can hold: None for an infinite number or NaN."""
    return value if math.isfinite(value) else None


def collapses(log: dict, high: float = 400.0, low: float = 200.0) -> list[bool]:
    """Of each run, whether its running mean return, having reached `high`, later fell below `low`."""
    found = []
    for run in log["runs"]:
        reached = [k for k, value in enumerate(run["recent_return"]) if value >= high]
        found.append(bool(reached) and min(run["recent_return"][reached[0]:]) < low)
    return found


def clip_summary(log: dict, last: int = 10) -> dict:
    """Numbers for the text, over the runs of a log of `ppo_curves`.

    runs; diverged: how many ended early; reached: how many reached a running mean of 475; collapsed: see `collapses`; peak and
    final: [worst, median, best] of the largest running mean and of its mean over the last `last` iterations; halved: how many
    ended below half of their peak; median_kl, max_kl, max_ratio: over all iterations of all runs, infinite if
    one was. Raises ValueError for a `last` that is no integer >= 1.
    """
    check_integer("last", last, 1)
    runs = log["runs"]
    final = [fmean(run["recent_return"][-last:]) for run in runs]
    peak = [max(run["recent_return"]) for run in runs]
    kl, ratio = ([math.inf if value is None else value for run in runs for value in run[name]] for name in LOGGED[:2])
    return {"runs": len(runs), "diverged": sum(run["diverged"] for run in runs),
            "reached": sum(value >= 475 for value in peak), "collapsed": sum(collapses(log)),
            "halved": sum(b < a / 2 for a, b in zip(peak, final, strict=True)),
            "peak": [min(peak), median(peak), max(peak)], "final": [min(final), median(final), max(final)],
            "median_kl": median(kl), "max_kl": max(kl), "max_ratio": max(ratio)}
