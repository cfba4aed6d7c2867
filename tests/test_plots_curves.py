"""Curves, medians, points and bars: what is drawn, what is refused."""

import matplotlib
import pytest

matplotlib.use("Agg")

from rlbook import plots  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plots.plt.close("all")


def test_curves_draw_what_they_are_given():
    axes = plots.new_axes()
    text = plots.curves([0, 1, 2], {"up": [0, 1, 4], "down": [3, 2, 0]}, "x", "y", axes=axes)
    assert [list(line.get_ydata()) for line in axes.lines] == [[0, 1, 4], [3, 2, 0]]
    assert "up from 0 to 4" in text and "down from 3 to 0" in text
    assert len({line.get_linestyle() for line in axes.lines}) == 2


def test_medians_are_medians_and_leave_out_nan():
    axes = plots.new_axes()
    text = plots.medians([1, 2], {"a": [[1, 1], [2, float("nan")], [9, 5]]}, "step", "return", axes=axes, log=True)
    assert list(axes.lines[0].get_ydata()) == [2, 3] and axes.get_yscale() == "log"
    assert "a at 3" in text


def test_scatter_and_bars_hold_every_number():
    axes = plots.new_axes()
    plots.scatter({"a": ([1, 2], [3, 4])}, "x", "y", axes=axes, connect=True)
    assert list(axes.lines[0].get_xdata()) == [1, 2] and axes.lines[0].get_linestyle() == "-"
    axes = plots.new_axes()
    text = plots.bars({"with": [1, 2, 3], "without": [5]}, "seconds", axes=axes, reference=2)
    assert [bar.get_width() for bar in axes.patches] == [2, 5]
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 1, 2] and "2 for with" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.curves([0, 1], {}, "x"), "1 to 5"),
        (lambda: plots.curves([0, 1], [[1, 2]], "x"), "dictionary"),
        (lambda: plots.curves([0, 1], {"a": [1]}, "x"), "must be 2 finite numbers"),
        (lambda: plots.curves([0, 1], {"a": [1, float("nan")]}, "x"), "finite"),
        (lambda: plots.medians([0, 1], {"a": [[1, 2, 3]]}, "x"), r"\[seeds, 2\]"),
        (lambda: plots.medians([0, 1], {str(k): [[1, 2]] for k in range(6)}, "x"), "1 to 5"),
        (lambda: plots.scatter({"a": ([1, 2], [1])}, "x", "y"), "must be 2 finite numbers"),
        (lambda: plots.bars({}, "x"), "at least one name"),
        (lambda: plots.bars({"a": []}, "x"), "at least one number"),
        (lambda: plots.bars({"a": [float("inf")]}, "x"), "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
