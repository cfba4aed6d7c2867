"""The book's figures: one style, and functions that draw on the axes they are given or on a new figure.

Every function returns a one-sentence description for the alt text; show the figure with `plt.show()`.
"""

from rlbook.plots.curves import bars, curves, medians, scatter
from rlbook.plots.gradients import (
    bias_variance,
    coverage,
    error_against_n,
    estimator_variances,
    gae_weights,
    ladder,
    learning_curves,
    score_arrows,
    variance_against_baseline,
)
from rlbook.plots.style import BLUE, GREEN, INK, ORANGE, PALETTE, PURPLE, RED, STYLE, new_axes, plt, use_style

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "PALETTE",
    "PURPLE",
    "RED",
    "STYLE",
    "bars",
    "bias_variance",
    "coverage",
    "curves",
    "error_against_n",
    "estimator_variances",
    "gae_weights",
    "ladder",
    "learning_curves",
    "medians",
    "new_axes",
    "plt",
    "scatter",
    "score_arrows",
    "use_style",
    "variance_against_baseline",
]
