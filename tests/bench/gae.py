"""Generalized advantage estimation: rlbook's function, torchrl's two, a loop over rows, and the bytes that must be moved.

All of them get float32 and two boolean flags, with an end in every hundredth step on average, one in five of them a
truncation, whose next value counts while the sum stops. rlbook's layout is [B, T], torchrl's [B, T, 1], which is the same
memory, and the loop's [T, B]. torchrl's functions also return the value targets, advantage + value; "rlbook + targets" does
that addition too.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from rlbook import returns
from tests.bench import common
from tests.bench.common import Competitor

GAMMA, LAM = 0.99, 0.95
ENDS, TRUNCATED = 0.01, 0.2         # share of the steps that end an episode, and of the ends that are truncations
SEED = 0
SHAPES = ((128, 8), (2048, 64), (16384, 16), (1024, 1024), (4096, 256))     # (T, B)
ONLY_CUDA = ((2048, 4096),)
BASE = "rlbook"
NAMES = (BASE, "rlbook + targets", "torchrl loop", "torchrl vectorized", "row loop", "byte floor")
PACKAGES = ("numpy", "tensordict", "torch", "torchrl")


def make_data(steps: int, batch: int, device: str = "cpu") -> SimpleNamespace:
    """Rewards, values, next values and flags, each [B, T] and contiguous; the two flags lie one behind the other."""
    generator = torch.Generator().manual_seed(SEED)
    floats = [torch.randn(batch, steps, generator=generator).to(device) for _ in range(3)]
    ends = torch.rand(batch, steps, generator=generator) < ENDS
    cut = torch.rand(batch, steps, generator=generator) < TRUNCATED
    flags = torch.stack([ends & ~cut, ends & cut]).to(device)
    return SimpleNamespace(floats=floats, flags=flags, arrays=[*floats, flags[0], flags[1]])


def reference(rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor) -> Tensor:
    """The definition in float64, step by step: A_t = δ_t + γλ A_{t+1}, where an end stops the sum and only a truncation
    keeps its next value, δ_t = r_t + γ V(s_{t+1}) - V(s_t). All [B, T]."""
    rewards, values, next_values = (each.double() for each in (rewards, values, next_values))
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        ahead = torch.where(terminated[:, t], 0.0, next_values[:, t])
        carried = torch.where(terminated[:, t] | truncated[:, t], 0.0, following)
        following = rewards[:, t] + GAMMA * ahead - values[:, t] + GAMMA * LAM * carried
        advantages[:, t] = following
    return advantages


def row_loop(rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor) -> Tensor:
    """A plain loop over time in torch, in its own layout [T, B], where a step is a contiguous row: errors and factors at
    once for all steps, then one fused operation per row, into the result."""
    errors = rewards + GAMMA * next_values * ~terminated - values
    factors = GAMMA * LAM * ~(terminated | truncated)
    advantages = torch.empty_like(errors)
    following = torch.zeros_like(errors[0])
    for t in reversed(range(len(errors))):
        following = torch.addcmul(errors[t], factors[t], following, out=advantages[t])
    return advantages


def byte_floor(data: SimpleNamespace):
    """A call that moves the bytes which any implementation must move, and does nothing else.

    Per element it reads 3 floats and 2 flags and writes 1 float, 18 bytes: addcmul (one pass, a + b·c into an output that
    is there already) over the very arrays of rewards, values and next values, and the sum, as 64-bit integers, over the
    very flags. Of what was tried here (add and add_, lerp, copies; for the flags any, amax, dot, logical or) this was the
    fastest that moves no byte more. At the smallest shape it is not bytes but the cost of calling torch twice.
    """
    words = data.flags.view(-1).view(torch.int64)
    output, total = torch.empty_like(data.floats[0]), torch.empty((), dtype=torch.int64, device=words.device)

    def move() -> tuple[Tensor, Tensor]:
        return torch.sum(words, 0, out=total), torch.addcmul(*data.floats, out=output)

    return move


def own(data: SimpleNamespace) -> list[Competitor]:
    """The competitors that need no other library."""
    rewards, values, next_values, terminated, truncated = data.arrays
    rows = [each.t().contiguous() for each in data.arrays]

    def ours() -> Tensor:
        return returns.gae(rewards, values, next_values, terminated, truncated, GAMMA, LAM)

    def ours_with_targets() -> tuple[Tensor, Tensor]:
        advantages = ours()
        return advantages, advantages + values

    return [
        Competitor(BASE, ours),
        Competitor("rlbook + targets", ours_with_targets, lambda pair: pair[0]),
        Competitor("row loop", lambda: row_loop(*rows), lambda result: result.t()),
        Competitor("byte floor", byte_floor(data), None),
    ]


def peers(data: SimpleNamespace) -> list[Competitor]:
    """torchrl's two functions, with the end of an episode as done and the value's end as terminated."""
    from torchrl.objectives.value import functional

    rewards, values, next_values, terminated, truncated = (each.unsqueeze(-1) for each in data.arrays)
    arguments = (GAMMA, LAM, values, next_values, rewards, terminated | truncated, terminated)
    calls = {
        "torchrl loop": lambda: functional.generalized_advantage_estimate(*arguments),
        "torchrl vectorized": lambda: functional.vec_generalized_advantage_estimate(*arguments),
    }
    return [Competitor(name, call, lambda pair: pair[0].squeeze(-1)) for name, call in calls.items()]


def cases() -> list[tuple[str, tuple[int, int]]]:
    """(device, shape): all shapes on the CPU and, where there is one, on the GPU, which also gets those for it alone."""
    gpu = SHAPES + ONLY_CUDA if torch.cuda.is_available() else ()
    return [*(("cpu", shape) for shape in SHAPES), *(("cuda", shape) for shape in gpu)]


def measure() -> dict:
    """Check and time every case; returns what the log holds."""
    results, agreement = [], []
    for device, shape in cases():
        data = make_data(*shape, device)
        competitors = sorted(own(data) + peers(data), key=lambda each: NAMES.index(each.name))
        found, apart = common.compete(competitors, reference(*data.arrays).cpu(), list(shape), device, BASE)
        results += found
        agreement.append({"case": list(shape), "device": device, "disagreement": float(f"{apart:.2g}")})
    return {
        **common.made_by(returns.gae, PACKAGES),
        "agreement": agreement,
        "base": BASE,
        "case": ["T", "B"],
        "clock": common.CLOCK,
        "results": results,
        "settings": {"dtype": "float32", "ends": ENDS, "gamma": GAMMA, "lam": LAM, "seed": SEED, "truncated": TRUNCATED},
    }
