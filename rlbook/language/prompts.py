"""The prompts of a run: strings or chats, perhaps with further columns for the reward functions, and which step gets which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rlbook.language.distributed import own_rows
from rlbook.language.model import check_prompts
from rlbook.language.rewards import check_batch
from rlbook.language.tokenizer import encode_prompts


@dataclass(frozen=True)
class Prompts:
    """Prompts [N] and what their records hold besides: name -> [N]."""

    prompts: list
    columns: dict[str, list]

    def draw(self, count: int, seed: int, step: int, attempt: int = 0) -> "Prompts":
        """The prompts of a step: the next `count` of an endless series of random orders of all N.

        Every prompt comes once before any comes again. The order depends on seed and step alone, so that a resumed run
        goes on with the prompts it would have got. attempt 1, 2, ...: the same of further series, each in orders of its own.
        Of several processes each gets its own part of the `count`.
        """
        places = range(step * count, (step + 1) * count)
        n, orders = len(self.prompts), {}
        for turn in {place // n for place in places}:
            entropy = [seed, turn, attempt] if attempt else [seed, turn]
            own = np.random.SeedSequence(entropy).generate_state(1)[0]
            orders[turn] = torch.randperm(n, generator=torch.Generator().manual_seed(int(own))).tolist()
        return self.rows([orders[place // n][place % n] for place in own_rows(places)])

    def rows(self, places: Sequence[int]) -> "Prompts":
        """The prompts at these places."""
        return Prompts([self.prompts[i] for i in places], {k: [v[i] for i in places] for k, v in self.columns.items()})


def as_prompts(prompts: Sequence | Mapping) -> Prompts:
    """A list of prompts, a list of records with "prompt" and further columns, or a mapping from column to list.

    Raises ValueError for no prompts, anything else, records that differ in their columns, columns of different lengths, and
    columns named as what reward functions get anyway.
    """
    if isinstance(prompts, Mapping):
        if "prompt" not in prompts or not all(isinstance(column, list | tuple) for column in prompts.values()):
            raise ValueError(f"a mapping of prompts needs a column 'prompt', and lists as columns, got {list(prompts)}")
        columns = {name: list(column) for name, column in prompts.items()}
    else:
        columns = _columns(prompts)
    texts = columns.pop("prompt")
    if not texts:
        raise ValueError("prompts must hold at least one prompt, got none")
    check_batch(texts, columns, columns)
    return Prompts(texts, columns)


def check_lengths(prompts: Prompts, model: nn.Module, tokenizer, max_completion_length: int, chunk: int = 1024) -> None:
    """Raise ValueError if a prompt cannot be encoded, or leaves too little room for a completion in the model."""
    for start in range(0, len(prompts.prompts), chunk):
        ids, mask = encode_prompts(tokenizer, prompts.prompts[start:start + chunk])
        check_prompts(model, ids, mask, max_completion_length)


def _columns(prompts: Sequence) -> dict[str, list]:
    if isinstance(prompts, str) or not hasattr(prompts, "__len__") or not hasattr(prompts, "__getitem__"):
        raise ValueError(f"prompts must be a list of prompts or records, or a mapping of columns, got {prompts!r:.80}")
    records = [prompts[i] for i in range(len(prompts))]
    if not any(isinstance(record, Mapping) for record in records):
        return {"prompt": records}
    wrong = next((r for r in records if not isinstance(r, Mapping) or set(r) != set(records[0]) or "prompt" not in r), None)
    if wrong is not None:
        raise ValueError(f"every record must have 'prompt', and all of them the same columns, got {wrong!r:.120}")
    return {name: [record[name] for record in records] for name in records[0]}
