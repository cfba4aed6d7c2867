"""Reward functions across libraries: rlbook's, unchanged, in TRL's GRPOTrainer, and TRL's, unchanged, in `language.grpo`.

Each function is called on texts by hand in both libraries' ways, and learned from in two steps of the other library's trainer.
A spy notes by which keywords, and with what, TRL calls a reward function: tests that know nothing of TRL call rlbook's so.
"""

import tempfile
from collections.abc import Callable

import torch

from rlbook import experiments, language
from rlbook.experiments.qwen_size import text_tokenizer
from rlbook.language.rewards import score
from rlbook.language.tasks import addition, countdown
from tests.bench import common

PACKAGES = ("math-verify", "numpy", "torch", "transformers", "trl")
STEPS, GENERATIONS, BATCH = 2, 4, 16
OURS = {"exact_match": addition.exact_match, "format_reward": countdown.format_reward,
        "countdown_reward": countdown.countdown_reward}
TEXTS = (                                                   # of completions, each beside its solution
    (r"<think>9 and 8</think> it is \boxed{17}", "$17$"),
    (r"<think>nothing</think> it is \boxed{16}", "$17$"),
    (r"\boxed{\frac{2}{4}}", r"$\frac{1}{2}$"),
    ("one one one one one one one one one", "$1$"),
    (r"\boxed{3}", "a solution that is no formula"),
)


def theirs() -> dict[str, Callable]:
    """TRL's reward functions by name, made where they need settings."""
    from trl import rewards

    return {
        "accuracy_reward": rewards.accuracy_reward,
        "reasoning_accuracy_reward": rewards.reasoning_accuracy_reward,
        "think_format_reward": rewards.think_format_reward,
        "cosine_scaled_reward": rewards.get_cosine_scaled_reward(max_len=40),
        "repetition_penalty_reward": rewards.get_repetition_penalty_reward(),
        "soft_overlong_punishment": rewards.get_soft_overlong_punishment(max_completion_len=40, soft_punish_cache=20),
    }


def words_of(value: object) -> str:
    """What kind of thing TRL passes: "list of str", "list of list of int", "function", ..."""
    if isinstance(value, list):
        return f"list of {words_of(value[0])}" if value else "list"
    return "function" if callable(value) else type(value).__name__


def addition_data() -> tuple[language.Policy, dict[str, list]]:
    """The book's base model, and problems as columns."""
    problems = addition.problems(64, torch.Generator().manual_seed(0))
    return addition.base(), {"prompt": problems.prompts, "answers": problems.answers}


def countdown_data() -> tuple[language.Policy, dict[str, list]]:
    """A model of random weights that reads bytes, and problems as columns."""
    tokenizer = text_tokenizer()
    model = language.tiny_model(len(tokenizer), 32, max_length=1024)
    return language.Policy(model, tokenizer), countdown.problems(16, torch.Generator().manual_seed(0))


def in_trl(policy: language.Policy, columns: dict[str, list], functions: list[Callable], length: int) -> tuple[dict, dict]:
    """Two steps of TRL's trainer: what it logged, and the kind of each keyword that it passed."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    seen: dict[str, str] = {}

    def spy(**given) -> list[None]:
        seen.update({name: words_of(value) for name, value in given.items()})
        return [None] * len(given["prompts"])

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            folder, max_steps=STEPS, per_device_train_batch_size=BATCH, num_generations=GENERATIONS, logging_steps=STEPS,
            max_completion_length=length, gradient_checkpointing=False, bf16=False, use_cpu=True, report_to="none",
            save_strategy="no", disable_tqdm=True)
        trainer = GRPOTrainer(policy.model, [*functions, spy], config, Dataset.from_dict(columns),
                              processing_class=policy.tokenizer)
        trainer.train()
    return trainer.state.log_history[0], seen


def ours_in_trl() -> list[dict]:
    """Each of rlbook's functions in TRL's trainer: steps taken, the mean reward that TRL logged, the keywords it passed."""
    rows = []
    for (policy, columns), names, length in (
        (addition_data(), ["exact_match"], addition.ANSWER_LENGTH), (countdown_data(), ["format_reward", "countdown_reward"], 16),
    ):
        logged, keywords = in_trl(policy, columns, [OURS[name] for name in names], length)
        rows += [{"function": name, "in": "TRL", "keywords": keywords, "steps": STEPS,
                  "mean": experiments.rounded([float(logged[f"rewards/{name}/mean"])])[0]} for name in names]
    return rows


def theirs_in_ours() -> list[dict]:
    """Each of TRL's functions in `language.grpo`: steps taken, mean reward; and its rewards of `TEXTS`, called by TRL's
    convention and by `rlbook.language.rewards.score`, which must agree."""
    policy, columns = countdown_data()
    prompts = [[{"role": "user", "content": "?"}]] * len(TEXTS)
    completions = [[{"role": "assistant", "content": text}] for text, _ in TEXTS]
    solutions = [solution for _, solution in TEXTS]
    ids = [policy.tokenizer(text)["input_ids"] for text, _ in TEXTS]
    config = language.GRPOConfig(max_steps=STEPS, batch_size=BATCH, num_generations=GENERATIONS, max_completion_length=32,
                                 num_mini_batches=1)
    rows = []
    for name, function in theirs().items():
        direct = function(prompts=prompts, completions=completions, completion_ids=ids, solution=solutions)
        scored = score([function], prompts, completions, ids, {"solution": solutions}).total
        given = [None if value.isnan() else value.item() for value in scored]
        agree = all((a is None) == (b is None) and (a is None or abs(a - b) < 1e-6) for a, b in zip(direct, given, strict=True))
        assert agree, f"{name} gives {direct} by TRL's convention and {given} here"
        run = language.grpo(policy, function, columns, config)
        rows.append({"function": name, "in": "rlbook", "rewards": direct, "steps": run.steps,
                     "mean": experiments.rounded([run.history["reward"][-1]])[0]})
    return rows


def measure() -> dict:
    """Run every function in the other library; returns what the log holds."""
    return {**common.made_by(score, PACKAGES), "results": ours_in_trl() + theirs_in_ours(), "texts": [list(t) for t in TEXTS]}


def report(log: dict) -> str:
    """One line for each function."""
    lines = [f"{row['function']} in {row['in']}: {row['steps']} steps, mean reward {row['mean']}, {row.get('rewards', '')}"
             for row in log["results"]]
    return "\n".join([*lines, f"TRL passes {log['results'][0]['keywords']}"]) + "\n"
