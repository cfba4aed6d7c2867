"""PPO against GRPO on two-digit addition: one base, one reward, the same seeds and as many sampled tokens for both."""

import time

from rlbook.experiments import experiment, rounded
from rlbook.experiments.addition import RECIPE, curves, described, measure, trained, training_prompts
from rlbook.language.config import PPOConfig
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo
from rlbook.language.result import Result
from rlbook.language.tasks import addition

SEEDS, FEWER_SEEDS = range(20, 25), range(20, 23)
PPO = {"batch_size": 512, "max_completion_length": addition.ANSWER_LENGTH, "learning_rate": 3e-4,
       "critic_learning_rate": 2e-3, "num_ppo_epochs": 1, "num_mini_batches": 2, "kl_coef": 0.0, "lam": 1.0}
NUM_STEPS, ENTROPY = 40, 0.01
SIZES = (2, 4, 8, 16)


@experiment
def ppo_against_grpo() -> dict:
    """Five seeds of each with 512 completions a step; three of GRPO with 1,024, which costs less than PPO with 512, and of PPO
    whose critic is never trained and says 0."""
    base = addition.base()
    runs = [compare(base, seed, algorithm) for seed in SEEDS for algorithm in ("ppo", "grpo")]
    runs += [compare(base, seed, "grpo", batch_size=2 * RECIPE["batch_size"]) for seed in FEWER_SEEDS]
    runs += [compare(base, seed, "ppo", vf_coef=0.0) for seed in FEWER_SEEDS]
    return described({"runs": runs, "ppo": PPO, "num_steps": NUM_STEPS, "before": measure(base, base)})


@experiment
def group_size() -> dict:
    """GRPO with G = 2, 4, 8, 16 and 512 completions a step, with and without an entropy bonus: does a group explore enough?"""
    base = addition.base()
    runs = [compare(base, seed, "grpo", num_generations=size, ent_coef=weight)
            for seed in FEWER_SEEDS for size in SIZES for weight in (0.0, ENTROPY)]
    return described({"runs": runs, "sizes": list(SIZES), "num_steps": NUM_STEPS, "before": measure(base, base)})


def compare(base: Policy, seed: int, algorithm: str, **change) -> dict:
    """One run of "ppo" or "grpo" on the base: what is changed in its settings, CPU seconds, tokens sampled and read,
    `addition.measure` of its policy, and a number per step of `addition.KEPT`, of PPO's critic the explained variance too."""
    run, seconds = (trained_by_ppo if algorithm == "ppo" else trained)(base, seed, **{"max_steps": NUM_STEPS, **change})
    found = {"seed": seed, "algorithm": algorithm, **change, "after": measure(run.policy, base),
             "cpu_seconds": rounded([seconds])[0], "num_tokens": run.history["num_tokens"][-1], **curves(run)}
    if run.critic is not None:
        found["explained_variance"] = rounded(run.history["explained_variance"], 3)
    return found


def trained_by_ppo(base: Policy, seed: int, **change) -> tuple[Result, float]:
    """`ppo` on the base with the settings `PPO` and what is changed in them, and the CPU seconds that it took."""
    started = time.process_time()
    run = ppo(base, addition.exact_match, training_prompts(seed), PPOConfig(seed=seed, **{**PPO, **change}))
    return run, time.process_time() - started
