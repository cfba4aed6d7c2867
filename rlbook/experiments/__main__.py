"""`python -m rlbook.experiments [name ...]`: run the experiments named, or those whose log is missing or stale."""

import argparse

import torch

from rlbook import experiments


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rlbook.experiments", description=__doc__)
    parser.add_argument("names", nargs="*", help="default: every experiment whose log is missing or stale")
    parser.add_argument("--all", action="store_true", help="run every experiment, also those that are up to date")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(experiments.names())
    if unknown:
        parser.error(f"unknown {sorted(unknown)}; there are {experiments.names()}")
    torch.set_num_threads(1)
    for name in arguments.names or experiments.names():
        current = (experiments.DATA / f"{name}.json").exists() and not experiments.is_stale(name)
        if current and not arguments.all and not arguments.names:
            print(f"{name}: up to date")
            continue
        print(f"{name}: wrote {experiments.run(name).name}")


if __name__ == "__main__":
    main()
