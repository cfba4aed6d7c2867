"""Experiments that take longer than a chapter may: run once by `make experiments`, committed as logs in rlbook/data.

A log says what made it: settings, seeds, versions, processor, and a hash of the code (see `code_hash`). It holds no
date, no path, no host name, so the same code on the same machine writes the same bytes.
"""

import json
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from rlbook.experiments.source import code_hash

DATA = Path(__file__).parent.parent / "data"
EXPERIMENTS: dict[str, Callable[[], dict]] = {}

__all__ = ["DATA", "EXPERIMENTS", "code_hash", "experiment", "is_stale", "load", "names", "run", "write"]


def experiment(function: Callable[[], dict]) -> Callable[[], dict]:
    """Register a function without arguments, which returns what JSON can hold, under its own name."""
    EXPERIMENTS[function.__name__] = function
    return function


def names() -> list[str]:
    """The names of all experiments."""
    from rlbook.experiments import (  # noqa: F401  (they register)
        addition,
        cartpole,
        cost,
        overoptimization,
        ppo,
        ppo_against_grpo,
        ppo_details,
        ppo_published,
        qwen_size,
        variants,
    )

    return sorted(EXPERIMENTS)


def run(name: str) -> Path:
    """Run one experiment and write its log, rlbook/data/<name>.json; returns the path."""
    function = _find(name)
    log = {"experiment": name, "code": code_hash(function), "machine": processor(), "versions": versions()}
    log.update(function())
    return write(name, log)


def write(name: str, log: dict) -> Path:
    """Write rlbook/data/<name>.json, its keys sorted and each object of a list on a line of its own; returns the path."""
    lines = [f"{json.dumps(key)}: {_lines(log[key])}" for key in sorted(log)]
    path = DATA / f"{name}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def load(name: str) -> dict:
    """The committed log of an experiment. Raises ValueError for a name that has none, and for a path."""
    logs = sorted(path.stem for path in DATA.glob("*.json"))
    if name not in logs:
        raise ValueError(f"no log of {name!r}; there are {logs}")
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def is_stale(name: str) -> bool:
    """Whether the code has changed since the log was written; then `make experiments` must write it again."""
    function = _find(name)
    return load(name)["code"] != code_hash(function)


def rounded(values: list[float], digits: int = 4) -> list[float]:
    """Values to so many significant digits, which is what a log keeps; integers stay as they are."""
    return [value if isinstance(value, int) else float(f"{value:.{digits}g}") for value in values]


def processor() -> str:
    """The processor's model, as Linux names it where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {name: metadata.version(name) for name in ("gymnasium", "numpy", "torch")}
    return {"python": platform.python_version(), **found}


def _find(name: str) -> Callable[[], dict]:
    if name not in names():
        raise ValueError(f"unknown experiment {name!r}; there are {names()}")
    return EXPERIMENTS[name]


def _lines(value: object) -> str:
    """JSON with sorted keys; a list of objects gets one line for each, so that a diff shows which changed."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(json.dumps(item, sort_keys=True) for item in value) + "\n]"
    return json.dumps(value, sort_keys=True)
