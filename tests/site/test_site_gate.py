"""The build fails on what must not be published, and says where."""

import pytest

from tests.site.small_books import GRADIENT, build, cell, equation, good_chapters, notebook, write_book

BROKEN_REASON = [*GRADIENT[:1], {"latex": "0", "reason": "by {eq}`eq-nowhere`"}]
FAULTS = {
    "a label without a check": ("$$ a = b $$ (eq-by-hand)", "'eq-by-hand' has a label but no check"),
    "a numbered raw environment": ("\\begin{align}\na &= b\n\\end{align}", "has a label but no check"),
    "a formula that does not parse": ("Inline $\\foo{x}$.", "formula does not parse"),
    "a display that does not parse": ("$$ \\frac{1} $$", "formula does not parse"),
    "a reference to nowhere": ("See {eq}`eq-nowhere`.", "equation not found: eq-nowhere"),
    "a claim nobody checked": (cell(equation("claimed", "a = b", check="")), "'claimed': a claim without a check"),
    "a level nobody knows": (cell(equation("leveled", "a = b", level="X")), "unknown level 'X'"),
    "an id twice": (
        cell(equation("twice", "a = b"), equation("twice", "a = b")),
        "duplicate label of equation eq-twice",
    ),
    "a cell's formula that does not parse": (cell(equation("torn", "\\frac{1}")), "formula does not parse"),
    "a reason that refers to nowhere": (
        cell(equation("derived", "a", steps=BROKEN_REASON)),
        "equation not found: eq-nowhere",
    ),
}


@pytest.fixture(scope="module")
def faulty_book(tmp_path_factory):
    """A book with one fault on each page, built with the flags under which every warning fails the build."""
    pages = {f"fault{n}": notebook(fault, content) for n, (fault, (content, _)) in enumerate(FAULTS.items())}
    return build(write_book(tmp_path_factory.mktemp("faulty"), {**good_chapters(), **pages}))


def test_the_build_fails(faulty_book, small_book):
    assert not faulty_book.ok and small_book.ok, small_book.said


@pytest.mark.parametrize("fault", FAULTS)
def test_the_build_complains_about(fault, faulty_book):
    page = f"fault{list(FAULTS).index(fault)}.ipynb:"
    complaint = [line for line in faulty_book.said.splitlines() if page in line and "WARNING" in line]
    assert any(FAULTS[fault][1] in line for line in complaint), complaint


def test_every_complaint_is_one_of_these(faulty_book):
    complaints = [line for line in faulty_book.said.splitlines() if "WARNING" in line]
    assert all(any(message in line for _, message in FAULTS.values()) for line in complaints), complaints
