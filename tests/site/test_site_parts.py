"""The parts of rlbook.site that need no build."""

import json
import re

import pytest

from rlbook.site import katex, mime, sources
from tests.site.small_books import MIME, ROOT, equation


def test_the_cells_and_the_site_speak_of_the_same_mime_type():
    display = pytest.importorskip("rlbook.derive.display")
    assert display.MIME == mime.MIME == MIME


def test_katex_is_locked_and_the_lock_names_no_host():
    package = json.loads((ROOT / "rlbook/site/package.json").read_text())
    text = (ROOT / "rlbook/site/package-lock.json").read_text()
    assert json.loads(text)["packages"]["node_modules/katex"]["version"] == package["dependencies"]["katex"]
    assert "resolved" not in text and json.loads((katex.install() / "package.json").read_text())["version"] in text


def test_a_formula_that_does_not_parse_is_an_error_and_the_next_one_is_typeset():
    typeset = katex.Typesetter()
    with pytest.raises(katex.FormulaError, match="Undefined control sequence"):
        typeset(r"\foo{x}")
    html, complaints = typeset(r"\mathop{\mathbb{E}}_{\tau}[R]", display=True)
    assert "katex-display" in html and "annotation" not in html and complaints == []
    assert typeset("é")[1], "letters outside TeX's alphabet are reported"
    typeset.close()


@pytest.mark.parametrize(
    "tex, broken",
    [
        (r"P(s \mid a)\, \pi(a \mid s)", r"P(s \mid\nobreak  a)\,\allowbreak  \pi(a \mid\nobreak  s)"),
        (r"\sum_{a, b}\, x = \left(y\, z\right)", r"\sum_{a, b}\,\allowbreak  x = \left(y\, z\right)"),
        (r"x = y, \qquad z = 0", r"x = y, \qquad\allowbreak  z =\nobreak  0"),
        (r"\frac{a\, b}{(c + d)}", r"\frac{a\, b}{(c + d)}"),
        (r"x + 2 \gamma \, f(y)", r"x + 2 \gamma \, f(y)"),
    ],
)
def test_formulas_break_between_factors_and_not_inside_brackets(tex, broken):
    assert katex.breakable(tex) == broken
    assert katex.typesetter()(broken)[1] == []


def test_lines_outside_an_environment_are_aligned():
    assert katex.display_source(r"a \\ b ") == r"\begin{aligned}a \\ b\end{aligned}"
    assert katex.display_source(r"\begin{aligned}a \\ b\end{aligned}") == r"\begin{aligned}a \\ b\end{aligned}"


@pytest.mark.parametrize(
    "change, fault",
    [
        ({"check": ""}, "a claim without a check"),
        ({"level": None}, "a claim without a check"),
        ({"kind": "lemma"}, "unknown kind 'lemma'"),
        ({"id": "Not An Id"}, "the id is not"),
        ({"claim": ""}, "no 'claim'"),
    ],
)
def test_what_is_missing_from_an_equation_is_named(change, fault):
    assert mime.faults(equation("good", "a = b")) == []
    assert mime.faults(equation("good", "a = b", None, "definition", check=None)) == []
    assert any(re.match(fault, found) for found in mime.faults({**equation("good", "a = b"), **change}))


def test_functions_and_tests_are_found_by_reading(tmp_path):
    package, tests = tmp_path / "pack", tmp_path / "tests"
    for folder in (package / "control", package / "site", tests / "unit"):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text('def top():\n    """eq-gae, and eq-gae-lambda-0."""\n')
    (package / "control" / "vpg.py").write_text('class Agent:\n    def step(self):\n        """Cites eq-gae."""\n')
    (package / "site" / "x.py").write_text('def no():\n    """eq-gae"""\n')
    (tests / "unit" / "test_a.py").write_text(
        'import pytest\n\n\nclass TestA:\n    @pytest.mark.equation("gae", "td-error")\n'
        "    def test_b(self):\n        pass\n"
    )
    assert sources.functions(package) == {
        "gae": ["pack.top", "pack.control.vpg.Agent.step"],
        "gae-lambda-0": ["pack.top"],
    }
    assert sources.tests(tests) == {
        "gae": ["tests/unit/test_a.py::TestA::test_b"],
        "td-error": ["tests/unit/test_a.py::TestA::test_b"],
    }
    assert sources.tests(tmp_path / "none") == {}
