"""katex_light.js: KaTeX's markup made lighter, saying the same and standing where it stood."""

import json
import re
import subprocess
from html.parser import HTMLParser

import pytest
from bs4 import BeautifulSoup

from rlbook.site import katex

FORMULAS = [
    r"\nabla_{\theta} J(\theta) = \mathbb{E}_{\tau \sim \pi_{\theta}}\left[\sum_{t=0}^{T} \gamma^{t} r_{t}\right]",
    r"\pi_{\mathrm{ref}}(a \mid s),\quad D_{\mathrm{KL}}\left(\pi_{\theta_{\mathrm{old}}} \,\middle\|\, \pi_{\theta}\right)",
    r"\hat A_{t}^{\mathrm{GAE}(\gamma, \lambda)} = \sum_{l=0}^{T-t} (\gamma \lambda)^{l} \delta_{t+l}",
    r"\frac{\pi_{\theta}(a_{t} \mid s_{t})^{2}}{\tfrac{1}{2} \sigma^{2}} + \frac{1}{1 + \frac{x_{i}}{y_{j}^{k}}}",
    r"x_{a_{b_{c}}}^{y^{z^{w}}}, \quad {}^{2} V_{t}', \quad \max_{a \in \mathcal{A}} Q^{\ast}(s, a), \quad \bar{x}_{1} \tilde{y}",
    r"\begin{aligned} a_{t} &= \sqrt{b_{t}} \\ &= \vec{v} \cdot \widehat{w} \end{aligned}",
    r"\left. \frac{\partial f}{\partial x} \right|_{x = 0} - \operatorname*{arg\,max}_{\theta} \binom{n}{k} \underbrace{x}_{n}",
    r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise, } x_{0} \end{cases} \not= \lfloor y \rfloor \xrightarrow{f} \dot{z}",
    r"\overset{!}{=} \mathbf{x}^{\top} \boldsymbol{\theta}, \quad \text{for } \textit{all } \Delta_{\Delta} \notin \emptyset",
]
TWICE = """
const katex = require("katex"), { compact, IDLE, SLANTS, SPACES } = require("./katex_light.js");
const formulas = JSON.parse(require("fs").readFileSync(0)).map((tex) => {
  const raw = katex.renderToString(tex, { displayMode: true }), light = compact(raw);
  return { tex, raw, light, again: compact(light) };
});
console.log(JSON.stringify({ formulas, IDLE, SLANTS, SPACES: Object.values(SPACES) }));
"""
CHILDREN = {"msub": 2, "msup": 2, "msubsup": 3, "mfrac": 2, "mover": 2, "munder": 2, "munderover": 3, "mroot": 2}


@pytest.fixture(scope="module")
def made():
    """What katex_light.js exports, and each formula as KaTeX writes it, made light, and made light twice."""
    katex.install()
    command = [katex.program("node"), "-e", TWICE]
    done = subprocess.run(command, input=json.dumps(FORMULAS), cwd=katex.HERE, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


class _Tags(HTMLParser):
    """Fails where an end tag does not close what was opened last."""

    def __init__(self, html):
        super().__init__()
        self.open = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def seen(html):
    """The characters that a reader sees."""
    return BeautifulSoup(html, "html.parser").select_one(".katex-html").text.replace("\u200b", "")


def spoken(html):
    """The characters of the MathML."""
    return "".join(leaf.text for leaf in BeautifulSoup(html, "html.parser").math.find_all(["mi", "mn", "mo", "mtext"]))


def test_light_formulas_say_the_same_in_tags_that_close_and_weigh_half(made):
    for row in made["formulas"]:
        assert seen(row["light"]) == seen(row["raw"]) and spoken(row["light"]) == spoken(row["raw"]), row["tex"]
        assert row["again"] == row["light"], row["tex"]
        _Tags(row["light"])
    raw, light = (sum(len(row[kind]) for row in made["formulas"]) for kind in ("raw", "light"))
    assert light < 0.5 * raw


def test_scripts_fractions_limits_and_accents_need_no_tables(made):
    for row in made["formulas"][:5]:
        assert "vlist" in row["raw"] and "vlist" not in row["light"], row["tex"]


def test_a_name_is_one_identifier_and_every_element_of_the_mathml_keeps_its_children(made):
    for row in made["formulas"]:
        maths = BeautifulSoup(row["light"], "html.parser").math
        assert maths.find("annotation") is None and maths.find("semantics") is None
        for name, number in CHILDREN.items():
            assert all(len(found.find_all(recursive=False)) == number for found in maths.find_all(name)), row["tex"]
    ref = BeautifulSoup(made["formulas"][1]["light"], "html.parser").math.find("mi", string="ref")
    assert ref is not None and not ref.attrs and ref.parent.name == "msub"


def test_every_short_name_is_in_the_style_sheet_and_no_dropped_class_is(made):
    css = {name: path.read_text() for name, path in {
        "katex": katex.PACKAGE / "dist" / "katex.min.css", "ours": katex.HERE / "rlbook.css"
    }.items()}
    for name in made["IDLE"]:
        if name != "mathrm":
            assert not any(re.search(rf"\.{name}(?![\w-])", text) for text in css.values()), name
    used = {f"k-i{gap[1:]}" for gap in made["SLANTS"]} | set(made["SPACES"])
    for row in made["formulas"]:
        for tag in BeautifulSoup(row["light"], "html.parser").find_all(class_=True):
            used.update(name for name in tag["class"] if name.startswith("k-"))
    assert {"k-sub", "k-sub2", "k-sup", "k-mid", "k-start", "k-line", "k-accent"} <= used
    for name in used - {"k-sub0", "k-sup0"}:
        assert re.search(rf"\.{name}(?![\w-])", css["ours"]), name


PLACES = """() => [...document.querySelectorAll(".katex")].map((formula) => {
  const html = formula.querySelector(".katex-html"), start = formula.getBoundingClientRect();
  const place = (thing) => {
    const box = thing.getBoundingClientRect();
    return [box.left - start.left, box.top - start.top, box.width, box.height];
  };
  const walker = document.createTreeWalker(html, NodeFilter.SHOW_TEXT), places = [["", start.width, start.height]];
  while (walker.nextNode()) for (let i = 0; i < walker.currentNode.data.length; i += 1) {
    const range = document.createRange();
    range.setStart(walker.currentNode, i);
    range.setEnd(walker.currentNode, i + 1);
    if (walker.currentNode.data[i] !== "\\u200b") places.push([walker.currentNode.data[i], ...place(range)]);
  }
  html.querySelectorAll(".katex-base, .frac-line, .k-line, svg").forEach((box) => places.push(["box", ...place(box)]));
  return places;
})"""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_character_and_line_stands_where_katex_puts_it(made, browser, tmp_path, width):
    katex.copy_assets(tmp_path)
    (tmp_path / "rlbook.css").write_text((katex.HERE / "rlbook.css").read_text())
    sheets = "".join(f'<link rel="stylesheet" href="{name}">' for name in ("katex/katex.min.css", "rlbook.css"))
    found = {}
    for kind in ("raw", "light"):
        file = tmp_path / f"{kind}.html"
        box = '<div class="math rl-display"><span class="rl-scroll">{}</span></div>'
        shown = "".join(box.format(row[kind]) for row in made["formulas"])
        file.write_text(f'<!doctype html><meta charset="utf-8">{sheets}<body>{shown}', encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(file.as_uri())
        page.evaluate("Promise.all([...document.fonts].map((font) => font.load())).then(() => true)")
        found[kind] = page.evaluate(PLACES)
        page.close()
    for tex, raw, light in zip(FORMULAS, found["raw"], found["light"], strict=True):
        assert [place[0] for place in raw] == [place[0] for place in light], tex
        for one, other in zip(raw, light, strict=True):
            assert max(abs(a - b) for a, b in zip(one[1:], other[1:], strict=True)) < 0.5, (tex, one, other)
