"""What the tests of GRPO share: a tiny policy on four words, samples of it, and the batch made of them."""

import math

import torch

from rlbook.language import groups
from rlbook.language.config import GRPOConfig
from rlbook.language.experience import sample
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.prompts import as_prompts
from rlbook.language.rewards import Scores
from rlbook.language.tokenizer import word_tokenizer

WORDS = ["bad", "good", "film", "the"]
SMALL = GRPOConfig(seed=3, max_steps=2, batch_size=12, num_generations=4, max_completion_length=5, num_mini_batches=1)
PROMPTS = ["the", "the film", "good the bad"]
METRICS = {"reward", "reward_std", "frac_reward_zero_std", "entropy", "policy_loss", "approx_kl", "grad_norm", "num_tokens",
           "clip_ratio/region_mean", "clip_ratio/low_mean", "clip_ratio/high_mean", "completions/mean_length",
           "completions/clipped_ratio", "groups_sampled"}
END = 2


def small(seed: int = 0, **more) -> Policy:
    model = tiny_model(7, hidden_size=16, num_layers=1, num_heads=2, max_length=16, seed=seed, **more)
    return Policy(model, word_tokenizer(WORDS))


def good_words(completions, **columns) -> list[float]:
    return [float(text.split().count("good")) for text in completions]


def constant(value):
    def rewarder(prompts, **columns):
        return [value] * len(prompts)
    return rewarder


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved(policy: Policy, scale: float = 0.3) -> Policy:
    """A policy at some distance from another."""
    made = small()
    made.model.load_state_dict(policy.model.state_dict())
    made.model.to(next(policy.model.parameters()).dtype)
    with torch.no_grad():
        for k, parameter in enumerate(made.model.parameters()):
            parameter += scale * parameter.std() * torch.randn(parameter.shape, generator=generator(k), dtype=parameter.dtype)
    return made


def sampled(policy: Policy, config: GRPOConfig = SMALL, functions=(good_words,), seed: int = 1, prompts=PROMPTS):
    count = config.batch_size // config.num_generations
    return sample(policy, functions, as_prompts(prompts).draw(count, 0, 0), config, generator(seed), config.num_generations)


def prepared(config: GRPOConfig = SMALL, dtype=torch.float64, **more):
    """A policy, a reference, samples and the batch made of them, in float64."""
    policy = small(**more)
    policy.model.to(dtype)
    ref, samples = moved(policy), sampled(policy, config)
    return policy, ref, samples, groups.judge_groups(samples, ref, config, END)


def sgd(policy: Policy) -> torch.optim.Optimizer:
    return torch.optim.SGD(policy.model.parameters(), lr=1.0)


def parameters(policy: Policy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in policy.model.parameters()]


def with_scores(samples, values):
    total = torch.tensor([math.nan if value is None else float(value) for value in values])
    return samples._replace(scores=Scores(total, {"f": total}))


