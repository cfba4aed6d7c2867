"""The book's figures: colours that read on both pages, what is drawn, what is refused."""

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

from rlbook import exact, experiments, plots  # noqa: E402
from rlbook.experiments import estimation  # noqa: E402

MDP = exact.two_state_mdp()
LOGITS = torch.tensor([[0.2, -0.1], [-0.3, 0.4]], dtype=torch.float64)
LOG = {"runs": [{"m": [0.0, 10.0]}, {"m": [1.0, 20.0]}, {"m": [5.0, 90.0]}]}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plots.plt.close("all")


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("color", [plots.INK, *plots.PALETTE])
@pytest.mark.parametrize("page", ["#ffffff", "#14181e"])
def test_colours_read_on_light_and_dark_pages(color, page):
    light, dark = sorted([luminance(color) + 0.05, luminance(page) + 0.05], reverse=True)
    assert light / dark >= 3


def test_figures_describe_themselves(tmp_path):
    log = experiments.load("vpg_cartpole")
    result = estimation.coverage(MDP, LOGITS, 50, 100, torch.Generator().manual_seed(0))
    calls = [
        lambda: plots.score_arrows([[0.2, 0.3, 0.5], [1 / 3] * 3]),
        lambda: plots.learning_curves(log, live=log["runs"][0]["charts/episodic_return"]),
        lambda: plots.error_against_n([10, 100], torch.tensor([1.0, 0.3])),
        lambda: plots.error_against_n([10, 100], [1.0, 0.3], [1.0, 0.32]),
        lambda: plots.coverage(result, 0.5, component=1),
        lambda: plots.variance_against_baseline([-3.0, 0.0, 2.0], [1.0, 2.0, 5.0], {"0": (0.0, 2.0), "b*": (-2.6, 0.9)}),
        lambda: plots.estimator_variances({"return": 1.5, "reward-to-go": 0.75, "best": 0.0}),
        lambda: plots.bias_variance([0.0, 0.5, 1.0], torch.tensor([0.3, 0.1, 0.0]), [1.0, 1.5, 4.0], 10),
        lambda: plots.gae_weights([0.0, 0.9, 1.0], gamma=0.99),
        lambda: plots.ladder({"return": log, "to go": log}),
    ]
    for call in calls:
        text = call()
        assert text.endswith(".") and 40 < len(text) < 300
        figure = plots.plt.gcf()
        figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size < 150_000
        plots.plt.close(figure)


def test_learning_curves_draw_median_and_range():
    axes = plots.new_axes()
    plots.learning_curves(LOG, "m", axes)
    assert axes.lines[-1].get_ydata().tolist() == [1.0, 20.0]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.0 and band[:, 1].max() == 90.0


@pytest.mark.parametrize(
    "call",
    [lambda: plots.score_arrows([[0.5, 0.5]]), lambda: plots.score_arrows([[0.5, 0.6, -0.1]])],
)
def test_what_is_no_policy_is_refused(call):
    with pytest.raises(ValueError, match="polic"):
        call()


def test_variance_against_baseline_marks_points():
    assert "0 at b*." in plots.variance_against_baseline([-1, 0, 1], [1.0, 0.0, 1.0], {"b*": (0.0, 1e-32)})
    axes = plots.new_axes()
    text = plots.variance_against_baseline([-1, 0, 1], [1.0, 0.5, 1.0], {"0": (0.0, 0.5), "V": (1.0, 1.0)}, axes)
    curve, zero, value = axes.lines
    assert curve.get_ydata().tolist() == [1.0, 0.5, 1.0]
    assert (zero.get_xdata()[0], zero.get_ydata()[0], value.get_xdata()[0], value.get_ydata()[0]) == (0.0, 0.5, 1.0, 1.0)
    assert "0.5 at 0, 1 at V" in text and zero.get_color() != value.get_color()


def test_estimator_variances_are_bars_in_order_from_the_top():
    axes = plots.new_axes()
    text = plots.estimator_variances({"return": 1.5, "to go": 0.75, "A": torch.tensor(2.0)}, axes, "total variance")
    assert [bar.get_width() for bar in axes.patches] == [1.5, 0.75, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["return", "to go", "A"]
    assert axes.yaxis_inverted() and axes.get_xlabel() == "total variance"
    assert "the greatest is 2 with A, the least 0.75 with to go" in text


def test_bias_variance_divides_by_n_and_marks_the_least():
    axes = plots.new_axes()
    text = plots.bias_variance([0.0, 0.5, 1.0], [0.3, 0.1, 0.0], [1.0, 1.5, 4.0], 10, axes)
    bias, noise, error, best = axes.lines
    assert bias.get_ydata().tolist() == [0.3, 0.1, 0.0] and noise.get_ydata().tolist() == pytest.approx([0.1, 0.15, 0.4])
    assert error.get_ydata().tolist() == pytest.approx([0.4, 0.25, 0.4])
    assert best.get_xdata().tolist() == [0.5] and "at λ = 0.5" in text and axes.get_title() == "$N = 10$"


def test_gae_weights_are_geometric():
    axes = plots.new_axes()
    plots.gae_weights([0.0, 0.5, 1.0], gamma=0.8, steps=3, axes=axes)
    drawn = [line.get_ydata().tolist() for line in axes.lines]
    assert drawn == [[1, 0, 0, 0], pytest.approx([1, 0.4, 0.16, 0.064]), pytest.approx([1, 0.8, 0.64, 0.512])]
    assert axes.get_legend().get_texts()[1].get_text() == r"$\lambda = 0.5$"


def test_ladder_draws_medians_and_quartiles():
    other = {"runs": [{"m": [float(i)] * 3} for i in range(9)]}
    axes = plots.new_axes()
    text = plots.ladder({"first": LOG, "second": other}, "m", axes)
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1.0, 20.0], [4.0, 4.0, 4.0]]
    band = axes.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == 2.0 and band[:, 1].max() == 6.0
    assert "first at 20, second at 4" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.variance_against_baseline([0.0], [1.0], {"0": (0, 1)}), "baselines must be at least two"),
        (lambda: plots.variance_against_baseline([0.0, 1.0], [1.0], {"0": (0, 1)}), "variances must be 2 finite numbers"),
        (lambda: plots.variance_against_baseline([0.0, 1.0], [1.0, np.nan], {"0": (0, 1)}), "variances must be 2 finite"),
        (lambda: plots.variance_against_baseline([0.0, 1.0], "no", {"0": (0, 1)}), "variances must be 2 finite"),
        (lambda: plots.variance_against_baseline([0.0, 1.0], [1.0, 1.0], {"0": 1.0}), "mark '0' must be 2 finite"),
        (lambda: plots.variance_against_baseline([0.0, 1.0], [1.0, 1.0], {}), "marks must hold 1 to 5 entries"),
        (lambda: plots.estimator_variances({}), "variances must map at least one name"),
        (lambda: plots.estimator_variances([1.0]), "variances must map at least one name"),
        (lambda: plots.estimator_variances({"a": -1.0}), "must not be negative, got -1"),
        (lambda: plots.estimator_variances({"a": np.inf}), "variances must be 1 finite"),
        (lambda: plots.bias_variance([0.0, 1.0], [0.0], [1.0, 1.0], 3), "squared_bias must be 2 finite"),
        (lambda: plots.bias_variance([0.0, 1.0], [0.0, 0.0], [1.0, 1.0, 1.0], 3), "variance must be 2 finite"),
        (lambda: plots.bias_variance([0.5], [0.0], [1.0], 3), "lambdas must be at least two"),
        (lambda: plots.bias_variance([0.0, 1.0], [0.0, 0.0], [1.0, 1.0], 0), "n must be an integer >= 1"),
        (lambda: plots.gae_weights([]), "lambdas must hold 1 to 5 entries"),
        (lambda: plots.gae_weights([0.1] * 6), "lambdas must hold 1 to 5 entries"),
        (lambda: plots.gae_weights([1.5]), "every one of lambdas must be"),
        (lambda: plots.gae_weights([0.5], gamma=2.0), "gamma must be"),
        (lambda: plots.gae_weights([0.5], steps=0), "steps must be an integer"),
        (lambda: plots.ladder({}), "logs must hold 1 to 5"),
        (lambda: plots.ladder([LOG]), "logs must be a dictionary"),
        (lambda: plots.ladder({"a": LOG}), "log 'a' must hold runs with 'charts/episodic_return'"),
        (lambda: plots.ladder({"a": {"runs": []}}, "m"), "log 'a' must hold runs"),
        (lambda: plots.ladder({"a": {"runs": [{"m": [1]}, {"m": [1, 2]}]}}, "m"), r"of one length, got lengths \[1, 2\]"),
    ],
)
def test_data_that_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
