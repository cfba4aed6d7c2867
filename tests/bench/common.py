"""What all benches share: taking turns, quartiles, the machine, the check against a reference, the log.

The rules. One thread. Every competitor gets its input in its own layout, prepared beforehand, and must agree with a float64
reference before it is timed. All competitors take turns within one run: a round times each of them once, the next round
begins one further on, and ratios are formed within a round, so that a machine that slows down slows all of them. A timing
is the mean of `calls` calls, after one call that is not timed: each finds its data as warm in the cache as its size allows.
A slow competitor sits out some rounds, evenly spread; its ratios come from the rounds in which it took part.
"""

import gc
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from rlbook import experiments
from rlbook.experiments.bench import rows

ROUNDS = 60             # of a competitor that is fast enough
FEWEST = 7              # rounds of the slowest one
SECONDS = 6.0           # about what one competitor may take in one case, unless that is fewer rounds than FEWEST
SPAN = 5.0              # milliseconds that one timing shall last at least
LIMIT = 1e-5            # of max|error| / max|reference| in float32
CLOCK = {"cpu": "processor time of the process, all threads", "cuda": "CUDA events"}


@dataclass(frozen=True)
class Competitor:
    """A call without arguments, and how its result becomes comparable (None: it has none, as a floor)."""

    name: str
    call: Callable[[], object]
    result: Callable[[object], Tensor] | None = lambda result: result


# ---- time

def cpu_time(call: Callable[[], object], calls: int) -> float:
    """Mean milliseconds of processor time. On one thread that is the wall's clock, less what other programs took."""
    start = time.process_time_ns()
    for _ in range(calls):
        call()
    return (time.process_time_ns() - start) / calls / 1e6


def cuda_time(call: Callable[[], object], calls: int) -> float:
    """Mean milliseconds between two events on the GPU, waiting for launches included."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / calls


TIMERS = {"cpu": cpu_time, "cuda": cuda_time}


def plan(milliseconds: float, rounds: int = ROUNDS, seconds: float = SECONDS) -> tuple[int, int]:
    """(calls in a timing, every how many rounds) for a competitor of which one call takes so many milliseconds."""
    calls = max(1, math.ceil(SPAN / milliseconds))
    turns = seconds * 1e3 / ((calls + 1) * milliseconds)
    return calls, max(1, min(math.ceil(rounds / turns), rounds // FEWEST))


def take_turns(
    calls: dict[str, Callable[[], object]], timer: Callable, rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, dict]:
    """Time every call in turn. Returns {name: {"calls": calls in a timing, "ms": {round: milliseconds}}}."""
    plans = {}
    for name, call in calls.items():
        call()
        one = timer(call, 1)
        plans[name] = plan(max(timer(call, 20) if one < 1 else one, 1e-4), rounds, seconds)
    times = {name: {"calls": plans[name][0], "ms": {}} for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                many, every = plans[name]
                if turn % every == 0:
                    calls[name]()
                    times[name]["ms"][turn] = timer(calls[name], many)
    finally:
        if collecting:
            gc.enable()
    return times


def quartiles(values: list[float]) -> list[float]:
    """[lower quartile, median, upper quartile], interpolated linearly between the two nearest values."""
    if not values:
        raise ValueError("quartiles need at least one value, got none")
    return list(values) * 3 if len(values) == 1 else statistics.quantiles(values, method="inclusive")


def ratios(times: dict[int, float], base: dict[int, float]) -> list[float]:
    """One competitor's time over the base's, for each round in which both took part."""
    return [times[turn] / base[turn] for turn in sorted(times.keys() & base.keys())]


# ---- agreement

def errors(results: dict[str, Tensor], reference: Tensor, limit: float = LIMIT) -> dict[str, float]:
    """max|error| / max|reference| of each. Raises AssertionError, naming it, if one is wrong: it must not be timed."""
    found = {name: distance(result, reference, reference) for name, result in results.items()}
    wrong = {name: error for name, error in found.items() if not error <= limit}
    assert not wrong, f"wrong, so not timed (limit {limit}): {wrong}"
    return found


def disagreement(results: dict[str, Tensor], reference: Tensor) -> float:
    """The largest difference between two of the results, over max|reference|."""
    tensors = list(results.values())
    return max((distance(a, b, reference) for i, a in enumerate(tensors) for b in tensors[:i]), default=0.0)


def distance(a: Tensor, b: Tensor, reference: Tensor) -> float:
    """max|a - b| / max|reference| in float64; shapes must agree."""
    assert a.shape == b.shape, f"shapes differ: {tuple(a.shape)}, {tuple(b.shape)}"
    return ((a.detach().cpu().double() - b.detach().cpu().double()).abs().max() / reference.abs().max()).item()


# ---- one case, and the log

def compete(competitors: list[Competitor], reference: Tensor, case: list, device: str, base: str) -> tuple[list[dict], float]:
    """Check and time the competitors of one case. Returns its results as the log holds them, and their disagreement."""
    with torch.no_grad():
        given = {each.name: each.result(each.call()) for each in competitors if each.result is not None}
        found = errors(given, reference)
        apart = disagreement(given, reference)
        del given
        times = take_turns({each.name: each.call for each in competitors}, TIMERS[device])
    results = []
    for name, taken in times.items():
        results.append({
            "calls": taken["calls"],
            "case": case,
            "device": device,
            "error": experiments.rounded([found[name]], 2)[0] if name in found else None,
            "ms": experiments.rounded(quartiles(list(taken["ms"].values()))),
            "name": name,
            "ratio": experiments.rounded(quartiles(ratios(taken["ms"], times[base]["ms"]))),
            "rounds": len(taken["ms"]),
        })
    return results, apart


def made_by(code: object, packages: tuple[str, ...]) -> dict:
    """What every log says about its making: the hash of the code measured, the machine, threads and versions."""
    found = {name: metadata.version(name) for name in packages}
    return {
        "code": experiments.code_hash(code),
        "cores": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "not measured",
        "machine": experiments.processor(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **found},
    }


def write(name: str, log: dict) -> Path:
    """Write the log of a bench, rlbook/data/bench_<name>.json."""
    return experiments.write(f"bench_{name}", {**log, "bench": name})


def report(log: dict) -> str:
    """The log as plain tables for the terminal."""
    times = f"time / {log['base']}'s: median ({log.get('spread', 'quartiles')})"
    titles = {"ratio": times, "ms": "milliseconds", "error": "max|error| / max|reference|", "mib": "MiB beyond the input"}
    titles = {what: title for what, title in titles.items() if what in log["results"][0]}
    parts = []
    for device in dict.fromkeys(result["device"] for result in log["results"]):
        for what, title in titles.items():
            cells = rows(log, device, what)
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
            parts.append("\n".join([f"{device}, {title}", *lines]))
    return "\n\n".join(parts) + f"\n\ncuda: {log['cuda']}\n"
