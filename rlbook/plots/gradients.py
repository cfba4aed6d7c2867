"""Figures of Part I: scores, noise of gradients, advantage estimates, learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from rlbook.plots.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    RED,
    check_count,
    curve,
    finite,
    metric_of_runs,
    new_axes,
    numbers,
    short,
)
from rlbook.returns import check_discount, check_integer


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


def error_against_n(sizes: Sequence[int], errors, predicted=None, axes: Axes | None = None) -> str:
    """Error of a sample mean against the number of samples, both axes logarithmic, with a line that falls as 1/√N.

    The line is √(tr Cov / N), eq-sample-mean-variance, if `predicted` is given, else 1/√N through the first point.
    """
    sizes, errors = np.asarray(sizes, dtype=float), numbers(errors)
    reference = errors[0] * np.sqrt(sizes[0] / sizes) if predicted is None else numbers(predicted)
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
    means, widths = numbers(result.means)[:show, component], numbers(result.half_widths)[:show, component]
    inside = numbers(result.inside).astype(bool)[:, component]
    axes = new_axes() if axes is None else axes
    for chosen, color in ((inside[:show], BLUE), (~inside[:show], RED)):
        places = np.flatnonzero(chosen)
        axes.errorbar(places, means[places], widths[places], fmt=".", color=color, linewidth=1, markersize=4)
    axes.axhline(truth, color=INK, linewidth=1.5, label="exact gradient")
    axes.set(xlabel="repetition", ylabel=rf"component {component + 1} of $\hat g$")
    axes.legend(loc="upper right")
    return (f"{len(means)} confidence intervals around the exact value {truth:.3g}; {int((~inside[:show]).sum())} miss "
            f"it, and of all {len(inside)} repetitions {100 * inside.mean():.1f} % hold it.")


def variance_against_baseline(
    baselines: Sequence[float], variances: Sequence[float], marks: Mapping[str, tuple[float, float]], axes: Axes | None = None
) -> str:
    """Variance of an estimate against a constant baseline, a parabola, with named baselines marked on it.

    E‖u‖² (b − b*)² + what no baseline removes  (eq-optimal-baseline)

    baselines and variances: the curve; marks: {name: (baseline, its variance)}, at most five. Raises ValueError for
    sequences that differ in length or have no two points, entries that are not finite, and more or no marks.
    """
    x, y = curve("variances", baselines, variances, "baselines")
    if not isinstance(marks, Mapping):
        raise ValueError(f"marks must be a dictionary of points by name, got {type(marks).__name__}")
    check_count("marks", marks)
    for name, mark in marks.items():
        finite(f"mark {name!r}", mark, 2)
    axes = new_axes() if axes is None else axes
    axes.plot(x, y, color=INK)
    for (name, (place, value)), color in zip(marks.items(), PALETTE, strict=False):
        axes.plot(place, value, "o", color=color, markersize=7, label=f"{name}: {short(value, y.max())}")
    axes.set(xlabel=r"baseline $b$", ylabel="variance", ylim=(-0.04 * y.max(), None))
    axes.legend()
    listed = ", ".join(f"{short(value, y.max())} at {name}" for name, (_, value) in marks.items())
    return f"The variance of an estimate against its baseline, a parabola; it is {listed}."


def estimator_variances(variances: Mapping[str, float], axes: Axes | None = None, label: str = "variance") -> str:
    """One bar for each estimator, from the first at the top, with its number beside it.

    variances: {name of the weight: variance}. Raises ValueError for none, and for numbers that are negative or not
    finite.
    """
    if not isinstance(variances, Mapping) or not variances:
        raise ValueError(f"variances must map at least one name to a number, got {variances!r:.60}")
    values = finite("variances", list(variances.values()), len(variances))
    if (values < 0).any():
        raise ValueError(f"variances must not be negative, got {values.min():.3g}")
    axes = new_axes(figsize=(6.4, 0.9 + 0.4 * len(values))) if axes is None else axes
    bars = axes.barh(range(len(values)), values, 0.6, color=BLUE)
    axes.bar_label(bars, [short(value, values.max()) for value in values], padding=4)
    axes.set_yticks(range(len(values)), list(variances))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    names = list(variances)
    return (f"Bars of {len(values)} values of {label}: the greatest is {values.max():.3g} with {names[values.argmax()]}, "
            f"the least {short(values.min(), values.max())} with {names[values.argmin()]}.")


def bias_variance(
    lambdas: Sequence[float], squared_bias: Sequence[float], variance: Sequence[float], n: int, axes: Axes | None = None
) -> str:
    """Squared bias, variance and their sum, the mean squared error, of a mean of N estimates, against λ.

    E‖ĝ − ∇J‖² = ‖bias‖² + variance / N; the least of the drawn points is marked.

    variance: of one trajectory's estimate, as `exact.gae_bias_variance` gives it. Raises ValueError for sequences that
    differ in length or have no two points, entries that are not finite, and an n that is no integer >= 1.
    """
    check_integer("n", n, 1)
    x, bias = curve("squared_bias", lambdas, squared_bias, "lambdas")
    noise = curve("variance", lambdas, variance, "lambdas")[1] / n
    error = bias + noise
    axes = new_axes() if axes is None else axes
    for values, color, name, style in ((bias, ORANGE, "squared bias", "--"), (noise, GREEN, "variance / N", ":"),
                                       (error, BLUE, "mean squared error", "-")):
        axes.plot(x, values, style, color=color, label=name)
    best = error.argmin()
    axes.plot(x[best], error[best], "o", color=BLUE, markersize=7)
    axes.set(xlabel=r"$\lambda$", title=rf"$N = {n}$", ylim=(0, None))
    axes.legend()
    first, last = (short(bias[i], error.max()) for i in (0, -1))
    return (f"Against λ, with N = {n}: the squared bias goes from {first} to {last}, variance over N from "
            f"{noise[0]:.3g} to {noise[-1]:.3g}; their sum is least, {error[best]:.3g}, at λ = {x[best]:.3g}.")


def gae_weights(lambdas: Sequence[float], gamma: float = 1.0, steps: int = 20, axes: Axes | None = None) -> str:
    """How much generalized advantage estimation counts the TD error l steps ahead: (γλ)^l, a line for each λ  (eq-gae).

    Raises ValueError for no or more than five λ, a λ or γ outside [0, 1], and steps that are no integer >= 1.
    """
    check_integer("steps", steps, 1)
    check_discount("gamma", gamma)
    check_count("lambdas", lambdas)
    for lam in lambdas:
        check_discount("every one of lambdas", lam)
    axes = new_axes() if axes is None else axes
    ahead = np.arange(steps + 1)
    for lam, color in zip(lambdas, PALETTE, strict=False):
        axes.plot(ahead, (gamma * lam) ** ahead, "o-", color=color, markersize=3, label=rf"$\lambda = {lam:g}$")
    axes.set(xlabel=r"steps ahead $l$", ylabel=r"weight $(\gamma\lambda)^l$ of $\delta_{t+l}$", ylim=(-0.03, 1.05))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    listed = ", ".join(f"{lam:g}" for lam in lambdas)
    return f"Weights of TD errors 0 to {steps} steps ahead for λ = {listed}: geometric, and slower to fall the larger λ."


def ladder(logs: Mapping[str, dict], metric: str = "charts/episodic_return", axes: Axes | None = None) -> str:
    """One metric of several logs over iterations: the median over seeds of each, with a band between the quartiles.

    logs: {name: log as `rlbook.experiments.load` returns it}, at most five. Raises ValueError for none or more, and for
    runs that lack the metric or differ in length within a log.
    """
    if not isinstance(logs, Mapping):
        raise ValueError(f"logs must be a dictionary of logs by name, got {type(logs).__name__}")
    check_count("logs", logs)
    curves = {name: metric_of_runs(name, log, metric) for name, log in logs.items()}
    axes = new_axes() if axes is None else axes
    for (name, values), color in zip(curves.items(), PALETTE, strict=False):
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        iterations = np.arange(1, values.shape[1] + 1)
        axes.fill_between(iterations, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(iterations, median, color=color, label=name)
    axes.set(xlabel="iteration", ylabel=metric.split("/")[-1].replace("_", " "))
    axes.legend()
    ends = ", ".join(f"{name} at {np.median(values[:, -1]):.3g}" for name, values in curves.items())
    return f"{metric}, median and quartiles over seeds: {ends} in the last iteration."
