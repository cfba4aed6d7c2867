"""What an author writes: `define`, `claim`, `derivation`, `refute`. An equation is displayed only if it was just checked.

    define("return", R(τ), Σ(γ**t * r[t], (t, 0, T)))
    claim("log-derivative", grad(P(τ)), P(τ) * grad(log(P(τ))), by=any_size)
    derivation("policy-gradient", grad(J(θ)), (grad(Σ(P(τ) * R(τ), τ)), "the mean over trajectories, written out"), ...)

The LaTeX is printed from the very trees that were checked; there is no way to pass one's own. The level of
proof comes from the prover that decided (`by`), and of a derivation from its weakest step.
"""
import time
from dataclasses import dataclass, field

import sympy as sp

from .decide import STRENGTH, decide, prover
from .definitions import STANDARD, key
from .display import Displayed, broken
from .errors import Refuted, describe
from .plain import text
from .printing import latex

BOOK = {}                                              # every equation of this process by id; running a cell again replaces it


@dataclass(repr=False, frozen=True)
class Claim(Displayed):
    """`lhs = rhs`, decided by a prover. `where` maps a symbol to the expressions that it may stand for."""

    id: str
    lhs: sp.Expr
    rhs: sp.Expr
    by: object
    says: str = ""
    where: dict = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    kind = "claim"

    @property
    def level(self):
        return self.by.level

    def instances(self, lhs=None, rhs=None):
        """The equations that this claim stands for: one for each value of the symbols in `where`."""
        pairs = [(self.lhs if lhs is None else lhs, self.rhs if rhs is None else rhs)]
        for symbol, values in self.where.items():
            pairs = [(x.xreplace({symbol: value}), y.xreplace({symbol: value})) for x, y in pairs for value in values]
        return pairs

    def residual(self, lhs=None, rhs=None):
        """0 if the claim holds (or would hold with another side), else the first difference."""
        return next((z for z in (self.by(*pair) for pair in self.instances(lhs, rhs)) if z != 0), 0)

    def check(self):
        start = time.perf_counter()
        for lhs, rhs in self.instances():
            decide(self.id, lhs, rhs, self.by)
        object.__setattr__(self, "seconds", time.perf_counter() - start)
        return self

    def links(self):
        """The equations to check, mutate and cross-examine."""
        return [self]

    def relation(self):
        """(left, sign, right) as it is displayed: max(f, g) = f says f ≥ g, and min(f, g) = f says f ≤ g."""
        lhs, rhs = self.lhs, self.rhs
        if not isinstance(lhs, sp.Max | sp.Min) or len(lhs.args) != 2 or rhs not in lhs.args:
            return lhs, "=", rhs
        other = next(x for x in lhs.args if x != rhs)
        if isinstance(lhs, sp.Max):
            return (rhs, r"\ge", other) if other.is_Number else (other, r"\le", rhs)
        return rhs, r"\le", other

    def latex(self):
        left, sign, right = self.relation()
        out = f"{latex(left)} {sign} {latex(right)}"
        for symbol, values in self.where.items():
            out += r" \qquad %s \in \Big\{ %s \Big\}" % (latex(symbol), r",\; ".join(map(latex, values)))
        where = getattr(self.by, "condition", lambda: "")()
        return out + (r" \qquad\text{where } " + where if where else "")

    def text(self):
        return self.says or f"{text(self.lhs)} = {text(self.rhs)}"

    def how(self):
        return self.by.describe()


@dataclass(repr=False, frozen=True)
class Defined(Displayed):
    """A definition of the book, as the readers use it."""

    id: str
    left: sp.Expr
    body: sp.Expr
    base: sp.Expr | None = None
    says: str = ""
    seconds: float = field(default=0.0, compare=False)
    kind, level = "definition", None

    def links(self):
        return []

    def latex(self):
        if self.base is None:
            return f"{latex(self.left)} = {latex(self.body)}"
        first, *rest = broken(latex(self.body))
        start = latex(self.left.func(0, *self.left.args[1:]))
        return self.aligned([f"{latex(self.left)} &= {first}", *(f"& {row}" for row in rest), f"{start} &= {latex(self.base)}"])

    def text(self):
        return self.says or f"{text(self.left)} := {text(self.body)}"

    def how(self):
        return "a definition: what every check of the book reads in its place"


@dataclass(frozen=True)
class Step:
    """One line of a derivation: the expression, the reason, and the prover of the step into it."""

    expr: sp.Expr
    reason: str | None = None
    by: object = None


@dataclass(repr=False, frozen=True)
class Derivation(Displayed):
    """A chain of equal expressions, each step checked for itself."""

    id: str
    lines: tuple
    says: str = ""
    seconds: float = field(default=0.0, compare=False)
    kind = "claim"

    @property
    def level(self):
        return min((line.by.level for line in self.lines[1:]), key=STRENGTH.index)

    def links(self):
        """Each step as a claim of its own, and the whole as the claim first = last."""
        pairs = zip(self.lines, self.lines[1:], strict=False)
        return [Claim(f"{self.id}, step {k}", x.expr, y.expr, y.by, y.reason) for k, (x, y) in enumerate(pairs, 1)]

    def check(self):
        start = time.perf_counter()
        for k, link in enumerate(self.links(), 1):
            decide(f"{self.id}, step {k} ({link.says})", link.lhs, link.rhs, link.by)
        object.__setattr__(self, "seconds", time.perf_counter() - start)
        return self

    @property
    def lhs(self):
        return self.lines[0].expr

    @property
    def rhs(self):
        return self.lines[-1].expr

    def latex(self):
        first, second, *rest = self.lines
        rows = [f"{latex(first.expr)} &= {latex(second.expr)}"] + [f"&= {latex(x.expr)}" for x in rest]
        return self.aligned(rows)

    def steps(self):
        return [{"latex": latex(x.expr), "reason": x.reason} for x in self.lines]

    def text(self):
        return self.says or f"{text(self.lhs)} = {text(self.rhs)}"

    def how(self):
        weakest = min((x.by for x in self.lines[1:]), key=lambda by: STRENGTH.index(by.level))
        return f"{len(self.lines) - 1} steps; {weakest.describe()}"


def register(equation):
    BOOK[equation.id] = equation
    return equation


def claim(id, lhs, rhs, by=None, says="", where=None):
    """Check lhs = rhs and display it. `by`: nothing (finite MDPs), any_size, softmax, any_sample, any_horizon, ..."""
    lhs, rhs, values = sp.sympify(lhs), sp.sympify(rhs), {}
    for symbol, choices in (where or {}).items():
        if not isinstance(choices, list | tuple) or not choices or not (lhs.has(symbol) or rhs.has(symbol)):
            raise ValueError(f"{id}: `where` lists what a symbol of the equation may stand for, not {symbol}: {choices!r}")
        values[symbol] = [sp.sympify(choice) for choice in choices]
    return register(Claim(id, lhs, rhs, prover(by), says, values).check())


def define(id, left, body, base=None, says=""):
    """Display a definition of the book. It must be the one that the readers use (`definitions.STANDARD`)."""
    left, body = sp.sympify(left), sp.sympify(body)
    known = STANDARD.get(key(left))
    if known is None:
        raise KeyError(f"{text(left)} has no definition in rlbook.derive.definitions")
    base = None if base is None else sp.sympify(base)
    if (left, body, base) != (known.left, known.body, known.base):
        said = f"the book has {text(known.left)} := {text(known.body)}"
        raise Refuted(f"{id} is not the definition of the book", body, known.body, said)
    return register(Defined(id, left, body, base, says))


def derivation(id, start, *steps, by=None, says=""):
    """Check and display a chain of equalities. A step is (expression, reason) or (expression, reason, prover)."""
    if not steps:
        raise ValueError(f"{id}: a derivation has at least one step, (expression, reason)")
    lines = [Step(sp.sympify(start))]
    for step in steps:
        if not 2 <= len(step) <= 3 or not isinstance(step[1], str) or not step[1]:
            raise ValueError(f"{id}: a step is (expression, reason) or (expression, reason, prover), not {step}")
        lines.append(Step(sp.sympify(step[0]), step[1], prover(step[2] if len(step) == 3 else by)))
    return register(Derivation(id, tuple(lines), says).check())


def refute(lhs, rhs, by=None):
    """Show that lhs = rhs is false: the two sides and a counterexample. Raises if it is true, or if nothing decides it."""
    lhs, rhs, by = sp.sympify(lhs), sp.sympify(rhs), prover(by)
    try:
        decide("the statement", lhs, rhs, by)
    except Refuted as found:
        return Refutation(lhs, rhs, found)
    raise ValueError(f"this is true, and cannot be refuted: {text(lhs)} = {text(rhs)}")


@dataclass(repr=False, frozen=True)
class Refutation:
    """A statement that is false, with its counterexample. It has no number and no level."""

    lhs: sp.Expr
    rhs: sp.Expr
    found: Refuted

    def _repr_latex_(self):
        difference = self.found.difference
        shown = difference.latex() if hasattr(difference, "latex") else latex(difference)
        rows = [rf"{latex(self.lhs)} &\ne {latex(self.rhs)}", rf"\text{{left}} - \text{{right}} &= {shown}"]
        return f"$$\n{Displayed.aligned(rows)}\n$$"

    def __repr__(self):
        return f"{text(self.lhs)} ≠ {text(self.rhs)}: left - right = {describe(self.found.difference)}"
