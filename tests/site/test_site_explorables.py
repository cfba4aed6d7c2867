"""The figures with sliders in a browser: their numbers, their words, the keyboard, a phone, the night, and no script at all."""

import itertools
import re
import shutil
import subprocess
import sys

import pytest
import sympy as sp
import torch

from rlbook.derive.tensors import Tensors
from rlbook.returns import group_advantages, rloo_advantages
from rlbook.site import explorables
from tests.site.conftest import _serve
from tests.site.small_books import ROOT

NAMES = list(explorables.EXPLORABLES)
SENTENCE = "The page of this chapter on the web draws this figure."
CONF = """
extensions = ["myst_parser", "rlbook.site.explorables"]
html_theme, html_theme_options = "basic", {"body_min_width": 0, "nosidebar": True}
html_static_path, html_css_files, html_favicon = ["static"], ["rlbook.css"], "static/favicon.svg"
"""


def _sphinx(folder, pages):
    """A site of a few Markdown pages with the book's scripts and style sheet; what Sphinx said."""
    static = folder / "source" / "static"
    shutil.copytree(ROOT / explorables.FOLDER, static / "explorables")
    for file in ("rlbook/site/rlbook.css", "book/_static/favicon.svg"):
        shutil.copy(ROOT / file, static)
    (folder / "source" / "conf.py").write_text(CONF)
    for name, text in pages.items():
        (folder / "source" / f"{name}.md").write_text(f"---\norphan: true\n---\n# {name}\n\n{text}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "source", "html"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def _mark(name):
    return f'<div class="rl-explorable" data-explorable="{name}">{SENTENCE}</div>\n\n'


@pytest.fixture(scope="module")
def exhibit(tmp_path_factory):
    """A site with a page that shows every explorable, one that shows the first, and one that shows none."""
    folder = tmp_path_factory.mktemp("exhibit")
    done = _sphinx(folder, {"index": "".join(map(_mark, NAMES)), "first": _mark(NAMES[0]), "none": "Text."})
    assert done.returncode == 0, done.stderr
    server, address = _serve(folder / "html")
    yield address
    server.shutdown()


@pytest.fixture
def open_page(exhibit, browser):
    """Open a page of the exhibit in a new context; at the end nobody has complained and no other host was asked."""
    contexts, complaints = [], []

    def opened(page="index", width=1000, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(exhibit) else None)
        tab.goto(f"{exhibit}{page}.html", wait_until="load")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _set(tab, name, slider, value):
    """Move a slider as a hand does."""
    tab.evaluate(
        """([name, slider, value]) => {
          const input = document.querySelector(`[data-explorable=${name}] input[id$="-${slider}"]`);
          input.value = value;
          input.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, slider, value],
    )


# ---- the numbers ----
GRIDS = {
    "clip": {
        "varepsilon": [0.0, 0.1, 0.2, 0.5],
        "advantage": [-2.0, -0.5, 0.0, 0.3, 1.0],
        "ratio": [0.0, 0.35, 0.75, 0.9, 1.0, 1.13, 1.7],
    },
    "kl": {"mu": [0.1, 0.5, 1.0, 1.9], "l": [-2.5, -0.3, 0.0, 0.7, 3.0]},
    "gae": {"gamma": [0.8, 0.99, 1.0], "lambda": [0.05, 0.5, 0.95, 1.0]},
    "group": {
        **{f"r{i}": [0.0] for i in range(1, 9)},
        **{"r1": [1.0], "r2": [0.0, 0.25], "r5": [0.5, 1.0], "r8": [0.0, 0.75]},
        **{"reward": [0.0, 0.25, 1.0], "mean": [0.125, 0.7], "std": [0.01, 0.5]},
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_the_browser_computes_what_the_trees_say(open_page, name):
    tab = open_page()
    for formula, (arguments, tree) in explorables.EXPLORABLES[name]().formulas.items():
        points = list(itertools.product(*(GRIDS[name][x.name] for x in arguments)))
        shown = tab.evaluate(
            "([name, formula, points]) => points.map((point) => rlExplorables.formulas[name][formula](...point))",
            [name, formula, points],
        )
        for point, value in zip(points, shown, strict=True):
            read = Tensors({x: torch.tensor(y, dtype=torch.float64) for x, y in zip(arguments, point, strict=True)})
            if isinstance(tree, list):
                wanted = [float(read(sp.sympify(x))) for x in tree]
                assert value == pytest.approx(wanted, abs=1e-12)
            else:
                assert value == pytest.approx(float(read(sp.sympify(tree))), rel=1e-9, abs=1e-9), (formula, point)


def test_the_slope_is_the_derivative_of_the_clipped_surrogate(open_page):
    tab, grid = open_page(), GRIDS["clip"]
    arguments, tree = explorables.clip().formulas["clipped"]
    kinks = 0
    for point in itertools.product(*grid.values()):
        leaves = [torch.tensor(y, dtype=torch.float64, requires_grad=True) for y in point]
        if min(abs(point[2] - 1 - point[0]), abs(point[2] - 1 + point[0])) < 1e-9:
            kinks += 1
            continue  # no derivative there
        (wanted,) = torch.autograd.grad(Tensors(dict(zip(arguments, leaves, strict=True)))(tree), leaves[2])
        slope = tab.evaluate("(point) => rlExplorables.formulas.clip.slope(...point)", list(point))
        assert slope == pytest.approx(wanted.item(), abs=1e-12), point
    assert kinks < 15


# ---- the words ----
@pytest.mark.parametrize(
    "epsilon, advantage, ratio, words, shaded",
    [
        (0.2, 1, 1.35, "value: 1.20, derivative: 0 — the clip has removed the gradient", 1),
        (0.2, 1, 0.5, "value: 0.50, derivative: 1.0 — the ratio moved the wrong way", 1),
        (0.2, 1, 1.1, "value: 1.10, derivative: 1.0 — the clip does nothing here", 1),
        (0.2, 1, 1.2, "no derivative: 1.0 on the left, 0.0 on the right", 1),
        (0.2, 1, 0.8, "value: 0.80, derivative: 1.0", 1),
        (0.2, -2, 0.5, "value: −1.60, derivative: 0 — the clip has removed the gradient", 1),
        (0.2, -2, 1.7, "value: −3.40, derivative: −2.0 — the ratio moved the wrong way", 1),
        (0.2, -2, 0.8, "no derivative: 0.0 on the left, −2.0 on the right", 1),
        (0.2, 0, 1.7, "value: 0.00, derivative: 0 — the advantage is 0", 0),
        (0.0, 1, 1.5, "value: 1.00, derivative: 0 — the clip has removed the gradient", 1),
    ],
)
def test_the_clip_says_what_the_gradient_is(open_page, epsilon, advantage, ratio, words, shaded):
    tab = open_page()
    for slider, value in (("epsilon", epsilon), ("advantage", advantage), ("ratio", ratio)):
        _set(tab, "clip", slider, value)
    box = tab.locator("[data-explorable=clip]")
    assert words in box.locator("[role=status]").text_content()
    assert words in box.locator("svg[role=img]").get_attribute("aria-label")
    assert box.locator("svg.rl-x-plot rect").count() == shaded


def test_k3_is_noisier_than_k1_beyond_the_crossing(open_page):
    tab = open_page()
    for mu, words in ((1.1, "less noisy"), (1.15, "noisier")):
        _set(tab, "kl", "mu", mu)
        assert words in tab.locator("[data-explorable=kl] [role=status]").text_content()
    _set(tab, "kl", "mu", 1)
    rows = tab.locator("[data-explorable=kl] tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [["k1", "0.0000", "2.00"], ["k2", "0.2500", "1.73"], ["k3", "0.0000", "1.70"]]


def test_gae_at_the_ends_of_lambda(open_page):
    tab = open_page()
    says = tab.locator("[data-explorable=gae] [role=status]")
    _set(tab, "gae", "lambda", 0)
    assert "the first 1 carries half" in says.text_content() and "weight 0.000" in says.text_content()
    _set(tab, "gae", "lambda", 1)
    _set(tab, "gae", "gamma", 1)
    assert "the first 12 carry half" in says.text_content() and "weight 1.000" in says.text_content()


ONE_RIGHT, UNEVEN = [1, 0, 0, 0, 0, 0, 0, 0], [0.25, 0.5, 0.25, 0.5, 0.75, 0.5, 0.25, 0.5]
ADVANTAGES = {
    "divide by std": lambda rewards: group_advantages(rewards, ddof=0, eps=0.0),
    "mean only": lambda rewards: group_advantages(rewards, scale="none"),
    "leave one out (RLOO)": rloo_advantages,
}


def _bars(tab):
    """What the bars show: each one's height below or above 0, in the unit of the axis."""
    return tab.evaluate(
        """() => {
          const svg = document.querySelector("[data-explorable=group] svg.rl-x-plot");
          const [zero, two] = ["0", "2"].map((tick) => [...svg.querySelectorAll("text")]
            .find((text) => text.getAttribute("text-anchor") === "end" && text.textContent === tick).getAttribute("y"));
          return [...svg.querySelectorAll("rect.rl-x-bar")].map((bar) => {
            const [y, height] = [Number(bar.getAttribute("y")), Number(bar.getAttribute("height"))];
            return 2 * (y + 4 < zero - 0.01 ? height : -height) / (zero - two);
          });
        }"""
    )


@pytest.mark.parametrize("kind", ADVANTAGES)
@pytest.mark.parametrize("rewards", [ONE_RIGHT, [1, 1, 1, 1, 0, 0, 0, 0], UNEVEN, [0.75] * 8, [0] * 8])
def test_the_bars_are_the_advantages_of_the_package(open_page, kind, rewards):
    tab = open_page()
    for i, reward in enumerate(rewards, 1):
        _set(tab, "group", f"r{i}", reward)
    tab.get_by_label(kind).check()
    wanted = ADVANTAGES[kind](torch.tensor(rewards, dtype=torch.float64))
    assert _bars(tab) == pytest.approx(wanted.tolist(), abs=0.01)
    says = tab.locator("[data-explorable=group] [role=status]").text_content()
    spread = torch.tensor(rewards, dtype=torch.float64).std(correction=0)
    numbers = [sum(rewards) / 8, spread, wanted.min(), wanted.max()]
    if len(set(rewards)) == 1:
        numbers[2:] = []
        assert "every advantage is 0" in says and wanted.count_nonzero() == 0
    said = re.findall(r"(?:Mean|std|from|to) (\u2212?\d\.\d\d)", says)
    assert [float(text.replace("\u2212", "-")) for text in said] == pytest.approx([float(x) for x in numbers], abs=0.0051)


def test_a_group_is_chosen_with_buttons_and_the_keyboard(open_page):
    tab = open_page()
    box, says = tab.locator("[data-explorable=group]"), tab.locator("[data-explorable=group] [role=status]")
    for name, mean in (("none right", "0.00"), ("one right", "0.13"), ("half right", "0.50"), ("all right", "1.00")):
        box.get_by_role("button", name=name, exact=True).press("Enter")
        assert f"Mean {mean}" in says.text_content()
    tab.get_by_label("r₈").press("ArrowLeft")
    assert "Mean 0.97" in says.text_content() and box.locator("output").last.text_content() == "0.75"
    box.get_by_role("radio").first.press("ArrowRight")
    assert box.get_by_role("radio", checked=True).get_attribute("value") == "none"
    assert "the closer the rewards, the smaller" in says.text_content()
    assert box.get_by_role("group").inner_text().startswith("advantage:")


# ---- the reader ----
def test_the_keyboard_moves_a_slider_and_the_words_follow(open_page):
    tab = open_page("first")
    tab.get_by_label("ratio r").focus()
    status = tab.locator("[role=status]")
    before = status.text_content()
    for _ in range(20):
        tab.keyboard.press("ArrowLeft")
    assert tab.locator("output").nth(2).text_content() == "1.15" and status.text_content() != before
    assert "the clip does nothing here" in status.text_content()
    tab.keyboard.press("Home")
    assert "value: 0.00" in status.text_content()
    tab.keyboard.press("Shift+Tab")
    assert tab.evaluate("document.activeElement.labels[0].textContent") == "advantage A"


@pytest.mark.parametrize("width", [320, 360, 390, 1280])
def test_it_fits_and_has_ink_by_day_and_by_night(open_page, width):
    tab = open_page(width=width)
    inks = []
    for theme in ("light", "dark"):
        tab.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        inks.append(tab.evaluate("getComputedStyle(document.querySelector('polyline.rl-x-one')).stroke"))
        inside = """() => [...document.querySelectorAll("svg.rl-x-plot")].every((svg) => [...svg.querySelectorAll("*")]
          .every((part) => { const a = part.getBoundingClientRect(), b = svg.getBoundingClientRect();
                             return a.left > b.left - 2 && a.right < b.right + 2 && a.bottom < b.bottom + 2; }))"""
        assert tab.evaluate(inside)
    assert inks[0] != inks[1] and "none" not in inks
    hands = "'.rl-x-controls input, .rl-x-choices label, .rl-x-buttons button'"
    heights = tab.evaluate(f"[...document.querySelectorAll({hands})].map((x) => x.offsetHeight)")
    assert min(heights) >= 30


def test_the_plot_follows_the_width_of_the_window(open_page):
    tab = open_page("first")
    wide = tab.locator("svg.rl-x-plot").get_attribute("viewBox")
    tab.set_viewport_size({"width": 420, "height": 800})
    tab.wait_for_function("(wide) => document.querySelector('svg.rl-x-plot').getAttribute('viewBox') !== wide", arg=wide)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 420


def test_without_scripts_the_sentence_stays(open_page):
    tab = open_page(java_script_enabled=False)
    assert tab.locator("[data-explorable]").all_inner_texts() == [SENTENCE] * len(NAMES)
    assert tab.locator("svg").count() == 0


# ---- the book ----
SHOWN = [path.stem for path in sorted((ROOT / "book").glob("*.ipynb")) if "data-explorable" in path.read_text()]


@pytest.mark.parametrize("page", SHOWN)
def test_the_figures_of_a_chapter_are_drawn(site, browser, page):
    context = browser.new_context(viewport={"width": 360, "height": 800})
    tab = context.new_page()
    tab.goto(f"{site.address}book/{page}.html", wait_until="load")
    boxes = tab.locator("[data-explorable]")
    assert boxes.count() == tab.locator("[data-explorable][data-ready] svg[role=img]").count() > 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


# ---- the build ----
def test_only_a_page_with_an_explorable_loads_scripts_and_only_its_own(open_page):
    tab = open_page("first")
    scripts = """() => [...document.querySelectorAll("script[src*=explorables]")]
      .map((script) => [script.src.split("/").pop().split("?")[0], script.defer])"""
    assert tab.evaluate(scripts) == [
        [file, True] for file in ("explorables.js", f"{NAMES[0]}.formulas.js", f"{NAMES[0]}.js")
    ]
    assert open_page("none").evaluate(scripts) == []
    assert len(open_page("index").evaluate(scripts)) == 1 + 2 * len(NAMES)


def test_an_unknown_explorable_fails_the_build(tmp_path):
    done = _sphinx(tmp_path, {"index": _mark("clap")})
    assert done.returncode != 0 and "no explorable 'clap': there are clip" in done.stderr
