"""The equations of the book, taken from its chapters: every cell tagged `math` is run, and what it registers is returned.

A chapter's `math` cells are run in order in one fresh namespace, without a kernel; nothing else of the chapter is needed.
"""
import functools
import json
from pathlib import Path

from rlbook.derive import claims
from rlbook.derive.definitions import key

BOOK = Path(__file__).resolve().parents[2] / "book"


def math_cells(notebook):
    """The source of every code cell tagged `math`, in order."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "math" in cell["metadata"].get("tags", []):
            yield "".join(cell["source"])


def run(notebook):
    """The equations that one chapter registers, by id."""
    before, namespace = dict(claims.BOOK), {"__name__": notebook.stem, "display": lambda *_: None}
    claims.BOOK.clear()
    try:
        for number, source in enumerate(math_cells(notebook), 1):
            exec(compile(source, f"{notebook.name}, math cell {number}", "exec"), namespace)
        return dict(claims.BOOK)
    finally:
        claims.BOOK.clear()
        claims.BOOK.update(before)


@functools.cache
def equations():
    """Every equation of the book by id: claims, derivations and definitions."""
    out = {}
    for notebook in sorted(BOOK.glob("*.ipynb")):
        for id, equation in run(notebook).items():
            if id in out:
                raise ValueError(f"two equations are called {id}")
            out[id] = equation
    return out


def claims_of_the_book():
    """Claims and derivations: what has links to check."""
    return [x for x in equations().values() if x.links()]


def links():
    """Every single step that the book claims, and the whole of every derivation."""
    return [link for x in claims_of_the_book() for link in x.links()]


def definitions():
    """The heads that the book defines."""
    return [key(x.left) for x in equations().values() if isinstance(x, claims.Defined)]


