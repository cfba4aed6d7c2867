"""`python -m tests.bench [name ...]`, or `make bench`: run the benches named, or all, and write their logs."""

import argparse
import importlib
from pathlib import Path

import torch

from tests.bench import common

ROOT = Path(__file__).resolve().parents[2]
BENCHES = ("gae", "tokens", "sampling", "cartpole", "grpo", "grpo_memory", "rewards")
# each a module beside this one with measure(), which returns what its log holds, and perhaps report(log) for the terminal


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(BENCHES)}")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(BENCHES)):
        parser.error(f"unknown {unknown}; there are {list(BENCHES)}")
    torch.set_num_threads(1)
    for name in arguments.names or BENCHES:
        bench = importlib.import_module(f"tests.bench.{name}")
        log = bench.measure()
        print(getattr(bench, "report", common.report)(log))
        print(f"{name}: wrote {common.write(name, log).name}")


if __name__ == "__main__":
    main()
