"""What tests/distributed_worker.py does on two processes and tests/test_distributed.py on one: models, batches, runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from rlbook.language.config import GRPOConfig, PPOConfig
from rlbook.language.grpo import grpo
from rlbook.language.model import tiny_model
from rlbook.language.policy import Policy
from rlbook.language.ppo import ppo
from rlbook.language.scoring import token_logprobs
from rlbook.language.tokenizer import word_tokenizer
from rlbook.losses import aggregate

MODES = ("grpo", "dr_grpo", "dapo")
PROMPT, COMPLETION, VOCABULARY = 5, 6, 13
LENGTHS = torch.tensor([1, 2, 1, 2, 6, 5, 4, 6])  # of the completions: short ones first, so that the ranks' rows are ragged
SHORT = torch.tensor([1, 1, 1, 1, 6, 5, 4, 6])  # one rank has nothing but an end of sequence


def make_model(tied: bool = True):
    """A tiny model in float64, with weights so large that its distributions are far from uniform."""
    model = tiny_model(VOCABULARY, hidden_size=16, num_heads=2, max_length=16, tie_word_embeddings=tied).double()
    for weight in model.parameters():
        weight.data.mul_(5 if weight.dim() == 2 else 1)
    return model


def batch(lengths: Tensor = LENGTHS, unscored: int = 0) -> tuple[Tensor, ...]:
    """Prompts and completions with their masks [8, 5] and [8, 6], what is learned from (not the first `unscored`
    completions), and advantages, [8, 6]."""
    draw = torch.Generator().manual_seed(0)
    prompt_mask = (torch.arange(PROMPT) >= PROMPT - torch.tensor([1, 3, 2, 2, 5, 4, 1, 3])[:, None]).long()
    mask = (torch.arange(COMPLETION) < lengths[:, None]).long()
    prompts = torch.randint(1, VOCABULARY, prompt_mask.shape, generator=draw) * prompt_mask
    completions = torch.randint(1, VOCABULARY, mask.shape, generator=draw) * mask
    learn = mask * (torch.arange(len(mask)) >= unscored)[:, None].long()
    return prompts, prompt_mask, completions, mask, learn, torch.randn(mask.shape, generator=draw, dtype=torch.float64)


def trimmed(prompts, prompt_mask, completions, mask, learn, advantages) -> tuple[Tensor, ...]:
    """The same rows without columns that are all padding, as a rank that sampled them by itself would have them."""
    start, end = PROMPT - int(prompt_mask.sum(-1).max()), int(mask.sum(-1).max())
    return prompts[:, start:], prompt_mask[:, start:], completions[:, :end], mask[:, :end], learn[:, :end], advantages[:, :end]


def denominator(mode: str, learn: Tensor, length: int) -> int:
    """What `aggregate` divides by, of these rows; length: the longest that a completion may be."""
    scored = int(learn.any(-1).sum())
    return {"grpo": scored, "dr_grpo": scored * length, "dapo": int(learn.sum())}[mode]


def backward(model, rows: tuple[Tensor, ...], mode: str, denom: float | Tensor) -> None:
    """Gradients of −Σ Â_t log π_θ(y_t|s_t), aggregated, on these rows, each with a prompt of its own."""
    *text, learn, advantages = rows
    logprobs = token_logprobs(model, *text, prompt_of=torch.arange(len(learn)))[0]
    aggregate(-advantages * logprobs, learn, mode, denom).backward()


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖ over all tensors together."""
    error = sum((a - b).square().sum() for a, b in zip(found, expected, strict=True))
    return float((error / sum(b.square().sum() for b in expected)).sqrt())


PROMPTS = ["the", "the film", "good the bad", "film", "bad", "the bad film"]
SMALL = {"seed": 5, "max_steps": 3, "batch_size": 8, "max_completion_length": 5, "learning_rate": 0.01, "num_mini_batches": 1,
         "micro_batch_size": 3, "beta": 0.1}
RUNS = {
    "replicated": GRPOConfig(**SMALL, num_generations=2, num_iterations=2, scale_rewards="batch", ent_coef=0.01),
    "sharded": GRPOConfig(**SMALL, num_generations=2, num_iterations=2, loss_type="dapo", dynamic_sampling=1, sharded=True),
    "dr_grpo": GRPOConfig(**SMALL, num_generations=4, loss_type="dr_grpo", scale_rewards="none", max_grad_norm=0.1),
    "unscored": GRPOConfig(**SMALL, num_generations=2, sharded=True),  # a reward for the prompts of rank 1 alone
    "ppo": PPOConfig(**SMALL, ent_coef=0.01),
}


def good_words(prompts, completions, **columns) -> list[float]:
    """Goodness, and the length, so that few rewards are equal."""
    return [completion.split().count("good") + 0.1 * len(completion) for completion in completions]


def policy() -> Policy:
    model = tiny_model(7, hidden_size=16, num_layers=2, num_heads=2, max_length=16).double()
    return Policy(model, word_tokenizer(["bad", "good", "film", "the"]))


def start_run(name: str, reward=good_words, **more):
    """One of RUNS, or with `resume` the rest of it."""
    config = more.pop("config", RUNS[name])
    given = None if "resume" in more else policy()
    return (ppo if name == "ppo" else grpo)(given, [reward], PROMPTS, config, **more)


@contextmanager
def smooth() -> Iterator[None]:
    """What makes two runs that differ by 1e-16 stay that near: norms in float64, which Transformers rounds to float32, and
    θ ← θ − 0.3 ∇L in the place of Adam, which divides a gradient that is 0 but for rounding by its own size."""
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

    def norm(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)

    def descent(learner, critic, config) -> torch.optim.Optimizer:
        return torch.optim.SGD([*learner.model.parameters(), *(() if critic is None else critic.parameters())], lr=0.3)

    with mock.patch.object(Qwen2RMSNorm, "forward", norm), mock.patch("rlbook.language.result.make_optimizer", descent):
        yield


def parameters(run) -> Tensor:
    """All that is trained, in one vector."""
    return torch.cat([p.detach().flatten().clone() for model in run.trained().values() for p in model.parameters()])
