"""Figures of any subject: named curves, medians over seeds, points and bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from rlbook.plots.style import BLUE, PALETTE, check_count, curve, finite, new_axes


def curves(x: Sequence[float], ys: Mapping[str, Sequence[float]], xlabel: str, ylabel: str = "", title: str = "",
           axes: Axes | None = None, styles: Sequence[str] = ("-", "--", ":", "-.", "-")) -> str:
    """Named curves over one x, told apart by colour and by line style.

    ys: {name: values, as many as x}, at most five. Raises ValueError for none or more, sequences that differ in length
    or have no two points, and entries that are not finite.
    """
    _check_names(ys)
    axes = new_axes() if axes is None else axes
    for (name, y), color, style in zip(ys.items(), PALETTE, styles, strict=False):
        axes.plot(*curve(f"curve {name!r}", x, y, "x"), style, color=color, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.legend()
    ends = ", ".join(f"{name} from {y[0]:.3g} to {y[-1]:.3g}" for name, y in ys.items())
    return f"Curves against {xlabel} from {x[0]:.3g} to {x[-1]:.3g}: {ends}."


def medians(x: Sequence[float], runs: Mapping[str, Sequence[Sequence[float]]], xlabel: str, ylabel: str = "",
            title: str = "", axes: Axes | None = None, log: bool = False) -> str:
    """Median over seeds of several named groups of runs, with a band from the lower to the upper quartile.

    runs: {name: [seeds, len(x)]}, at most five groups; NaN is left out. log: a logarithmic y axis. Raises ValueError
    for none or more groups, and for runs whose length is not that of x.
    """
    _check_names(runs)
    places = finite("x", x)
    axes = new_axes() if axes is None else axes
    ends = []
    for (name, values), color in zip(runs.items(), PALETTE, strict=False):
        table = np.array(values, dtype=float)
        if table.ndim != 2 or table.shape[1] != len(places):
            raise ValueError(f"runs {name!r} must be [seeds, {len(places)}] as x is, got {table.shape}")
        low, middle, high = np.nanquantile(table, [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(places, middle, color=color, label=name)
        ends.append(f"{name} at {middle[-1]:.3g}")
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, **({"yscale": "log"} if log else {}))
    axes.legend()
    return f"{ylabel or 'Medians'} over {xlabel}, median and quartiles of seeds: {', '.join(ends)} at the end."


def scatter(groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str,
            axes: Axes | None = None, connect: bool = False) -> str:
    """Named groups of points (x, y), at most five; `connect` joins the points of a group in their order.

    Raises ValueError for none or more groups, x and y of different lengths, and entries that are not finite.
    """
    _check_names(groups)
    axes = new_axes() if axes is None else axes
    for (name, (x, y)), color in zip(groups.items(), PALETTE, strict=False):
        places = finite(f"x of {name!r}", x)
        axes.plot(places, finite(f"y of {name!r}", y, len(places)), "o-" if connect else "o", color=color,
                  markersize=4, linewidth=1, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return f"Points of {ylabel} against {xlabel}, for {', '.join(groups)}."


def bars(values: Mapping[str, Sequence[float]], xlabel: str, axes: Axes | None = None,
         reference: float | None = None) -> str:
    """One bar for each named list of numbers, its median, with a dot for every number; from the first at the top.

    reference: where to draw a dashed line, for instance the median of what all others are compared with. Raises
    ValueError for no names, no numbers, and numbers that are not finite.
    """
    if not isinstance(values, Mapping) or not values:
        raise ValueError(f"values must map at least one name to numbers, got {values!r:.60}")
    rows = [finite(f"values of {name!r}", row) for name, row in values.items()]
    if any(len(row) == 0 for row in rows):
        raise ValueError(f"every name needs at least one number, got {dict(values)!r:.60}")
    axes = new_axes(figsize=(6.4, 0.9 + 0.36 * len(rows))) if axes is None else axes
    middles = [float(np.median(row)) for row in rows]
    axes.barh(range(len(rows)), middles, 0.6, color=BLUE, alpha=0.5)
    for place, row in enumerate(rows):
        axes.plot(row, np.full(len(row), place), "o", color=BLUE, markersize=3)
    if reference is not None:
        axes.axvline(reference, color=PALETTE[1], linestyle="--")
    axes.set_yticks(range(len(rows)), list(values))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)
    listed = ", ".join(f"{middle:.3g} for {name}" for name, middle in zip(values, middles, strict=True))
    return f"Bars of the median {xlabel}: {listed}."


def _check_names(named: Mapping) -> None:
    if not isinstance(named, Mapping):
        raise ValueError(f"curves must be a dictionary by name, got {type(named).__name__}")
    check_count("what is drawn", named)
