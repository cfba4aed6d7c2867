"""Sentences of 21 words, with a gold score that a reward model has to guess from preferences.

A word is good, bad or neutral. The gold score of a sentence is what its readers really want: good words, though each but
once, no bad ones, and no repetition. A reward model sees only which of two sentences was preferred, so it learns it
imperfectly, and a policy that is optimised against the model finds where the two differ.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rlbook.language.tokenizer import word_tokenizer
from rlbook.returns import check_integer

GOOD = ("brilliant", "charming", "funny", "moving", "wise")
BAD = ("awful", "boring", "clumsy", "dull", "silly")
NEUTRAL = ("actor", "and", "film", "is", "of", "plot", "scene", "story", "the", "was", "with")
WORDS = GOOD + BAD + NEUTRAL
PAD_ID, BOS_ID, EOS_ID, FIRST_ID = 0, 1, 2, 3
GOOD_WEIGHT, BAD_WEIGHT, REPEAT_WEIGHT = 1.0, -0.5, -0.7


def tokenizer():
    """The tokenizer of the 24 tokens: <pad>, <bos>, <eos>, then the words of `WORDS`, ids 3 to 23."""
    return word_tokenizer(WORDS)


def transitions(seed: int = 0, sharpness: float = 1.5) -> Tensor:
    """The Markov chain of the corpus: [21, 21], row i the probabilities of the word after word i, float64.

    p(j|i) ∝ exp(sharpness · g_ij), with independent standard normal g_ij drawn from `seed`: at sharpness 0 all words follow
    each other equally often, and the larger it is, the more there is to learn.
    """
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(len(WORDS), len(WORDS), generator=generator, dtype=torch.float64)).softmax(-1)


def corpus(count: int, length: int = 12, generator: torch.Generator | None = None, chain: Tensor | None = None,
           stop: float = 0.0) -> Tensor:
    """Sentences as ids [count, length + 2]: <bos>, a Markov chain of at most `length` words, <eos>, and <pad> to the end.

    The first word is drawn uniformly. After every word the sentence ends with probability `stop`, after `length` words
    certainly. chain: the matrix of `transitions`, that of seed 0 by default.
    Raises ValueError for numbers below 1 and a stop outside [0, 1].
    """
    check_integer("count", count, 1)
    check_integer("length", length, 1)
    if not 0 <= stop <= 1:
        raise ValueError(f"stop must be a probability, got {stop!r}")
    chain = transitions() if chain is None else chain
    token = torch.randint(len(WORDS), (count,), generator=generator) + FIRST_ID
    columns = [torch.full_like(token, BOS_ID), token]
    for place in range(1, length + 1):
        is_word = token >= FIRST_ID
        following = torch.multinomial(chain[(token - FIRST_ID).clamp(min=0)], 1, generator=generator)[:, 0] + FIRST_ID
        ending = torch.rand(count, generator=generator) < (stop if place < length else 1.0)
        token = torch.where(is_word, torch.where(ending, EOS_ID, following), PAD_ID)
        columns.append(token)
    return torch.stack(columns, 1)


def sentences(ids: Tensor) -> list[str]:
    """The words of each row of ids, separated by spaces, special tokens left out: what the tokenizer decodes."""
    return [" ".join(WORDS[index - FIRST_ID] for index in row if index >= FIRST_ID) for row in ids.tolist()]


def prompts(count: int, words: int = 0, generator: torch.Generator | None = None, chain: Tensor | None = None) -> list[str]:
    """The first words of sentences of the corpus, as strings; words = 0: empty strings, to which the tokenizer adds <bos>."""
    check_integer("words", words, 0)
    check_integer("count", count, 1)
    return sentences(corpus(count, words, generator, chain)) if words else [""] * count


def gold_score(sentence: str) -> float:
    """gold = #distinct good words − 0.5 · #bad words − 0.7 · #repeats, the words that stood in the sentence before.

    Every bad word counts, and a repeated bad word twice, as a repeat too. Raises ValueError for a word that is none of `WORDS`.
    """
    words = sentence.split()
    unknown = set(words) - set(WORDS)
    if unknown:
        raise ValueError(f"sentences are made of the words in WORDS, got {sorted(unknown)}")
    good, bad = len(set(words) & set(GOOD)), sum(word in BAD for word in words)
    return GOOD_WEIGHT * good + BAD_WEIGHT * bad + REPEAT_WEIGHT * (len(words) - len(set(words)))


def gold_reward(prompts: Sequence[str], completions: Sequence[str], completion_ids=None, **columns) -> list[float]:
    """The gold score of each prompt with its completion, as a reward function with TRL's signature."""
    return [gold_score(f"{prompt} {completion}") for prompt, completion in zip(prompts, completions, strict=True)]


def preferences(first: Tensor, second: Tensor, noise: float = 0.0, generator: torch.Generator | None = None,
                ) -> list[tuple[list[int], list[int]]]:
    """Pairs (chosen, rejected) of sentences, row i of `first` [N, L] against row i of `second`, as ids without <pad>.

    P(first is chosen) = σ((gold(first) − gold(second)) / noise)  (Bradley–Terry)

    noise 0, the limit: the larger gold score is always chosen. Pairs of equal score are left out then, since nothing prefers
    one; with noise they are kept, labelled by a fair coin.
    Raises ValueError for numbers of sentences that differ and a negative noise.
    """
    if len(first) != len(second):
        raise ValueError(f"a pair needs two sentences, got {len(first)} and {len(second)} sentences")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a finite number >= 0, got {noise!r}")
    scores = [torch.tensor([gold_score(text) for text in sentences(ids)], dtype=torch.float64) for ids in (first, second)]
    gap = scores[0] - scores[1]
    wins = torch.rand(len(gap), generator=generator, dtype=torch.float64) < (gap / noise).sigmoid() if noise else gap > 0
    rows = [[[index for index in row if index != PAD_ID] for row in ids.tolist()] for ids in (first, second)]
    return [(one, other) if win else (other, one)
            for one, other, win, tie in zip(*rows, wins.tolist(), (gap == 0).tolist(), strict=True) if noise or not tie]
