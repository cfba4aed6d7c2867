"""What came after GRPO, as settings of the same function, on two-digit addition: one table."""

from statistics import fmean

from rlbook.experiments import experiment, rounded
from rlbook.experiments.addition import described, measure
from rlbook.experiments.ppo_against_grpo import NUM_STEPS, compare
from rlbook.language.tasks import addition

SEEDS = range(30, 35)
LEFT_OUT = ("grad_norm", "clip_ratio/region_mean")    # of the curves; of the second its mean is kept
VARIANTS = {
    "grpo": {},
    "grpo, 56 steps": {"max_steps": 56},    # about as many tokens as dapo samples in 40
    "rloo": {"adv_estimator": "rloo", "loss_type": "dr_grpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28, "dynamic_sampling": 3},
    "gspo": {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "gspo, wider": {"importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
    "cispo": {"surrogate": "cispo", "epsilon": 0.2, "epsilon_high": 0.28, "loss_type": "dapo"},
}


@experiment
def grpo_variants() -> dict:
    """Each of `VARIANTS` from the committed base, five seeds, 40 steps of 512 completions to learn from."""
    base = addition.base()
    runs = [{"variant": name, **compare(base, seed, "grpo", **change)} for seed in SEEDS for name, change in VARIANTS.items()]
    runs = [shortened(run) for run in runs]
    return described({"runs": runs, "variants": VARIANTS, "num_steps": NUM_STEPS, "before": measure(base, base)})


def shortened(run: dict) -> dict:
    """The run without the curves `LEFT_OUT`, and the mean share of tokens that were clipped."""
    kept = {name: value for name, value in run.items() if name not in LEFT_OUT}
    return {**kept, "clipped": rounded([fmean(run["clip_ratio/region_mean"])])[0]}


def table(log: dict) -> list[dict]:
    """One row per variant, in their order, means over its seeds: held-out pass@1 with its range, greedy, entropy, KL, length,
    share of groups without signal over the last ten steps, tokens sampled and read, in thousands, and CPU seconds."""
    return [row(name, [run for run in log["runs"] if run["variant"] == name])
            for name in dict.fromkeys(run["variant"] for run in log["runs"])]


def row(name: str, runs: list[dict]) -> dict:
    """The row of `table` for the runs of one variant."""
    accuracy = [run["after"]["pass_at"][0] for run in runs]
    after = {key: fmean(run["after"][key] for run in runs) for key in ("greedy", "entropy", "kl", "length")}
    dead = fmean(fmean(run["frac_reward_zero_std"][-10:]) for run in runs)
    return {"variant": name, "pass@1": fmean(accuracy), "least": min(accuracy), "most": max(accuracy), **after,
            "dead groups": dead, "kilotokens": fmean(run["num_tokens"] for run in runs) / 1000,
            "seconds": fmean(run["cpu_seconds"] for run in runs)}
