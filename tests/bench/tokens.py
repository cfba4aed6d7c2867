"""Log-probabilities and entropies from hidden states, forward and backward: rlbook's `linear_logprobs`, TRL's, Liger's.

hidden [N, H] and weight [V, H] are float32 on a CPU, bfloat16 on a GPU, and every competitor computes the gradients of both
for given gradients of its results. TRL runs with the 32,768 ids at a time that its trainers take, and with 8,192. Liger's
function, which its PPO and GRPO losses call, gives log-probabilities without entropies; "rlbook, log-probs" is rlbook's
with the gradient of the log-probabilities alone. "all logits" is log_softmax and autograd, which keep several [N, V].

Each measurement is a process of its own, one call after a small one that is not timed; rounds alternate. Memory is the most
that the process held during the call, less what it held before: results, gradients and all that comes and goes.
`python -m tests.bench.tokens NAME N V H DEVICE` is one such process; it prints JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from rlbook import experiments
from rlbook.tokens import linear_logprobs
from tests.bench import common

SHAPES = {(2048, 32_768, 512): (3, 1), (2048, 151_936, 896): (3, 3)}  # (N, V, H), the second that of Qwen2 with 0.5B
#                                                                     parameters: (rounds, every how many for those not in ALWAYS)
CHECK = (64, 5003, 32)              # of the call that is not timed
ROWS = 8                            # tokens of the timed call that are checked
LIMITS = {"cpu": 1e-4, "cuda": 5e-2}
SEED = 0
BASE = "rlbook"
PACKAGES = ("liger-kernel", "numpy", "torch", "transformers", "trl")
ALWAYS = (BASE, "TRL")
NAMES = (*ALWAYS, "TRL, chunk 8192", "all logits", "rlbook, log-probs", "Liger, log-probs")


# ---- the competitors: (hidden, weight, ids) to (log-probabilities, entropies or None)

def all_logits(hidden: Tensor, weight: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    logp = (hidden @ weight.t()).to(torch.promote_types(hidden.dtype, torch.float32)).log_softmax(-1)
    return logp.gather(1, ids[:, None])[:, 0], -(logp.exp() * logp).sum(1)


def of_trl(chunk: int | None = None) -> Callable:
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    def call(hidden, weight, ids):
        chunk_size = chunk or _CHUNKED_LOGPROB_CHUNK_SIZE
        return ChunkedLogProbFunction.apply(hidden, weight, None, ids, 1.0, chunk_size, None, 1.0, ("entropy",))[:2]

    return call


def of_liger() -> Callable:
    from liger_kernel.chunked_loss import fused_linear_ppo as liger

    def call(hidden, weight, ids):
        chunk = liger._SELECTIVE_LOGPROB_VOCAB_CHUNK_SIZE
        return liger._ChunkedSelectiveLogProbFunction.apply(hidden, weight, ids, None, 1.0, chunk), None

    return call


MAKERS = dict(zip(NAMES, (
    lambda: linear_logprobs,
    of_trl,
    lambda: of_trl(8192),
    lambda: all_logits,
    lambda: lambda *arrays: (linear_logprobs(*arrays)[0], None),
    of_liger,
), strict=True))


# ---- one measurement

def make_data(tokens: int, size: int, width: int, device: str = "cpu") -> SimpleNamespace:
    """Hidden states, a weight that gives logits of variance 1, ids, and the gradients of log-probabilities and entropies."""
    generator = torch.Generator().manual_seed(SEED)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    hidden = torch.randn(tokens, width, generator=generator)
    weight = torch.randn(size, width, generator=generator).mul_(width**-0.5)
    ids = torch.randint(0, size, (tokens,), generator=generator)
    grads = torch.randn(2, tokens, generator=generator)
    arrays = [each.to(device, dtype).requires_grad_() for each in (hidden, weight)]
    return SimpleNamespace(arrays=[*arrays, ids.to(device)], grads=grads.to(device))


def both_ways(call: Callable, data: SimpleNamespace) -> list[Tensor]:
    """Forward and backward: [log-probabilities, entropies (if there are any), gradient of hidden, gradient of weight]."""
    outputs = [each for each in call(*data.arrays) if each is not None]
    grads = torch.autograd.grad(outputs, data.arrays[:2], list(data.grads[: len(outputs)]))
    return [each.detach() for each in (*outputs, *grads)]


def error(results: list[Tensor], data: SimpleNamespace, rows: int | None = None) -> float:
    """The largest max|error| / max|reference| of the results, against float64; of the first rows only, if a number is given,
    and then not of the gradient of weight, to which all rows contribute."""
    hidden, weight, ids = data.arrays
    part = SimpleNamespace(grads=data.grads[:, :rows].cpu().double())
    part.arrays = [hidden[:rows].detach().cpu().double().requires_grad_(), weight.detach().cpu().double().requires_grad_()]
    part.arrays.append(ids[:rows].cpu())
    entropies = len(results) == 4
    reference = both_ways(lambda *arrays: all_logits(*arrays)[: 1 + entropies], part)
    if rows is not None:
        results, reference = [each[:rows] for each in results[:-1]], reference[:-1]
    return max(common.distance(result, true, true) for result, true in zip(results, reference, strict=True))


def measure_one(name: str, shape: tuple[int, int, int], device: str) -> dict:
    """Milliseconds, MiB and error of one call. Raises AssertionError if it is wrong."""
    call = MAKERS[name]()
    small = make_data(*CHECK, device)
    errors = [error(both_ways(call, small), small)]
    data = make_data(*shape, device)
    clock, held, most = METERS[device]
    before, start = held(), clock()
    results = both_ways(call, data)
    taken, peak = clock() - start, most() - before
    errors.append(error(results, data, ROWS))
    assert max(errors) <= LIMITS[device], f"{name} is wrong, so not timed (limit {LIMITS[device]}): {errors}"
    return {"error": max(errors), "mib": peak / 2**20, "ms": taken * 1e3}


def held_memory() -> int:
    """Bytes of the process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_memory() -> int:
    """Bytes of the process in memory when they were most. (getrusage would count those of the process that started it.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def cuda_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


METERS = {
    "cpu": (time.process_time, held_memory, most_memory),
    "cuda": (cuda_clock, torch.cuda.memory_allocated, torch.cuda.max_memory_allocated),
}


# ---- all of them, in turn

def run_process(name: str, shape: tuple[int, int, int], device: str) -> dict:
    """`measure_one` in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.tokens", name, *map(str, shape), device]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0, f"{command} failed:\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: list[float]) -> list[float]:
    """[least, median, most]."""
    return experiments.rounded([min(values), common.quartiles(values)[1], max(values)])


def take_turns(shape: tuple[int, int, int], device: str, rounds: int, every: int, run: Callable = run_process) -> list[dict]:
    """Every competitor once in each of its rounds, the next round beginning one further on. Returns what the log holds."""
    found = {name: {} for name in NAMES}
    for turn in range(rounds):
        first = turn % len(NAMES)
        for name in NAMES[first:] + NAMES[:first]:
            if name in ALWAYS or turn % every == 0:
                found[name][turn] = run(name, shape, device)
    results = []
    for name, runs in found.items():
        row = {"case": list(shape), "device": device, "name": name, "rounds": len(runs)}
        row["error"] = experiments.rounded([max(each["error"] for each in runs.values())], 2)[0]
        for unit, ratio in (("ms", "ratio"), ("mib", "mib_ratio")):
            own, base = ({turn: each[unit] for turn, each in of.items()} for of in (runs, found[BASE]))
            row[unit], row[ratio] = spread(list(own.values())), spread(common.ratios(own, base))
        results.append(row)
    return results


def measure() -> dict:
    """Check and time every case; returns what the log holds."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    results = [take_turns(shape, device, *rounds) for device in devices for shape, rounds in SHAPES.items()]
    return {
        **common.made_by(linear_logprobs, PACKAGES),
        "base": BASE,
        "case": ["N", "V", "H"],
        "clock": {**common.CLOCK, "cuda": "wall clock, synchronised"},
        "results": [row for rows in results for row in rows],
        "settings": {"dtype": {"cpu": "float32", "cuda": "bfloat16"}, "seed": SEED},
        "spread": "least to most",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tokens", description="One measurement.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("shape", type=int, nargs=3, metavar=("N", "V", "H"))
    parser.add_argument("device", choices=METERS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure_one(arguments.name, tuple(arguments.shape), arguments.device)))


if __name__ == "__main__":
    main()
