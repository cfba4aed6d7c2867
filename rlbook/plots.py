"""The book's figures: one style that reads on white and on dark pages.

Every function draws on the axes it is given, or on a new figure, and returns a one-sentence description for the alt
text; show the figure with `plt.show()`. Colours are told apart by colour-blind readers, and every one, the ink
included, has a contrast of at least 3 : 1 with both backgrounds.
"""

from collections.abc import Sequence

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


def score_arrows(policies: Sequence[Sequence[float]]) -> str:
    """Scores of softmax policies over three actions, as arrows on the simplex, one panel for each policy.

    ∇_θ log π_θ(a) = e_a − π_θ  (the softmax's case of eq-log-derivative)

    The arrow of action a starts at π_θ and ends at a's corner, so its length is the surprise: a likely action moves the
    logits little, an unlikely one far. Its width grows with π_θ(a): what is short and wide balances what is long and
    narrow, since the scores have mean zero (eq-score-mean-zero).
    policies: rows of three positive probabilities. Raises ValueError for anything else.
    """
    table = np.asarray(policies, dtype=float)
    if table.ndim != 2 or table.shape[1] != 3 or (table <= 0).any() or not np.allclose(table.sum(1), 1):
        raise ValueError(f"policies must be rows of three positive probabilities, got {policies!r:.80}")
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    panels = np.atleast_1d(new_axes(len(table), figsize=(2.9 * len(table), 2.9)))
    for axes, policy in zip(panels, table, strict=True):
        start = policy @ corners
        axes.plot(*np.vstack([corners, corners[:1]]).T, color=INK, linewidth=1)
        for action, (corner, color) in enumerate(zip(corners, PALETTE, strict=False)):
            style = {"arrowstyle": "-|>", "color": color, "linewidth": 1 + 5 * policy[action]}
            axes.annotate("", corner, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
            outward = corner + (corner - corners.mean(0)) * 0.2
            axes.text(*outward, f"$a = {action + 1}$", color=color, ha="center", va="center")
        axes.plot(*start, "o", color=INK, markersize=6)
        axes.set_title(r"$\pi_\theta = (" + ",\\ ".join(f"{p:.2g}" for p in policy) + ")$")
        axes.set(aspect="equal", xlim=(-0.22, 1.22), ylim=(-0.2, 1.08))
        axes.axis("off")
    return (f"The simplex of policies over three actions, {len(table)} times; from each policy three arrows, the "
            "scores of the actions, lead to the corners: short towards likely actions, long towards unlikely ones.")


def score_bars(policy: Sequence[float], axes: Axes | None = None) -> str:
    """The three scores of one softmax policy, e_a − π_θ, component by component, beside their weighted sum, zero.

    policy: three or more positive probabilities. Bars of the score of action a show its components; the last group
    is Σ_a π_θ(a) ∇ log π_θ(a) = 0 (eq-score-mean-zero).
    """
    probabilities = np.asarray(policy, dtype=float)
    if probabilities.ndim != 1 or (probabilities <= 0).any() or not np.isclose(probabilities.sum(), 1):
        raise ValueError(f"policy must be positive probabilities that sum to one, got {policy!r}")
    axes = new_axes() if axes is None else axes
    size = len(probabilities)
    scores = np.eye(size) - probabilities
    groups = np.vstack([scores, probabilities @ scores])
    for component in range(size):
        place = np.arange(size + 1) + 0.8 * (component - (size - 1) / 2) / size
        axes.bar(place, groups[:, component], 0.7 / size, color=PALETTE[component], label=rf"$\theta_{component + 1}$")
    axes.axhline(0, color=INK, linewidth=1)
    labels = [rf"$a={a + 1}$" "\n" rf"$\pi={p:.2g}$" for a, p in enumerate(probabilities)]
    axes.set_xticks(range(size + 1), [*labels, r"mean under $\pi$"])
    axes.set_ylabel(r"component of $\nabla_\theta \log \pi_\theta(a)$")
    axes.legend(ncols=size)
    return (f"Components of the score of each of {size} actions: positive for the action's own logit, negative for the "
            "others, largest for the least likely action; their mean under the policy is zero.")


def learning_curves(log: dict, metric: str = "charts/episodic_return", axes: Axes | None = None,
                    label: str | None = None, color: str = BLUE, live: Sequence[float] | None = None) -> str:
    """One metric of a log's runs over iterations: thin lines for seeds, median, band from least to greatest.

    log: as `rlbook.experiments.load` returns it; live: the same metric of a run made just now, drawn in orange.
    """
    curves = np.array([run[metric] for run in log["runs"]], dtype=float)
    axes = new_axes() if axes is None else axes
    iterations = np.arange(1, curves.shape[1] + 1)
    axes.fill_between(iterations, curves.min(0), curves.max(0), color=color, alpha=0.15, linewidth=0)
    axes.plot(iterations, curves.T, color=color, alpha=0.35, linewidth=0.7)
    axes.plot(iterations, np.median(curves, 0), color=color, label=label or f"median of {len(curves)} seeds")
    if live is not None:
        axes.plot(np.arange(1, len(live) + 1), live, color=ORANGE, label="this run")
    axes.set(xlabel="iteration", ylabel=metric.split("/")[-1].replace("_", " "))
    axes.legend()
    first, last = np.median(curves[:, 0]), np.median(curves[:, -1])
    return (f"{metric} over {curves.shape[1]} iterations, {len(curves)} seeds: "
            f"the median goes from {first:.3g} to {last:.3g}.")


def loss_against_return(run: dict, axes: np.ndarray | None = None) -> str:
    """The loss and the return of one run, side by side over iterations: only the second measures performance."""
    left, right = new_axes(2, figsize=(8.0, 3.2)) if axes is None else axes
    for place, metric, color in ((left, "losses/policy_loss", RED), (right, "charts/episodic_return", BLUE)):
        place.plot(np.arange(1, len(run[metric]) + 1), run[metric], color=color)
        place.set(xlabel="iteration", ylabel=metric.split("/")[-1].replace("_", " "))
    return "The policy loss and the episodic return of one run over its iterations, side by side."


def error_against_n(sizes: Sequence[int], errors, predicted=None, axes: Axes | None = None) -> str:
    """Error of a sample mean against the number of samples, both axes logarithmic, with a line that falls as 1/√N.

    The line is √(tr Cov / N), eq-sample-mean-variance, if `predicted` is given, else 1/√N through the first point.
    """
    sizes, errors = np.asarray(sizes, dtype=float), _numbers(errors)
    reference = errors[0] * np.sqrt(sizes[0] / sizes) if predicted is None else _numbers(predicted)
    label = r"$\propto 1/\sqrt{N}$" if predicted is None else r"$\sqrt{\mathrm{tr}\,\mathrm{Cov}/N}$, exact"
    axes = new_axes() if axes is None else axes
    axes.loglog(sizes, reference, "--", color=INK, label=label)
    axes.loglog(sizes, errors, "o", color=BLUE, label="measured")
    axes.set(xlabel=r"trajectories $N$", ylabel=r"RMS of $\|\hat g - \nabla J\|$")
    axes.legend()
    return (f"Error of the estimate falling from {errors[0]:.2g} with {sizes[0]:.0f} trajectories to {errors[-1]:.2g} "
            f"with {sizes[-1]:.0f}, on a line of slope one half downwards in a log-log plot.")


def coverage(result, truth: float, component: int = 0, show: int = 100, axes: Axes | None = None) -> str:
    """The first intervals of a `rlbook.experiments.estimation.Coverage`, one component; those that miss are red."""
    means, widths = _numbers(result.means)[:show, component], _numbers(result.half_widths)[:show, component]
    inside = _numbers(result.inside).astype(bool)[:, component]
    axes = new_axes() if axes is None else axes
    for chosen, color in ((inside[:show], BLUE), (~inside[:show], RED)):
        places = np.flatnonzero(chosen)
        axes.errorbar(places, means[places], widths[places], fmt=".", color=color, linewidth=1, markersize=4)
    axes.axhline(truth, color=INK, linewidth=1.5, label="exact gradient")
    axes.set(xlabel="repetition", ylabel=rf"component {component + 1} of $\hat g$")
    axes.legend(loc="upper right")
    return (f"{len(means)} confidence intervals around the exact value {truth:.3g}; {int((~inside[:show]).sum())} miss "
            f"it, and of all {len(inside)} repetitions {100 * inside.mean():.1f} % hold it.")


def _numbers(values) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=float)
