"""Rewards of completions: Python functions under TRL's signature and reward models, several of them summed.

A reward function is called by keyword, f(prompts=..., completions=..., completion_ids=..., **columns), where each value is
a list with one entry per completion: prompts and completions are strings, or chats (lists of messages) if the prompts
are; completion_ids are the sampled tokens; columns are what else the prompts' records hold. It returns one number per
completion, or None for one that it cannot score. It runs unchanged in TRL, and the other way round.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence, Set
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlbook.language.config import is_finite
from rlbook.language.scalar import ScalarModel

RESERVED = ("prompts", "completions", "completion_ids")
ATOMS = (str, int, float, bool, bytes, type(None))  # what cannot be changed


class RewardError(ValueError):
    """What a reward function must not do. Raised during a run, `result` is the run up to its last complete step: given as
    `resume` to `ppo` or `grpo` it goes on, bit for bit as if nothing had happened, once the function is repaired."""

    result = None


class Scores(NamedTuple):
    """total [B]: the weighted sum, NaN where unscored; each {name: [B]}: what every function gave, before its weight."""

    total: Tensor
    each: dict[str, Tensor]


def score(
    reward_funcs: Sequence[Callable | ScalarModel],
    prompts: list,
    completions: list,
    completion_ids: list[list[int]],
    columns: dict[str, list] | None = None,
    weights: Sequence[float] | None = None,
    prompt_ids: list[list[int]] | None = None,
) -> Scores:
    """The reward of every completion: Σ_k w_k f_k(prompt, completion), float32.

    The sum runs over the functions that scored the completion; where none with a weight other than 0 did, the total is
    NaN, which here means unscored and nothing else. A weight of 0 only records a function. A `ScalarModel` scores the
    tokens themselves, prompt_ids + completion_ids, for which it must share the policy's vocabulary.
    Raises RewardError, a ValueError, naming the function, for a wrong number or type of rewards (a set, a mapping or bytes
    are no list), inf, a number too large for float32 and a NaN that the function returned itself (None is how it says
    unscored), each with the prompt; for an exception inside it, which is chained, with the prompt that causes it if parts of
    the batch, given again, show which it is; for sums too large for float32. ValueError for lists of other lengths than
    prompts, columns named as TRL's own, and weights that do not fit the functions.
    Source: TRL's GRPOTrainer, whose sum of nothing but None is 0. Tests hold it to sums by hand.
    """
    columns = {} if columns is None else columns
    check_batch(prompts, {"completions": completions, "completion_ids": completion_ids, **columns}, columns)
    weights = check_weights(reward_funcs, weights)
    each = {}
    for name, function in zip(names(reward_funcs), reward_funcs, strict=True):
        if isinstance(function, ScalarModel):
            each[name] = model_scores(name, function, prompt_ids, completion_ids, prompts)
        else:
            each[name] = function_scores(name, function, prompts, completions, completion_ids, columns)
    return Scores(weighted_sum(torch.stack(list(each.values())), weights), each)


def weighted_sum(rewards: Tensor, weights: list[float]) -> Tensor:
    """Σ_k w_k r_k of rewards [K, B] over the functions that scored, NaN where none of weight other than 0 did. Raises
    RewardError for a sum that float32 cannot hold."""
    column = torch.tensor(weights, dtype=rewards.dtype).unsqueeze(-1)
    scored = ~rewards.isnan()
    total = torch.where(scored, column * rewards, 0.0).sum(0)
    if not total.isfinite().all():
        raise RewardError(f"the sum of the rewards, weighted by {weights}, is not finite in float32: {total.tolist()!r:.80}")
    return torch.where((scored & (column != 0)).any(0), total, math.nan)


def function_scores(
    name: str, function: Callable, prompts: list, completions: list, completion_ids: list, columns: dict
) -> Tensor:
    """What one function gives, [B], NaN for None."""
    batch = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids, **columns}
    try:
        rewards = call(function, batch)
    except Exception as error:
        cause = culprit(function, batch, type(error))
        raise RewardError(f"reward function {name} raised {type(error).__name__}: {error}; {cause}") from error
    unordered = isinstance(rewards, str | bytes | bytearray | Mapping | Set)
    if unordered or not hasattr(rewards, "__len__") or getattr(rewards, "ndim", 1) != 1:
        raise RewardError(f"reward function {name} must return a list of {len(prompts)} numbers or None, got {rewards!r:.80}")
    if len(rewards) != len(prompts):
        raise RewardError(f"reward function {name} must return one reward per completion, {len(prompts)}, got {len(rewards)}")
    return _as_tensor(name, list(rewards), prompts)


def call(function: Callable, batch: dict[str, list]) -> object:
    """What the function returns for copies of these lists and of all they hold: one that edits them, or a message, a record
    or the tokens in them, changes nothing for the next function, nor in the prompts' records."""
    return function(**{key: [copied(value) for value in values] for key, values in batch.items()})


def copied(value: object) -> object:
    """A copy that shares nothing that can be changed; what cannot be copied, such as an open file, itself."""
    if type(value) in ATOMS:
        return value
    if type(value) is list:
        return value.copy() if set(map(type, value)).issubset(ATOMS) else [copied(entry) for entry in value]
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def culprit(function: Callable, batch: dict[str, list], kind: type[Exception]) -> str:
    """Which prompt makes the function raise such an exception: looked for by calling it again with ever smaller halves.

    If no half of a part raises, the prompts that part begins with are named: the exception is none of a single prompt's.
    """
    while (count := len(batch["prompts"])) > 1:
        halves = [{key: values[place] for key, values in batch.items()}
                  for place in (slice(0, count // 2), slice(count // 2, count))]
        failing = next((half for half in halves if raises(function, half, kind)), None)
        if failing is None:
            return f"it did so for {count} prompts together, the first of them {batch['prompts'][:3]!r:.200}"
        batch = failing
    return f"its prompt was {batch['prompts'][0]!r:.200}"


def raises(function: Callable, batch: dict[str, list], kind: type[Exception]) -> bool:
    """Whether the function raises an exception of this kind."""
    try:
        call(function, batch)
    except Exception as error:
        return isinstance(error, kind)
    return False


def model_scores(name: str, model: ScalarModel, prompt_ids: list | None, completion_ids: list, prompts: list) -> Tensor:
    """What a reward model gives, [B]."""
    if prompt_ids is None or len(prompt_ids) != len(completion_ids):
        given = "none" if prompt_ids is None else len(prompt_ids)
        raise ValueError(f"the reward model {name} needs prompt_ids, one list for each of {len(completion_ids)}, got {given}")
    rows = [[*prompt, *completion] for prompt, completion in zip(prompt_ids, completion_ids, strict=True)]
    return _as_tensor(name, model.score_rows(rows).tolist(), prompts)


def names(reward_funcs: Sequence[Callable | ScalarModel]) -> list[str]:
    """A name for each: the function's own, "reward_model" for a model, with _2, _3, ... where it stood before."""
    found = []
    for function in reward_funcs:
        own = "reward_model" if isinstance(function, ScalarModel) else getattr(function, "__name__", type(function).__name__)
        taken = sum(name == own or name.startswith(f"{own}_") and name[len(own) + 1:].isdigit() for name in found)
        found.append(own if not taken else f"{own}_{taken + 1}")
    return found


def check_functions(reward_funcs: object) -> list:
    """The functions as a list, a single one too; ValueError for none, and for what cannot be called."""
    functions = list(reward_funcs) if isinstance(reward_funcs, list | tuple) else [reward_funcs]
    if not functions or not all(callable(function) for function in functions):
        raise ValueError(f"reward_funcs must be reward functions or reward models, at least one, got {reward_funcs!r:.80}")
    return functions


def check_weights(reward_funcs: Sequence, weights: Sequence[float] | None) -> list[float]:
    """One finite weight for each function, 1 by default, not all 0; else ValueError."""
    if weights is None:
        return [1.0] * len(reward_funcs)
    good = isinstance(weights, list | tuple) and all(map(is_finite, weights))
    if not good or len(weights) != len(reward_funcs) or not any(weights):
        raise ValueError(f"reward_weights must be a finite number for each of {len(reward_funcs)} reward functions, "
                         f"not all 0, got {weights!r}")
    return [float(weight) for weight in weights]


def check_batch(prompts: list, lists: dict[str, list], columns: dict) -> None:
    """Raise ValueError unless every list is as long as prompts and no column has one of TRL's own names."""
    taken = sorted(set(columns) & set(RESERVED))
    if taken:
        raise ValueError(f"columns must not be named {taken}: reward functions get these from the sampler")
    wrong = {name: len(values) for name, values in lists.items() if len(values) != len(prompts)}
    if wrong:
        raise ValueError(f"everything must have one entry for each of {len(prompts)} prompts, got lengths {wrong}")


def _as_tensor(name: str, rewards: list, prompts: list) -> Tensor:
    """Rewards as float32 [B], NaN for None; RewardError for what is no number, or not finite in float32."""
    numbers = [_number(name, reward, prompt) for reward, prompt in zip(rewards, prompts, strict=True)]
    made = torch.tensor([math.nan if number is None else number for number in numbers], dtype=torch.float32)
    for number, held, prompt in zip(numbers, made.tolist(), prompts, strict=True):
        if number is not None and not math.isfinite(held):
            reason = "None says unscored" if math.isnan(held) else "it must be finite in float32"
            raise RewardError(f"reward function {name} returned {number} for prompt {prompt!r:.200}; {reason}")
    return made


def _number(name: str, reward: object, prompt: object) -> float | None:
    """A reward as a float, also from a tensor or an array with one entry; None for None."""
    if isinstance(reward, Tensor) and reward.numel() == 1 or isinstance(reward, np.ndarray | np.generic) and reward.size == 1:
        reward = reward.item()
    if reward is None:
        return None
    if not isinstance(reward, Real):
        raise RewardError(f"reward function {name} must return numbers or None, got {reward!r:.60} for prompt {prompt!r:.200}")
    try:
        return float(reward)
    except OverflowError:  # an integer of more than 308 digits
        return math.copysign(math.inf, reward > 0 or -1)
