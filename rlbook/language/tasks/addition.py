"""Addition of two numbers of two digits, digits in reverse: least significant first, so that the carry runs as one reads.

"7 3 + 5 8 =" is 37 + 85, and its answer "2 2 1" is 122. The prompt is given; the answer, three digits and <eos>, is the
completion, and it is right or wrong.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rlbook.language.tokenizer import word_tokenizer
from rlbook.returns import check_integer

WORDS = (*"0123456789", "+", "=")
PAD_ID, BOS_ID, EOS_ID, FIRST_ID = 0, 1, 2, 3
PROMPT_LENGTH, ANSWER_LENGTH = 7, 4
HELD_OUT_EVERY = 10


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
