"""Addition of two numbers of two digits, digits in reverse: least significant first, so that the carry runs as one reads.

"7 3 + 5 8 =" is 37 + 85, and its answer "2 2 1" is 122. The prompt is given; the answer, three digits and <eos>, is the
completion, and it is right or wrong.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.language.model import backbone_and_head, tiny_model
from rlbook.language.policy import Policy
from rlbook.language.pretraining import pretrain
from rlbook.language.tokenizer import word_tokenizer
from rlbook.returns import check_integer

WORDS = (*"0123456789", "+", "=")
PAD_ID, BOS_ID, EOS_ID, FIRST_ID = 0, 1, 2, 3
PROMPT_LENGTH, ANSWER_LENGTH = 7, 4
HELD_OUT_EVERY = 10
BASE = Path(__file__).parents[2] / "data" / "addition_base.safetensors"


class Problems(NamedTuple):
    """Prompts, such as "7 3 + 5 8 =", and their right answers, such as "2 2 1"."""

    prompts: list[str]
    answers: list[str]


def tokenizer():
    """The tokenizer of the 15 tokens: <pad>, <bos>, <eos>, the ten digits (ids 3 to 12), + and =."""
    return word_tokenizer(WORDS)


def problems(count: int, generator: torch.Generator | None = None, held_out: bool = False) -> Problems:
    """Random problems, with replacement, each pair of numbers equally likely.

    A tenth of the 10,000 problems, scattered, is held out: it comes with held_out=True, and `corpus` never has it.
    """
    a, b = _operands(count, generator, held_out)
    return Problems([f"{_digits(x, 2)} + {_digits(y, 2)} =" for x, y in zip(a, b, strict=True)],
                    [_digits(x + y, 3) for x, y in zip(a, b, strict=True)])


def corpus(count: int, generator: torch.Generator | None = None, corrupted: float = 0.5) -> tuple[Tensor, Tensor]:
    """Problems with answers as ids [count, 11], and the mask of what is to be learnt, the answer and <eos>.

    In a fraction `corrupted` of the answers, chosen at random, one digit is replaced by another one: a model trained on them
    knows the sum, and yet often samples a wrong one.
    """
    if not 0 <= corrupted <= 1:
        raise ValueError(f"corrupted must be a fraction, got {corrupted!r}")
    a, b = (torch.tensor(numbers) for numbers in _operands(count, generator, held_out=False))
    answer = torch.stack([(a + b) // 10**place % 10 for place in range(3)], 1)
    place = torch.randint(3, (count, 1), generator=generator)
    shift = torch.randint(1, 10, (count, 1), generator=generator)
    wrong = torch.rand(count, 1, generator=generator) < corrupted
    answer = answer.scatter_add(1, place, shift * wrong) % 10
    plus, equals = (torch.full_like(a, FIRST_ID + WORDS.index(sign)) for sign in "+=")
    digits = [number // 10**place % 10 + FIRST_ID for number in (a, b) for place in range(2)]
    columns = [torch.full_like(a, BOS_ID), *digits[:2], plus, *digits[2:], equals]
    ids = torch.cat([torch.stack(columns, 1), answer + FIRST_ID, torch.full((count, 1), EOS_ID)], 1)
    return ids, (torch.arange(ids.shape[1]) >= PROMPT_LENGTH).long().expand_as(ids)


def exact_match(prompts: Sequence[str], completions: Sequence[str], completion_ids=None, *, answers: Sequence[str], **columns,
                ) -> list[float]:
    """1 where the completion is the answer, digit for digit, else 0: a reward function with TRL's signature."""
    return [float(text.split() == answer.split()) for text, answer in zip(completions, answers, strict=True)]


def train_base(seed: int = 0, steps: int = 1000, batch_size: int = 256, lr: float = 4e-3) -> Policy:
    """A model that can add and often does not: trained on 2^16 problems of the corpus, half of whose answers are wrong.

    Qwen2 with 2 layers, 4 heads and hidden size 64, 132,736 parameters; 1000 steps of 256 answers, about a minute on one
    processor. Sampled at temperature 1 it is right in about half of the held-out problems, greedily in nearly all. `seed`
    sets the first weights, the corpus and the batches. The same seed gives the same bits on the same processor, version of
    torch and number of threads; elsewhere rounding differs, and after some hundred steps so do the weights.
    """
    policy = Policy(_untrained(seed), tokenizer())
    ids, mask = corpus(2**16, torch.Generator().manual_seed(seed))
    pretrain(policy.model, ids, mask, steps=steps, batch_size=batch_size, lr=lr, seed=seed)
    return policy


def base() -> Policy:
    """`train_base(0)` as `make base` wrote it: kept in float16 (268 kB), and given in float32, in which it is to be trained.

    Rounding to float16 is part of the model: `train_base(0)` itself has other numbers, though the same accuracy.
    """
    return load_base(BASE)


def save_base(policy: Policy, path: str | PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write the weights of a base in float16, without the output matrix, which is that of the embeddings."""
    from safetensors.torch import save_file

    tensors = {name: values.half().contiguous() for name, values in backbone_and_head(policy.model)[0].state_dict().items()}
    save_file(tensors, path, metadata)


def load_base(path: str | PathLike) -> Policy:
    """Read what `save_base` wrote, in float32. Raises ValueError for a file that is not there, or holds another model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = _untrained(0)
    try:
        backbone_and_head(model)[0].load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} holds no base model of the addition task: {' '.join(str(error).split()):.200}") from error
    return Policy(model, tokenizer())


def _untrained(seed: int):
    return tiny_model(FIRST_ID + len(WORDS), hidden_size=64, max_length=16, seed=seed)


def _operands(count: int, generator: torch.Generator | None, held_out: bool) -> tuple[list[int], list[int]]:
    """Two lists of numbers from 0 to 99, whose problems are held out or are not."""
    check_integer("count", count, 1)
    codes = torch.arange(10_000)
    codes = codes[(codes * 7919 % 10_007 % HELD_OUT_EVERY == 0) == held_out]
    drawn = codes[torch.randint(len(codes), (count,), generator=generator)]
    return (drawn // 100).tolist(), (drawn % 100).tolist()


def _digits(number: int, length: int) -> str:
    """The digits of the number, least significant first, separated by spaces."""
    return " ".join(f"{number:0{length}d}"[::-1])
