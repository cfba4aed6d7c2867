"""What one build makes of equations that code cells have shown."""

import re

import pytest
from bs4 import BeautifulSoup


@pytest.fixture(scope="module")
def soup(small_book):
    """The pages of the small book, parsed."""
    assert small_book.ok, small_book.said
    return {
        path.stem: BeautifulSoup(path.read_text(), "html.parser") for path in (small_book.html / "book").glob("*.html")
    }


def _numbers(page):
    return {
        block["id"].removeprefix("equation-eq-"): re.search(r"\((.*?)\)", block.select_one(".eqno").text)[1]
        for block in page.select("div.math[id]")
    }


def test_equations_are_numbered_by_chapter_across_the_book(soup):
    assert _numbers(soup["first"]) == {
        "expected-return": "1.1",
        "log-derivative": "1.2",
        "score-mean-zero": "1.3",
        "wide": "1.4",
        "wider": "1.5",
    }
    assert _numbers(soup["second"]) == {"policy-gradient": "2.1"}


def test_references_reach_equations_on_any_page(soup):
    link = soup["index"].select_one("article a[href$=equation-eq-policy-gradient]")
    assert link.text == "(2.1)" and link["href"] == "second.html#equation-eq-policy-gradient"
    assert soup["first"].select_one("article a[href='#equation-eq-log-derivative']").text == "(1.2)"


def test_a_badge_says_how_the_equation_was_checked_and_links_to_its_row(soup):
    badges = {badge["href"]: badge for page in ("first", "second") for badge in soup[page].select("a.rl-badge")}
    assert {href: badge.text for href, badge in badges.items()} == {
        "equations.html#row-expected-return": "D",
        "equations.html#row-log-derivative": "P",
        "equations.html#row-score-mean-zero": "R",
        "equations.html#row-wide": "P",
        "equations.html#row-wider": "P",
        "equations.html#row-policy-gradient": "F",
    }
    badge = badges["equations.html#row-policy-gradient"]
    assert badge["title"].startswith("level F, exact at one size: ") and "2 states, 2 actions" in badge["title"]
    assert badge["aria-label"] == badge["title"]


def test_a_derivation_is_one_equation_with_a_row_and_a_reason_for_each_step(soup):
    (derivation,) = soup["second"].select(".rl-derivation")
    steps = derivation.select(".rl-step")
    assert len(derivation.select(".eqno")) == 1 and len(derivation.select(".rl-badge")) == 1 and len(steps) == 6
    assert all(step.select_one(".katex-html").text.replace("\u200b", "").startswith("=") for step in steps)
    reasons = [step.select_one(".rl-reason") for step in steps]
    assert reasons[0].a.text == "(1.1)" and reasons[0].a["href"] == "first.html#equation-eq-expected-return"
    assert reasons[1].select_one(".math .katex") and "$" not in reasons[1].text


def test_the_page_lists_every_equation_and_counts_them(soup):
    page = soup["equations"]
    assert [row["id"] for row in page.select("table.rl-equations tbody tr")] == [
        "row-expected-return",
        "row-log-derivative",
        "row-score-mean-zero",
        "row-wide",
        "row-wider",
        "row-policy-gradient",
    ]
    counts = [[cell.text.strip() for cell in row.select("td")] for row in page.select("table.rl-counts tbody tr")]
    assert counts == [
        ["1. The first chapter", "1", "3", "0", "1", "0"],
        ["2. The second chapter", "0", "0", "1", "0", "2"],
        ["the book", "1", "3", "1", "1", "2"],
    ]
    row = page.select_one("#row-policy-gradient")
    assert row.select_one("a")["href"] == "second.html#equation-eq-policy-gradient"
    assert "rlbook.losses.gradient" in row.text and "tests/test_losses.py::test_it" in row.text


def test_the_same_is_a_file(records):
    assert list(records) == ["expected-return", "log-derivative", "score-mean-zero", "wide", "wider", "policy-gradient"]
    assert set(records["policy-gradient"]) == {
        "id",
        "number",
        "page",
        "level",
        "latex",
        "kind",
        "claim",
        "function",
        "test",
    }
    gradient = records["policy-gradient"]
    assert (gradient["number"], gradient["page"], gradient["level"]) == ("2.1", "book/second", "F")
    assert gradient["function"] == ["rlbook.losses.gradient"] and gradient["test"] == ["tests/test_losses.py::test_it"]
    assert records["log-derivative"]["function"] == []  # private, or another equation's longer name
    assert records["expected-return"]["kind"] == "definition" and records["expected-return"]["level"] is None


def test_the_site_carries_its_own_maths(small_book):
    css = (small_book.html / "_static" / "katex" / "katex.min.css").read_text()
    fonts = set(re.findall(r"url\(([^)]*)\)", css))
    assert fonts and all(font.endswith(".woff2") for font in fonts)
    assert all((small_book.html / "_static" / "katex" / font).exists() for font in fonts)


def test_inline_and_display_formulas_are_typeset_for_eye_and_ear(soup):
    for page in soup.values():
        for math in page.select(".math"):
            assert math.select_one(".katex .katex-html") and math.select_one(".katex math")
    assert not any(page.select(".katex-error, .rl-unparsed, annotation") for page in soup.values())
