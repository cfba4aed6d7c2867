"""How good a policy is: the rewards of completions sampled for given prompts, and pass@k from how many of them are right."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.language.config import check_number
from rlbook.language.experience import sample
from rlbook.language.policy import Policy, as_policy
from rlbook.language.prompts import as_prompts, check_lengths
from rlbook.language.rewards import check_functions, check_weights
from rlbook.language.scalar import ScalarModel
from rlbook.language.tokenizer import decode
from rlbook.returns import check_integer


class Evaluation(NamedTuple):
    """Of N prompts, G completions each: rewards [N, G], NaN where unscored, each {name: [N, G]} before its weight, lengths
    [N, G] in tokens, completions as N lists of G texts."""

    rewards: Tensor
    each: dict[str, Tensor]
    lengths: Tensor
    completions: list[list[str]]

    @property
    def mean(self) -> float:
        """Mean reward of the scored completions: with a reward of 1 for a right answer and 0 else, pass@1. NaN without any."""
        return self.rewards[~self.rewards.isnan()].double().mean().item()


class Sampling(NamedTuple):
    """The settings that `sample` reads."""

    max_completion_length: int
    temperature: float
    reward_weights: Sequence[float] | None


def evaluate(
    policy: Policy | str | PathLike, reward_funcs: Callable | ScalarModel | Sequence[Callable | ScalarModel],
    prompts: Sequence | Mapping, num_generations: int = 1, max_completion_length: int = 16, temperature: float = 1.0,
    seed: int = 0, batch_size: int = 512, reward_weights: Sequence[float] | None = None,
) -> Evaluation:
    """Sample num_generations completions of each prompt and score them, without learning anything.

    temperature 0 takes the most likely token at every place: greedy accuracy, of one completion. batch_size: completions
    sampled at once, rounded down to whole prompts, at least one; another one draws other samples. Every prompt is read once.
    Samples depend on `seed` and on no other random state. prompts and reward_funcs as `grpo` takes them.
    Raises ValueError as `grpo` does for these; for numbers below 1, a negative temperature, and several completions at
    temperature 0, which would be equal.
    """
    policy, functions, prompts = as_policy(policy), check_functions(reward_funcs), as_prompts(prompts)
    check_weights(functions, reward_weights)
    check_integer("num_generations", num_generations, 1)
    check_integer("max_completion_length", max_completion_length, 1)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0, 2**63 - 1)
    check_number("temperature", temperature)
    if temperature == 0 and num_generations > 1:
        raise ValueError(f"num_generations must be 1 at temperature 0, where completions are equal, got {num_generations}")
    check_lengths(prompts, policy.model, policy.tokenizer, max_completion_length)
    settings = Sampling(max_completion_length, temperature, reward_weights)
    generator, count, found = torch.Generator().manual_seed(seed), max(batch_size // num_generations, 1), []
    for start in range(0, len(prompts.prompts), count):
        places = range(start, min(start + count, len(prompts.prompts)))
        found.append(sample(policy, functions, prompts.rows(places), settings, generator, num_generations))

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).view(-1, num_generations)

    texts = [text for part in found for text in decode(policy.tokenizer, part.completion_ids, part.completion_mask)]
    return Evaluation(
        joined([part.scores.total for part in found]),
        {name: joined([part.scores.each[name] for part in found]) for name in found[0].scores.each},
        joined([part.completion_mask.sum(-1).cpu() for part in found]),
        [texts[i:i + num_generations] for i in range(0, len(texts), num_generations)])


def pass_at_k(correct: Tensor | Sequence[int], n: int, k: int) -> Tensor:
    """The probability that k completions of a prompt hold a right one, estimated from n of which `correct` are right.

    pass@k = 1 − C(n−c, k) / C(n, k) = 1 − Π_{j=0}^{k−1} (n−c−j) / (n−j)  (eq-pass-at-k)

    C(n−c, k) / C(n, k) is the share of the k-subsets of the n completions without a right one, so the estimate is unbiased for
    every success rate p: its mean is 1 − (1−p)^k. (1 − (1 − c/n)^k is too low for k > 1.) The product is taken of
    factors from 0 to 1, without any large binomial. k = 1: c/n.
    Shapes: correct [N], integers 0..n, one for each prompt. Returns [N], float64; the mean over prompts is the caller's. No
    prompt, [], gives an empty tensor, whose mean is NaN.
    Raises ValueError unless 1 <= k <= n, for counts that are no integers (booleans and complex numbers neither) or outside 0..n.
    Source: Chen et al. 2021 (arXiv 2107.03374), eq. 1. Tests hold it to all subsets, enumerated, and to its mean.
    """
    check_integer("n", n, 1)
    check_integer("k", k, 1, n)
    wide = as_counts(correct)
    if wide is None or wide.dim() != 1 or not bool(((wide >= 0) & (wide <= n) & (wide == wide.floor())).all()):
        raise ValueError(f"correct must hold integers from 0 to n = {n}, one for each prompt, got {correct!r:.120}")
    j = torch.arange(k, dtype=torch.float64, device=wide.device)
    return 1 - ((n - wide[:, None] - j).clamp(min=0) / (n - j)).prod(-1)


def as_counts(correct: Tensor | Sequence[int]) -> Tensor | None:
    """The numbers in float64; None for what are no real numbers, such as booleans."""
    if isinstance(correct, Tensor):
        return None if correct.dtype == torch.bool or correct.is_complex() else correct.double()
    numbers = [count.item() if getattr(count, "shape", None) == () else count for count in correct]
    if any(isinstance(number, bool) or not isinstance(number, Real) for number in numbers):
        return None
    return torch.tensor(numbers, dtype=torch.float64)
