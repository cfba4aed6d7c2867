"""How an equation leaves a notebook cell: one MIME bundle with three readings.

    application/vnd.rlbook.equation+json    the book: number, label, level, LaTeX, reasons
    text/latex                              JupyterLab and Colab: the formula, with its label as a tag
    text/plain                              a terminal, and nbval's comparison
"""
import re

MIME = "application/vnd.rlbook.equation+json"


class Displayed:
    """The display of a claim, a definition or a derivation."""

    def label(self):
        return f"eq-{self.id}"

    def steps(self):
        """The lines of a derivation; None for a single equation."""
        return None

    def record(self):
        """What the book needs to know; nothing that changes from run to run."""
        return {"id": self.id, "kind": self.kind, "level": self.level, "latex": self.latex(), "steps": self.steps(),
                "claim": self.text(), "check": self.how()}

    @staticmethod
    def aligned(rows):
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _plain_latex(self):
        """For readers without the book's layout: the reasons of a derivation stand beside its lines."""
        if self.steps() is None:
            return self.latex()
        first, *rest = self.steps()
        rows = [r"%s &= %s && \text{%s}" % (first["latex"] if k == 0 else "", step["latex"], plain(step["reason"]))
                for k, step in enumerate(rest)]
        return self.aligned(rows)

    def _repr_mimebundle_(self, include=None, exclude=None):
        tagged = f"$$\n{self._plain_latex()}\n\\tag{{{self.label()}}}\n$$"
        return {MIME: self.record(), "text/latex": tagged, "text/plain": repr(self)}

    def __repr__(self):
        level = f", level {self.level}" if self.level else ""
        return f"({self.label()}) {self.kind}{level}: {self.text()}"


def broken(tex, longest=190):
    """The rows of a long formula that ends in a bracket: one row for each term of the sum inside it."""
    if len(tex) <= longest or not tex.endswith(r"\right)"):
        return [tex]
    depth, cuts, start = 0, [], None                   # read backwards from the closing bracket, counting pairs
    for found in reversed(list(re.finditer(r"\\left(?![a-z])|\\right(?![a-z])|[{}]| \+ | - ", tex))):
        depth += {r"\right": 1, "}": 1, r"\left": -1, "{": -1}.get(found[0], 0)
        if found[0] == r"\left" and depth == 0:
            start = found.start()
            break
        if depth == 1 and found[0] in (" + ", " - "):
            cuts.insert(0, found.start())
    places = [start, *cuts, len(tex)]
    parts = [tex[a:b].strip() for a, b in zip(places, places[1:], strict=False)]
    parts[0], parts[-1] = parts[0].replace(r"\left(", r"\big(", 1), parts[-1].removesuffix(r"\right)") + r"\big)"
    return [tex[:start] + parts[0], *(r"\quad " + part for part in parts[1:])]


def plain(reason):
    """A reason as text inside LaTeX: {eq}`eq-x` becomes (eq-x)."""
    return re.sub(r"\{eq\}`([^`]+)`", r"(\1)", reason)
