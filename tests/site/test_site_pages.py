"""The site as a browser shows it: every page, at a desk and on a phone, by day and by night, without a network."""

import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urldefrag, urljoin

import pytest
import yaml
from bs4 import BeautifulSoup

from tests.site.small_books import ROOT

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
PAGE_LIMIT, SHARED_LIMIT = 600_000, 1_200_000  # bytes, uncompressed

# Text that looks like TeX nobody has typeset, outside code and outside formulas.
RAW_TEX = r"""() => {
  const found = [], walk = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data;
    if (/\$|\\[(\[a-zA-Z]/.test(text) && !walk.currentNode.parentElement.closest("pre, code, script, style, .katex"))
      found.push(text.trim());
  }
  return found;
}"""
UNREACHABLE = r"""() => [...document.querySelectorAll(".rl-scroll, article pre")]
  .filter((box) => box.offsetParent && box.scrollWidth > box.clientWidth + 1 && box.tabIndex < 0)
  .map((box) => box.textContent.slice(0, 60))"""
# A formula and the badge and number beside it must not overlap.
COLLISIONS = r"""() => [...document.querySelectorAll(".rl-display > .rl-tools")].filter((tools) => {
    const a = tools.getBoundingClientRect(), b = tools.previousElementSibling.getBoundingClientRect();
    return a.width && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  }).map((tools) => tools.textContent)"""


@pytest.fixture(scope="module")
def contexts(browser):
    """A reader with a cache for each width."""
    made = {width: browser.new_context(viewport={"width": width, "height": 900}) for width in WIDTHS}
    yield made
    for context in made.values():
        context.close()


def _read(context, address, page):
    """Open a page; what the browser asked for, complained about and made of it."""
    tab = context.new_page()
    seen = SimpleNamespace(tab=tab, foreign=[], complaints=[], bytes=Counter())

    def request(asked):
        if not asked.url.startswith((address, "data:", "blob:")):
            seen.foreign.append(asked.url)

    def response(answer):
        if answer.status >= 400:
            seen.complaints.append(f"{answer.status} {answer.url}")
        elif answer.request.resource_type in ("stylesheet", "script", "font"):
            seen.bytes[answer.url] = len(answer.body())

    tab.on("request", request)
    tab.on("response", response)
    tab.on("console", lambda message: message.type in ("error", "warning") and seen.complaints.append(message.text))
    tab.on("pageerror", lambda error: seen.complaints.append(str(error)))
    tab.goto(f"{address}{page}.html", wait_until="load")
    tab.evaluate("document.fonts.ready.then(() => new Promise((done) => setTimeout(done, 50)))")
    return seen


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_well_by_day_and_by_night(site, contexts, page, width):
    seen = _read(contexts[width], site.address, page)
    look = seen.tab.evaluate
    try:
        for scheme in SCHEMES:
            seen.tab.emulate_media(color_scheme=scheme)
            seen.tab.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)
            assert look("document.documentElement.scrollWidth") <= width
        assert (
            look("document.querySelectorAll('article .math:not(:has(.katex)), .rl-unparsed, .katex-error').length") == 0
        )
        assert look("[...document.fonts].filter((font) => font.status === 'error').length") == 0
        assert look(RAW_TEX) == []
        assert look(UNREACHABLE) == []
        assert look(COLLISIONS) == []
        assert seen.foreign == [] and seen.complaints == []
    finally:
        seen.tab.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light(site, browser, page):
    html = (site.html / f"{page}.html").stat().st_size
    newcomer = browser.new_context()
    seen = _read(newcomer, site.address, page)
    newcomer.close()
    shared = sum(seen.bytes.values())
    _report(page, html, shared)
    assert html <= PAGE_LIMIT
    assert shared <= SHARED_LIMIT, seen.bytes.most_common(8)


def _report(page, html, shared):
    """Append a page's weight to the report of `make test`, if there is one."""
    if folder := os.environ.get("RLBOOK_REPORTS"):
        with Path(folder, "pages.tsv").open("a", encoding="utf-8") as report:
            report.write(f"{page}\t{html}\t{shared}\n")


def _links(html, page):
    """The addresses that a page refers to, as a browser resolves them."""
    soup = BeautifulSoup((html / page).read_text(encoding="utf-8"), "html.parser")
    for name in ("href", "src"):
        for node in soup.select(f"[{name}]"):
            yield urljoin(f"site:///{page}", unquote(node[name]))


def test_every_link_inside_the_site_arrives(site):
    pages = [
        path.relative_to(site.html).as_posix() for path in site.html.glob("**/*.html") if "_static" not in path.parts
    ]
    anchors = {}
    for page in pages:
        soup = BeautifulSoup((site.html / page).read_text(encoding="utf-8"), "html.parser")
        anchors[page] = {node.get("id") or node.get("name") for node in soup.select("[id], a[name]")}
    lost = []
    for page in pages:
        for address in _links(site.html, page):
            target, anchor = urldefrag(address)
            if target.startswith("site:///"):
                target = target.removeprefix("site:///").partition("?")[0] or "index.html"
                if not (site.html / target).is_file() or (
                    anchor and target in anchors and anchor not in anchors[target]
                ):
                    lost.append((page, address))
    assert lost == []


def test_the_root_opens_the_book(site, browser):
    tab = browser.new_page()
    tab.goto(site.address)
    tab.wait_for_url(f"{site.address}{TOC['root']}.html")
    tab.close()


def test_every_equation_of_the_list_is_on_its_page_with_its_badge(site):
    rows = json.loads((site.html / "book" / "equations.json").read_text())
    assert rows and len({row["id"] for row in rows}) == len(rows) == len({row["number"] for row in rows})
    soups = {
        page: BeautifulSoup((site.html / f"{page}.html").read_text(), "html.parser")
        for page in {row["page"] for row in rows}
    }
    for row in rows:
        block = soups[row["page"]].find(id=f"equation-eq-{row['id']}")
        assert f"({row['number']})" in block.select_one(".eqno").text
        assert block.select_one("a.rl-badge")["href"].endswith(f"#row-{row['id']}")
        assert row["claim"] and (row["level"] in ("P", "F", "R") or row["kind"] == "definition")


# ---- the layout of a derivation, on the small book ----
REASONS = r"""() => [...document.querySelectorAll(".rl-step")].map((step) => {
    const [line, why] = [".rl-scroll", ".rl-reason"].map((part) => step.querySelector(part).getBoundingClientRect());
    return why.top >= line.bottom - 4 ? "under" : why.left >= line.right - 4 ? "beside" : "on top of it";
  })"""


def test_reasons_stand_beside_their_lines_at_a_desk_and_under_them_on_a_phone(small_book, contexts):
    desk = _read(contexts[1280], small_book.address, "book/second")
    assert desk.tab.evaluate(REASONS) == ["beside"] * 4 + ["under", "beside"]  # the long line takes the whole width
    phone = _read(contexts[390], small_book.address, "book/second")
    assert phone.tab.evaluate(REASONS) == ["under"] * 6
    assert phone.tab.evaluate("document.documentElement.scrollWidth") == 390
    for seen in (desk, phone):
        assert seen.tab.evaluate(COLLISIONS) == [] and seen.complaints == []
        seen.tab.close()


def test_the_keyboard_reaches_badges_folded_cells_and_wide_formulas(small_book, contexts):
    seen = _read(contexts[390], small_book.address, "book/first")
    stops = []
    for _ in range(60):
        seen.tab.keyboard.press("Tab")
        stops.append(seen.tab.evaluate("document.activeElement.className + ' ' + document.activeElement.tagName"))
    for wanted in ("rl-badge", "rl-scroll", "SUMMARY"):
        assert any(wanted in stop for stop in stops), (wanted, stops)
    seen.tab.close()
