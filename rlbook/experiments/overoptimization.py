"""A learned reward, optimised too far: its score rises while the gold score, which it stands for, falls; and what the KL does."""

from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.experiments import experiment, rounded
from rlbook.language.config import PPOConfig
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo
from rlbook.language.pretraining import perplexity, pretrain
from rlbook.language.result import Result
from rlbook.language.reward_model import evaluate_reward_model, standardize, train_reward_model
from rlbook.language.sampling import generate
from rlbook.language.scalar import ScalarModel
from rlbook.language.tasks import words

SEEDS = range(10, 13)  # settings were chosen on seeds 0 and 1
KL_COEFS = (0.0, 0.05, 0.1, 0.2, 0.5)
VARIANTS = ({"kl_coef": 0.0, "beta": 0.2}, {"kl_coef": 0.2, "vf_coef": 0.0})
LENGTH, STOP, NOISE = 12, 0.05, 1.0
NUM_PAIRS, HELD_OUT, NUM_STEPS = 2048, 256, 50
KEPT = {"reward": "proxy", "rewards/gold_reward/mean": "gold", "objective/kl": "kl", "entropy": "entropy",
        "completions/mean_length": "length", "explained_variance": "explained_variance"}


class Setting(NamedTuple):
    """What a run starts from: the pre-trained policy, the reward model, held-out sentences with their mask, and how well
    the reward model does on held-out pairs."""

    policy: Policy
    reward_model: ScalarModel
    held_out: tuple[Tensor, Tensor]
    judged: dict


@experiment
def overoptimization() -> dict:
    """PPO on a learned reward under five KL weights; and for one of them the KL in the loss, and a critic that never learns."""
    runs, settings = [], []
    for seed in SEEDS:
        setting = prepare(seed)
        settings.append({"seed": seed, **describe(setting)})
        for change in [*({"kl_coef": kl_coef} for kl_coef in KL_COEFS), *VARIANTS]:
            runs.append(optimise(setting, seed, **change))
    return {"seeds": list(SEEDS), "kl_coefs": list(KL_COEFS), "num_steps": NUM_STEPS, "settings": settings, "runs": runs,
            "transformers": metadata.version("transformers")}


def prepare(seed: int) -> Setting:
    """A tiny model pre-trained on the corpus, and a reward model fitted to preferences between its own sentences.

    150 steps of 128 sentences; 2,048 pairs, labelled by a reader with P(first preferred) = σ(gold₁ − gold₂), 256 of them
    held out; the reward standardised on samples of the policy, so that its mean there is 0 and its deviation 1. The
    correlation with the gold score is that on 1,024 further samples, which the reward model never saw.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = words.tokenizer()
    ids, held_out = (words.corpus(count, LENGTH, generator, stop=STOP) for count in (4096, 512))
    policy = Policy(tiny_model(len(tokenizer), max_length=32, seed=seed), tokenizer)
    pretrain(policy.model, ids, real(ids), steps=150, batch_size=128, lr=3e-3, seed=seed)
    sentences = sample(policy, 2 * NUM_PAIRS, generator)
    pairs = words.preferences(sentences[:NUM_PAIRS], sentences[NUM_PAIRS:], NOISE, generator)
    reward_model = ScalarModel.from_causal(policy.model, "orthogonal", seed)
    train_reward_model(reward_model, pairs, num_epochs=4, batch_size=128, learning_rate=1e-3, held_out=HELD_OUT, seed=seed)
    rows = [row[row != words.PAD_ID].tolist() for row in sentences[:1024]]
    standardize(reward_model, rows)
    judged = evaluate_reward_model(reward_model, pairs[-HELD_OUT:])
    judged["gold"] = gold_scores(sentences[:1024]).mean().item()
    fresh = sample(policy, 1024, generator)
    rows = [row[row != words.PAD_ID].tolist() for row in fresh]
    judged["correlation"] = torch.corrcoef(torch.stack([reward_model.score_rows(rows), gold_scores(fresh)]))[0, 1].item()
    return Setting(policy, reward_model, (held_out, real(held_out)), judged)


def optimise(setting: Setting, seed: int, num_steps: int = NUM_STEPS, every: int = 10, **change: float) -> dict:
    """One run of PPO: the settings that differ from the default, one number per step of what `KEPT` names, the held-out
    perplexity before the first and after every `every`-th step, and five sentences of the policy at the end.

    proxy is the reward model's mean score, gold the mean gold score of the same sentences, which the policy never sees.
    """
    config = PPOConfig(seed=seed, max_steps=num_steps, max_completion_length=LENGTH, reward_weights=(1.0, 0.0), **change)
    perplexities = [perplexity(setting.policy.model, *setting.held_out)]

    def watch(run: Result) -> None:
        if run.steps % every == 0:
            perplexities.append(perplexity(run.policy.model, *setting.held_out))

    run = ppo(setting.policy, [setting.reward_model, words.gold_reward], [""], config, callback=watch)
    texts = words.sentences(sample(run.policy, 5, torch.Generator().manual_seed(seed)))
    curves = {name: rounded(run.history[metric]) for metric, name in KEPT.items()}
    return {"seed": seed, **change, **curves, "perplexity": rounded(perplexities), "samples": texts}


def compare(seed: int, kl_coefs: Sequence[float] = (0.0, 0.2), num_steps: int = 30) -> list[dict]:
    """The experiment, live and short: one seed, a run for each KL weight."""
    setting = prepare(seed)
    return [optimise(setting, seed, num_steps, kl_coef=kl_coef) for kl_coef in kl_coefs]


def fall(run: dict, window: int = 5) -> float:
    """How far the gold score ends below its best: the largest mean of `window` steps in a row, less that of the last ones."""
    gold = torch.tensor(run["gold"], dtype=torch.float64)
    if len(gold) < window:
        raise ValueError(f"a fall over means of {window} steps needs a run of at least as many, got {len(gold)}")
    means = gold.unfold(0, window, 1).mean(-1)
    return (means.max() - means[-1]).item()


def end(run: dict, name: str, window: int = 5) -> float:
    """Mean of a curve over the last steps of a run."""
    return sum(run[name][-window:]) / len(run[name][-window:])


def describe(setting: Setting) -> dict:
    """What is logged of a setting, to four digits."""
    judged = setting.judged
    scalars = {name: rounded([judged[name]])[0] for name in ("loss", "accuracy", "calibration_error", "correlation", "gold")}
    bins = [{name: value if value is None else rounded([value])[0] for name, value in b.items()} for b in judged["calibration"]]
    return {**scalars, "calibration": bins}


def gold_scores(ids: Tensor) -> Tensor:
    """The gold score of each row of ids."""
    return torch.tensor([words.gold_score(sentence) for sentence in words.sentences(ids)])


def sample(policy: Policy, count: int, generator: torch.Generator) -> Tensor:
    """Sentences of the policy as ids [count, 1 + L], from <bos> to <eos> or LENGTH words, <pad> after that."""
    start = torch.full((count, 1), words.BOS_ID)
    drawn = generate(policy.model, start, torch.ones_like(start), LENGTH, generator=generator,
                     eos_token_id=words.EOS_ID, pad_token_id=words.PAD_ID)
    return torch.cat([start, torch.where(drawn.mask.bool(), drawn.ids, words.PAD_ID)], 1)


def real(ids: Tensor) -> Tensor:
    """1 at tokens that are no padding."""
    return (ids != words.PAD_ID).long()
