"""The seventh reader: min, max and clip, by regions. Level P.

    Cases({ε: [0, 1], ρ: [0, 1 - ε, 1 + ε, oo], A: [-oo, 0, oo]})

cuts the range of each variable at the points that its list names; the ends of a list are the ends of the range and do
not belong to it. The equation is checked in every *cell*: each variable inside one of its intervals, or at one of its
cuts. So every point of the ranges is in a cell, and no region can be forgotten. Inside an interval a variable is
written by a symbol v > 0,

    (a, b):  a + (b - a) v / (1 + v)        (a, ∞):  a + v        (-∞, b):  b - v,

each onto the whole interval, and what is left has only positive symbols. The rules are

    min, max                the order of the arguments is the sign of their difference
    clip(x, low, high)      max(low, min(x, high)), where low ≤ high
    1[x < y]                1 or 0, by the sign of y - x
    ∂X/∂ρ                   X has one smooth form on the cell; it is differentiated. At a cut of ρ there is no
                            derivative, and an equation that holds one is checked off these cuts only
    sign                    a quotient of polynomials (`cancel`) in positive symbols has the product of the signs of its
                            factors; a factor with positive coefficients only is positive. The factors are multiplied
                            out again, so `factor` need not be trusted

Where a sign cannot be shown the equation is `Undecided`.

`Nonnegative(x, least)` decides f ≥ g for x > 0, written as the equation max(f, g) = f: f - g is 0 at `least`, falls
before it and rises after it (its derivative has a sign on either side), so the two are equal nowhere else.
Probabilities count as positive.
"""
import functools
import itertools

import sympy as sp

from . import language as L
from .algebra import Counterexample, Unfolding, letters_of, not_zero_at, operators
from .definitions import redefined
from .dependence import held_along
from .errors import IllFormed, Undecided
from .plain import text
from .printing import latex
from .ratios import Less

oo = sp.oo


# -- the sign of an expression in positive symbols ---------------------------------------------------
@functools.lru_cache(maxsize=20_000)
def sign(e):
    """1, 0 or -1; None if the rule of this module does not tell."""
    e = e.xreplace({x: sp.Dummy("e", positive=True) for x in e.atoms(sp.exp)})     # (an exponential is positive)
    e = sp.cancel(sp.together(e))
    if e == 0:
        return 0
    above, below = map(sign_of_polynomial, sp.fraction(e))
    return None if None in (above, below) else above * below


def sign_of_polynomial(e):
    symbols = sorted(e.free_symbols, key=str)
    if not symbols:
        return None if not e.is_Rational else int(sp.sign(e))
    if not all(x.is_positive for x in symbols) or not e.is_polynomial(*symbols):
        return None
    number, factors = sp.factor_list(e, *symbols)
    if sp.expand(number * sp.Mul(*[factor**power for factor, power in factors]) - e) != 0:
        return None
    coefficients = [c for factor, _ in factors for c in sp.Poly(factor, *symbols).coeffs()]
    if not all(c.is_Rational and c > 0 for c in coefficients):
        return None                                    # (a common sign of a factor is in the number already)
    return int(sp.sign(number))


# -- cells -------------------------------------------------------------------------------------------
class Cell:
    """One way to place every variable: `where` gives each in positive symbols, `cuts` those that stand at a cut."""

    def __init__(self):
        self.where, self.cuts, self.says = {}, {}, []

    def place(self, x, value, says, cut=None):
        out = Cell()
        out.where, out.cuts, out.says = {**self.where, x: value}, dict(self.cuts), [*self.says, says]
        if cut is not None:
            out.cuts[x] = cut
        return out

    def describe(self):
        return ", ".join(self.says)

    def sign(self, e):
        """The sign of an expression on the cell."""
        out = sign(e.xreplace(self.where))
        if out is None:
            raise Undecided(f"where {self.describe()}, the sign of {text(e)} does not follow")
        return out

    def smooth_along(self, x):
        """Can x move a little, in this cell, while every other variable stays?"""
        return x not in self.cuts and not any(cut.has(x) for cut in self.cuts.values())


@functools.lru_cache(maxsize=200)
def cells(listed):
    """Every cell of the ranges ((x, points), ...). The same ranges have the same cells, so that signs are found again."""
    ranges, out = dict(listed), [Cell()]
    for x, points in ranges.items():
        if len(points) < 2 or any(p in (oo, -oo) for p in points[1:-1]):
            raise IllFormed(f"the range of {text(x)} needs two ends, and its cuts between them")
        if any(p.has(y) for p in points for y in list(ranges)[list(ranges).index(x):]):
            raise IllFormed(f"the cuts of {text(x)} may use only the variables that are listed before it")
        out = [new for cell in out for new in split(cell, x, points)]
    return out


def split(cell, x, points):
    """The cell, with x in each interval and at each cut of its range."""
    at = [p.xreplace(cell.where) for p in points]
    for (low, a), (high, b) in itertools.pairwise(zip(points, at, strict=True)):
        if a == oo or b == -oo or oo not in (-a, b) and sign(b - a) != 1:
            raise IllFormed(f"that {text(low)} < {text(high)} in the range of {text(x)} does not follow")
    for k, ((low, a), (high, b)) in enumerate(itertools.pairwise(zip(points, at, strict=True))):
        v = sp.Dummy(f"v_{x}", positive=True)
        if a == -oo:
            value = b - v if b != oo else sp.Dummy(str(x), real=True)
        else:
            value = a + v if b == oo else a + (b - a) * v / (1 + v)
        says = " < ".join(text(y) for y in (low, x, high) if y not in (oo, -oo))
        yield cell.place(x, value, says)
        if k < len(points) - 2:
            yield cell.place(x, b, f"{text(x)} = {text(high)}", cut=high)


class Cases:
    """Decide an equation in every cell of the ranges. `given`: definitions to unfold."""

    level = "P"

    def __init__(self, ranges, given=()):
        self.given, self.ranges = list(given), {x: [sp.sympify(p) for p in points] for x, points in ranges.items()}
        self.cells = cells(tuple((x, tuple(points)) for x, points in self.ranges.items()))
        self.unfold = Unfolding(given)

    def condition(self):
        """Where the equation is claimed, in LaTeX, if that is only a part of where its variables may be."""
        if any(len(points) > 2 for points in self.ranges.values()):
            return None
        out = []
        for x, (low, high) in self.ranges.items():
            parts = [low] if low != -oo and (low != 0 or high == oo) else []       # (what ends at 1 - ε is positive anyway)
            parts += [x, high] if high != oo else [x]
            if len(parts) > 1 and x != L.ε:
                out.append(" < ".join(map(latex, parts)))
        return r",\;\, ".join(out)

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Cases(self.ranges, redefined(self.given, definitions))

    def describe(self):
        cuts = "; ".join(f"{text(x)} at {', '.join(map(text, p[1:-1]))}" for x, p in self.ranges.items() if len(p) > 2)
        if not cuts:
            return "proved on the whole range"
        return f"proved in every region, cutting {cuts}; a derivative is not taken at the cuts"

    def __call__(self, lhs, rhs):
        lhs, rhs = (self.unfold(sp.sympify(x)) for x in (lhs, rhs))
        along = {x.args[1] for x in lhs.atoms(L.Grad) | rhs.atoms(L.Grad) if len(x.args) > 1}
        unproved = None
        for cell in self.cells:
            if not all(map(cell.smooth_along, along)):
                continue
            try:
                difference = self.residual(cell, settle(lhs, cell) - settle(rhs, cell))
            except Undecided as why:                   # another cell may still refute
                unproved = unproved or why
                continue
            if difference != 0:
                return difference
        if unproved:
            raise unproved
        return 0

    @staticmethod
    def residual(cell, difference):
        """0, or a point of the cell at which the two sides differ."""
        rest = sp.cancel(sp.together(difference.xreplace(cell.where)))
        if rest == 0:
            return 0
        if rest.has(sp.zoo, sp.nan):
            raise IllFormed(f"division by zero where {cell.describe()}")
        letters = set().union(letters_of(rest), *map(letters_of, cell.where.values()))
        found = not_zero_at(rest, letters)
        if found is None:
            raise Undecided(f"where {cell.describe()}: neither proved nor refuted")
        return Counterexample(found.difference, {x: value.xreplace(found.where) for x, value in cell.where.items()})


def settle(e, cell):
    """The tree without min, max, clip, 1[...] and derivatives: the one form that it has on the cell."""
    if e.is_Atom or e in cell.where or isinstance(e, sp.Indexed | L.Head):
        return e
    if isinstance(e, L.Grad):
        return derivative(e, cell)
    bad = operators(e, (L.Grad, Less))
    if bad is not None:
        raise IllFormed(f"{type(bad).__name__} has no meaning in regions: {text(bad)}")
    args = [settle(x, cell) for x in e.args]
    if isinstance(e, sp.Min | sp.Max):
        return extremum(args, 1 if isinstance(e, sp.Max) else -1, cell)
    if isinstance(e, L.Clip):
        x, low, high = args
        if cell.sign(high - low) < 0:
            raise IllFormed(f"{text(e)}: the bounds are in the wrong order")
        return extremum([low, extremum([x, high], -1, cell)], 1, cell)
    if isinstance(e, Less):
        x, y = args
        return sp.Integer(1 if cell.sign(y - x) > 0 else 0)
    return e.func(*args)


def extremum(args, direction, cell):
    best, *rest = args
    for x in rest:
        if cell.sign(x - best) == direction:
            best = x
    return best


def derivative(e, cell):
    if len(e.args) != 2 or e.args[1] not in cell.where:
        raise IllFormed(f"{text(e)}: a derivative is taken along one of {', '.join(map(text, cell.where))}")
    body, x = e.args
    inner, letter = settle(body, cell), sp.Dummy(str(x))
    if not held_along(x, inner.xreplace({x: letter})):
        raise Undecided(f"how {text(inner)} changes with {text(x)} is not known")
    return sp.diff(inner.xreplace({x: letter}), letter).xreplace({letter: x})


class Nonnegative:
    """Decide f ≥ g for x > 0, with equality at `least` only; written as max(f, g) = f."""

    level = "P"

    def __init__(self, x, least=1, given=()):
        self.given, self.x, self.least, self.unfold = list(given), x, sp.sympify(least), Unfolding(given)

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Nonnegative(self.x, self.least, redefined(self.given, definitions))

    def describe(self):
        x, least = text(self.x), text(self.least)
        return f"proved for every {x} > 0, from the sign of the derivative; equality at {least} only"

    def __call__(self, lhs, rhs):
        lhs, rhs = sp.sympify(lhs), sp.sympify(rhs)
        if not isinstance(lhs, sp.Max) or len(lhs.args) != 2 or rhs not in lhs.args:
            raise Undecided("write f >= g as the equation max(f, g) = f")
        g, = [x for x in lhs.args if x != rhs]
        laws = set().union(*(e.atoms(L.Distribution) for e in (lhs, self.x, self.least)))
        laws = {law: sp.Dummy(text(law), positive=True) for law in laws}
        f, x, least = (self.unfold(e).xreplace(laws) for e in (rhs - g, self.x, self.least))
        letter = sp.Dummy(str(x), positive=True)
        f = f.xreplace({x: letter})
        bad = operators(f) or next(iter(f.atoms(sp.Min, sp.Max, L.Clip)), None)
        if bad is not None:
            raise IllFormed(f"{text(bad)} is not smooth")
        if self.falls_and_rises(f, letter, least):
            return 0
        return self.counterexample(f, letter)

    @staticmethod
    def falls_and_rises(f, x, least):
        if sp.cancel(sp.together(f.xreplace({x: least}))) != 0:
            return False
        v = sp.Dummy("v", positive=True)
        for value, expected in ((least * v / (1 + v), -1), (least + v, 1)):
            if any(sign(y.args[0].xreplace({x: value})) != 1 for y in f.atoms(sp.log)):
                return False
            if sign(sp.diff(f, x).xreplace({x: value})) != expected:
                return False
        return True

    def counterexample(self, f, x):
        """A point where f < 0, or a second one where f = 0."""
        for numerator, others in itertools.product((1, 2, 4, 5, 7, 9, 30, 1000), range(3)):
            where = {y: sp.Rational(1 + others, 2) for y in letters_of(f)} | {x: sp.Rational(numerator, 4)}
            value = f.xreplace(where).evalf(30)
            if value.is_number and value.is_real and value < sp.Float("-1e-20"):
                return Counterexample(value.n(6), {self.x: where[x]})
        raise Undecided(f"neither proved nor refuted: {text(f)} ≥ 0")
