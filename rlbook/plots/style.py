"""The style of the book's figures, which reads on white and on dark pages, and what its functions check.

Colours are told apart by colour-blind readers, and every one, the ink included, has a contrast of at least 3 : 1 with
both backgrounds.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

INK = "#7f7f7f"
BLUE, ORANGE, GREEN, RED, PURPLE = PALETTE = ("#2f86d0", "#c77a00", "#109070", "#d9534a", "#a070c8")
STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
    "savefig.transparent": True,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "rlbook",
}


def use_style() -> None:
    """Make the book's style the default of this notebook: one line in a chapter's set-up cell."""
    matplotlib.rcParams.update(STYLE)


def new_axes(columns: int = 1, **options) -> np.ndarray | Axes:
    """New axes in the book's style: one, or an array of them side by side."""
    use_style()
    return plt.subplots(1, columns, **options)[1]


def numbers(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=float)


def short(value: float, scale: float) -> str:
    """A number to three digits; 0 if it is no more than the rounding of numbers of this scale."""
    return "0" if abs(value) <= 1e-12 * scale else f"{value:.3g}"


def finite(name: str, values, size: int | None = None) -> np.ndarray:
    """Values as a row of finite numbers, of a given size if there is one."""
    try:
        row = numbers(values)
    except (TypeError, ValueError):
        row = np.array(np.nan)
    if row.ndim != 1 or (size is not None and len(row) != size) or not np.isfinite(row).all():
        raise ValueError(f"{name} must be {size or 'a row of'} finite numbers, got {values!r:.60}")
    return row


def curve(name: str, x, y, x_name: str) -> tuple[np.ndarray, np.ndarray]:
    places = finite(x_name, x)
    if len(places) < 2:
        raise ValueError(f"{x_name} must be at least two numbers, got {x!r:.60}")
    return places, finite(name, y, len(places))


def check_count(name: str, items) -> None:
    count = len(items) if isinstance(items, Mapping | Sequence) and not isinstance(items, str) else 0
    if not 1 <= count <= len(PALETTE):
        raise ValueError(f"{name} must hold 1 to {len(PALETTE)} entries, one for each colour, got {items!r:.60}")


def metric_of_runs(name: str, log: dict, metric: str) -> np.ndarray:
    """The metric of a log's runs, [seeds, iterations]."""
    rows = [run.get(metric) for run in log["runs"]]
    if not rows or any(row is None for row in rows) or len({len(row) for row in rows}) != 1:
        raise ValueError(f"log {name!r} must hold runs with {metric!r} of one length, got lengths "
                         f"{[None if row is None else len(row) for row in rows]!r:.60}")
    return np.array(rows, dtype=float)
