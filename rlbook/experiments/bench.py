"""Tables of the benches: how long rlbook and other libraries take for the same work, from the logs of `make bench`.

A bench times all competitors in turn, round after round, and its log, rlbook/data/bench_<what>.json, holds for each of
them [lower quartile, median, upper quartile] of the milliseconds ("ms") and of the ratios to rlbook ("ratio"), the latter
formed round by round. A ratio above 1 is a competitor that takes longer than rlbook. A log of few rounds, each of which
takes long, has the least and the most in place of the quartiles, and says so ("spread"); if it measured memory, it has the
same of the extra MiB ("mib") and of their ratios ("mib_ratio").
"""

import math

from rlbook import experiments

WHATS = ("ratio", "ms", "error", "mib", "mib_ratio")


def table(name: str, device: str = "cpu", what: str = "ratio") -> str:
    """The log of a bench as a Markdown table: one line for each case, one column for each competitor.

    `what` is "ratio" (time over rlbook's, which is 1 by definition), "ms" (milliseconds), both as
    "median (lower quartile–upper quartile)", or "error" (largest error over the largest true value, against float64);
    where it was measured, "mib" (memory beyond the input, in MiB) and "mib_ratio" (that over rlbook's).
    Raises ValueError for a name that is no bench, a device or memory that was not measured, an unknown `what`.
    """
    header, *body = rows(experiments.load(name), device, what)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows(log: dict, device: str = "cpu", what: str = "ratio") -> list[list[str]]:
    """The cells of `table`, the header first, from a log as `experiments.load` returns it. Raises ValueError as it does."""
    if what not in WHATS:
        raise ValueError(f"what must be one of {WHATS}, got {what!r}")
    if "results" not in log or "base" not in log:
        raise ValueError("this log is no bench's: a bench's log has results and base")
    results = [result for result in log["results"] if result["device"] == device]
    if not results:
        measured = sorted({result["device"] for result in log["results"]})
        raise ValueError(f"device must be one that was measured, {measured}, got {device!r}")
    if what not in results[0]:
        raise ValueError(f"this bench did not measure {what!r}")
    names = list(dict.fromkeys(result["name"] for result in results))
    shown = names if "ratio" not in what else [name for name in names if name != log["base"]]
    shown = [name for name in shown if what != "error" or any(_has_error(result, name) for result in results)]
    body = {}
    for result in results:
        label = " × ".join(map(str, result["case"]))
        body.setdefault(label, {})[result["name"]] = _cell(result, what)
    lines = [[label, *(cells.get(name, "–") for name in shown)] for label, cells in body.items()]
    return [[" × ".join(log["case"]), *shown], *lines]


def number(value: float, digits: int = 3) -> str:
    """A positive number to so many significant digits, never in powers of ten: 1234.5 is "1234", 0.01234 is "0.0123"."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def _has_error(result: dict, name: str) -> bool:
    return result["name"] == name and result["error"] is not None


def _cell(result: dict, what: str) -> str:
    if what == "error":
        return "–" if result["error"] is None else f"{result['error']:.1e}"
    low, median, high = map(number, result[what])
    return f"{median} ({low}–{high})"
