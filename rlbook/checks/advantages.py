"""Checkers of advantages and λ-returns."""

import itertools
from collections.abc import Callable, Iterator

import torch

from rlbook import returns
from rlbook.checks.compare import compare


def check_gae(fn: Callable) -> None:
    """fn(rewards, values, next_values, terminated, truncated, gamma, lam) must be the advantages Â_t (eq-gae)."""
    for inputs in _steps():
        compare("generalized advantage estimates", inputs, returns.gae(**inputs), fn)


def check_lambda_returns(fn: Callable) -> None:
    """fn(rewards, values, next_values, terminated, truncated, gamma, lam) must be the λ-returns R^λ_t (eq-lambda-return)."""
    for inputs in _steps():
        compare("λ-returns", inputs, returns.lambda_returns(**inputs), fn)


def _steps() -> Iterator[dict]:
    """Arguments of `gae`: one row of 1, 2, 3 steps with every choice of ends, fewest first; several rows; random ones.

    Inside an episode next_values[t] is values[t + 1], as it is in any data: who uses the one for the other is right.
    Every γλ is exact in float32 too: gamma * lam * (1 - done.float()) is right, though not in float64.
    """
    for times in (1, 2, 3):
        for ends in sorted(itertools.product("-etb", repeat=times), key=lambda row: -row.count("-")):
            for gamma, lam in ((1.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.0, 0.5)):
                yield _round_numbers("".join(ends), gamma, lam)
    rows = [_round_numbers(ends, 0.5, 0.5) for ends in ("---", "e--", "-t-", "-tb", "tet", "--t")]
    for shape in ((2, 3), (1, 3), (2, 3, 3), (6, 1, 3)):
        count = shape[0] if len(shape) == 2 else shape[0] * shape[1]
        stacked = {name: torch.stack([row[name] for row in rows[:count]]).view(shape) for name in list(rows[0])[:5]}
        yield {**stacked, "gamma": 0.5, "lam": 0.5}
    generator = torch.Generator().manual_seed(5)
    settings = ((2, 10), 0.875, 0.75), ((40,), 63 / 64, 15 / 16), ((3, 100), 63 / 64, 1.0), ((2, 2, 50), 1.0, 0.875)
    for shape, gamma, lam in settings:
        numbers = (torch.randn(shape, generator=generator, dtype=torch.float64).round(decimals=1) for _ in range(3))
        rewards, values, last = numbers
        ends = torch.randint(0, 10, shape, generator=generator)
        following = torch.cat([values[..., 1:], last[..., -1:]], dim=-1)
        yield {"rewards": rewards, "values": values, "next_values": torch.where(ends < 3, last, following),
               "terminated": ends < 2, "truncated": (ends == 1) | (ends == 2), "gamma": gamma, "lam": lam}


def _round_numbers(ends: str, gamma: float, lam: float) -> dict:
    """Rewards 1, 2, 3, values 10, 20, 30; where an episode ends (e terminated, t truncated, b both), the state after has 50."""
    times = torch.arange(1, len(ends) + 1, dtype=torch.float64)
    terminated, truncated = (torch.tensor([end in kinds for end in ends]) for kinds in ("eb", "tb"))
    next_values = torch.where(terminated | truncated, 50.0, 10 * times + 10)
    return {"rewards": times, "values": 10 * times, "next_values": next_values,
            "terminated": terminated, "truncated": truncated, "gamma": gamma, "lam": lam}
