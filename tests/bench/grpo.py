"""Steps of GRPO on two-digit addition: rlbook's `language.grpo` and TRL's GRPOTrainer, in milliseconds of processor time.

Both begin with the same weights, a tiny Qwen2 that supervised training left half wrong, and take the same steps: 64 prompts,
8 completions of at most 4 tokens each, one step of Adam on all of them, at the same learning rate, betas and gradient norm,
without weight decay and without reference. Each run is a process of its own with one thread. A step lasts from the end of
the one before to its own end, so that data, sampling, rewards, update and bookkeeping are in it; the first is left out, and
so are imports and the making of models. The whole process, from its start and with imports, is given beside it, less the
evaluation: the mean reward of one sampled completion for each of 1,024 held-out problems, by one and the same function.
TRL runs without gradient checkpointing, which it does by default, and logs once. Both take turns, and who is first alternates.
`python -m tests.bench.grpo NAME BASE SEED` is one such process; it prints JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rlbook import experiments, language
from rlbook.language.tasks import addition
from tests.bench import common

ROOT = Path(__file__).resolve().parents[2]
BASES, SEEDS = range(1), range(40, 45)           # a base for each seed, in turn; no setting was chosen on these
PROBLEMS, HELD_OUT = 4096, 1024
PROMPTS, GENERATIONS, NEW_TOKENS, STEPS = 64, 8, addition.ANSWER_LENGTH, 30
RATE, BETAS, EPSILON_ADAM, GRADIENT_NORM, EPSILON = 3e-4, (0.9, 0.999), 1e-8, 1.0, 0.2
BASE = "TRL"
NAMES = ("rlbook", BASE)
PACKAGES = ("accelerate", "numpy", "torch", "transformers", "trl")


def make_base(seed: int) -> language.Policy:
    """A model of 132,736 parameters that is right about half of the time: the book's for seed 0, trained alike for others."""
    return addition.base() if seed == 0 else addition.train_base(seed)


def accuracy(policy: language.Policy, seed: int) -> float:
    """Share of held-out problems whose sampled answer is right."""
    generator = torch.Generator().manual_seed(seed)
    problems = addition.problems(HELD_OUT, generator, held_out=True)
    ids, mask = language.encode_prompts(policy.tokenizer, problems.prompts)
    drawn = language.generate(policy.model, ids, mask, NEW_TOKENS, generator=generator,
                              eos_token_id=addition.EOS_ID, pad_token_id=addition.PAD_ID)
    texts = language.decode(policy.tokenizer, drawn.ids, drawn.mask)
    return statistics.fmean(addition.exact_match(problems.prompts, texts, answers=problems.answers))


def rlbook_run(policy: language.Policy, seed: int, steps: int) -> tuple[language.Policy, list[float]]:
    """The trained policy, and the process's time at the end of every step."""
    problems, ends = addition.problems(PROBLEMS, torch.Generator().manual_seed(seed)), []
    config = language.GRPOConfig(
        seed=seed, max_steps=steps, batch_size=PROMPTS * GENERATIONS, num_generations=GENERATIONS, num_mini_batches=1,
        max_completion_length=NEW_TOKENS, learning_rate=RATE, max_grad_norm=GRADIENT_NORM, epsilon=EPSILON)
    run = language.grpo(policy, addition.exact_match, {"prompt": problems.prompts, "answers": problems.answers}, config,
                        callback=lambda run: ends.append(time.process_time()))
    return run.policy, ends


def trl_run(policy: language.Policy, seed: int, steps: int) -> tuple[language.Policy, list[float]]:
    """The same of TRL's trainer."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends = []

    class Clock(TrainerCallback):
        """Notes the time at the end of every step."""

        def on_step_end(self, *arguments, **keywords) -> None:
            ends.append(time.process_time())

    problems = addition.problems(PROBLEMS, torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            folder, seed=seed, max_steps=steps, per_device_train_batch_size=PROMPTS * GENERATIONS, num_generations=GENERATIONS,
            max_completion_length=NEW_TOKENS, learning_rate=RATE, lr_scheduler_type="constant", max_grad_norm=GRADIENT_NORM,
            adam_beta1=BETAS[0], adam_beta2=BETAS[1], adam_epsilon=EPSILON_ADAM, weight_decay=0.0, epsilon=EPSILON, beta=0.0,
            loss_type="grpo", scale_rewards="group", temperature=1.0, top_p=1.0, top_k=0, gradient_checkpointing=False,
            bf16=False, use_cpu=True, report_to="none", logging_steps=steps, save_strategy="no", disable_tqdm=True)
        data = Dataset.from_dict({"prompt": problems.prompts, "answers": problems.answers})
        trainer = GRPOTrainer(policy.model, addition.exact_match, config, data, processing_class=policy.tokenizer,
                              callbacks=[Clock()])
        trainer.train()
    return language.Policy(trainer.model, policy.tokenizer), ends


RUNS: dict[str, Callable] = {"rlbook": rlbook_run, BASE: trl_run}


def one(name: str, base: str, seed: int, steps: int = STEPS) -> dict:
    """One run in this process, as the log holds it."""
    torch.set_num_threads(1)
    policy = language.from_pretrained(Path(base), dtype=torch.float32)
    trained, ends = RUNS[name](policy, seed, steps)
    process = time.process_time()
    taken = [(end - start) * 1e3 for start, end in zip(ends, ends[1:], strict=False)]
    return {"accuracy": accuracy(trained, seed), "ms": experiments.rounded(common.quartiles(taken)), "name": name,
            "seconds": round(process, 3), "seed": seed, "steps": len(ends)}


def elsewhere(name: str, base: Path, seed: int) -> dict:
    """The same in a new process with one thread. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.bench.grpo", name, str(base), str(seed)], cwd=ROOT, env=environment,
                          stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict:
    """Train the bases, run both on every seed, in turn; returns what the log holds. Raises RuntimeError if the code changed."""
    made, runs, starts = common.made_by(language.grpo, PACKAGES), [], []
    with tempfile.TemporaryDirectory() as parent:
        folders = [Path(parent) / str(base) for base in BASES]
        for base, folder in zip(BASES, folders, strict=True):
            policy = make_base(base)
            policy.save(folder)
            starts.append({"accuracy": accuracy(policy, base), "seed": base})
        for k, seed in enumerate(SEEDS):
            base = BASES[k % len(BASES)]
            for name in NAMES if k % 2 == 0 else NAMES[::-1]:
                runs.append({**elsewhere(name, folders[base], seed), "base": base})
    settings = {"betas": list(BETAS), "epsilon": EPSILON, "learning_rate": RATE, "max_grad_norm": GRADIENT_NORM,
                "new_tokens": NEW_TOKENS, "num_generations": GENERATIONS, "prompts": PROMPTS, "steps": STEPS}
    if common.made_by(language.grpo, PACKAGES) != made:
        raise RuntimeError("the code of grpo changed while it was measured: run the bench again")
    return {**made, "base": BASE, "clock": common.CLOCK["cpu"], "results": runs, "seeds": list(SEEDS), "settings": settings,
            "starts": starts, "summary": summary(runs)}


def summary(runs: list[dict]) -> dict:
    """[least, median, most] of a step's median milliseconds, of the process's seconds and of the accuracy of each, of their
    ratios seed by seed, and of the differences in accuracy."""
    by_name = {name: {run["seed"]: run for run in runs if run["name"] == name} for name in NAMES}
    values = {name: {"ms": [run["ms"][1] for run in taken.values()],
                     **{what: [run[what] for run in taken.values()] for what in ("seconds", "accuracy")}}
              for name, taken in by_name.items()}
    ours, theirs = (by_name[name] for name in NAMES)
    found = {name: {what: spread(of) for what, of in each.items()} for name, each in values.items()}
    found["ms_ratio"] = spread([ours[seed]["ms"][1] / theirs[seed]["ms"][1] for seed in ours])
    found["seconds_ratio"] = spread([ours[seed]["seconds"] / theirs[seed]["seconds"] for seed in ours])
    found["accuracy_difference"] = spread([ours[seed]["accuracy"] - theirs[seed]["accuracy"] for seed in ours])
    return found


def spread(values: list[float]) -> list[float]:
    """[least, median, most], to four digits."""
    return experiments.rounded([min(values), statistics.median(values), max(values)])


def report(log: dict) -> str:
    """The log's summary as plain lines for the terminal."""
    lines = [f"{name}: {found}" for name, found in log["summary"].items()]
    return "\n".join([f"starts: {log['starts']}", *lines]) + "\n"


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
