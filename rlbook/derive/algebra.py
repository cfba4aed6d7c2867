"""The fifth reader: rational expressions. Level P, for all values. And what the readers after it share.

`Algebra()` decides an equation between expressions that are built from atoms (symbols, r_t, V(s_t), log X, ...)
by +, *, / and whole powers. Each atom becomes a letter; the difference of the two sides, as one fraction in lowest
terms (`cancel`), is 0 exactly if the two sides are the same rational function of the letters: no rule about any
atom is used.

A difference that is not 0 refutes the equation only where the letters can vary freely. log X and exp X cannot
(log 2x and log x are related), so there the difference is evaluated at points: a value that is not 0 refutes, else
it is `Undecided`.
"""
import sympy as sp

from . import language as L
from .errors import IllFormed, Undecided
from .plain import text
from .printing import latex

UNFOLDINGS = 20                                        # deeper than that, a definition speaks of itself


# -- shared by the readers ---------------------------------------------------------------------------
class Counterexample:
    """A difference that is not 0, and where."""

    def __init__(self, difference, where):
        self.difference, self.where = difference, where

    def describe(self):
        at = ", ".join(f"{text(x)} = {text(value)}" for x, value in self.where.items())
        return f"{text(self.difference)} at {at}" if at else text(self.difference)

    def latex(self):
        at = r",\;\, ".join(f"{latex(x)} = {latex(value)}" for x, value in self.where.items())
        return latex(self.difference) + (r" \quad\text{where}\quad " + at if at else "")


def rebuild(e, args):
    """The node `e` with other arguments, not evaluated where sympy would put arguments in order."""
    args = tuple(args)
    if args == e.args:
        return e
    return e.func(*args, evaluate=False) if isinstance(e, sp.Min | sp.Max) else e.func(*args)


def fresh(e):
    """The tree with a new name for every index that a sum or product binds: nothing that is put in can be captured."""
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    if isinstance(e, sp.Sum | sp.Product):
        body, *limits = e.args
        renamed = []
        for x, low, high in limits:                    # the innermost first: its bounds may hold those after it
            new = sp.Dummy(x.name, integer=True)
            body = body.xreplace({x: new})
            renamed = [(y, *(bound.xreplace({x: new}) for bound in bounds)) for y, *bounds in renamed]
            renamed.append((new, low, high))
        return e.func(fresh(body), *[(y, fresh(low), fresh(high)) for y, low, high in renamed])
    return rebuild(e, map(fresh, e.args))


class Unfolding:
    """The definitions that a reader may put in the place of their left sides.

    `given` holds pairs (left, body), definitions, or claims that `Algebra` proved (others may hold in a range only). The
    symbols among the arguments of a left side are its parameters, also inside an index: from δ[t] := r[t] + γ V(s[t + 1])
    - V(s[t]) the reader has δ[t + l] for every l. `book` holds definitions that are used as well, where `given` says
    nothing else. A value `At(X, λ, 0)` is taken after X is unfolded.
    """

    def __init__(self, given=(), book=()):
        self.rules, self.assumed = {}, []
        for item in given:
            left, body = map(sp.sympify, self.sides(item))
            if self.key(left) in self.rules:
                raise IllFormed(f"{text(left)} is defined twice")
            self.rules[self.key(left)] = left, body
            if isinstance(item, tuple):
                self.assumed.append((left, body))
        self.book = {self.key(x.left): (x.left, x.body) for x in book if self.plain(x)}

    @classmethod
    def plain(cls, entry):
        """Is this definition one of indices, such as that of δ[t], without a mean, a gradient or a recursion?"""
        names = [x.indices[0] if isinstance(x, sp.Indexed) else x for x in cls.slots(entry.left)]
        indexed = bool(names) and all(x.is_Symbol and x.is_integer for x in names)
        return indexed and entry.base is None and not entry.body.has(L.Operator)

    def fits(self, left, e):
        """Is this what the book's definition speaks of? δ[t + 1] is, and δ[i, t] is any function of i and t."""
        pairs = list(zip(self.slots(left), self.slots(e), strict=False))
        return len(self.slots(left)) == len(self.slots(e)) and all(
            isinstance(y, sp.Indexed) and x.base == y.base if isinstance(x, sp.Indexed) else y.is_integer for x, y in pairs)

    def describe(self):
        """What was put in and has no definition or claim of its own."""
        return "".join(f", where {text(left)} = {text(body)}" for left, body in self.assumed)

    def condition(self):
        """The same, as the page says it besides the equation."""
        return r",\; ".join(f"{latex(left)} = {latex(body)}" for left, body in self.assumed)

    @staticmethod
    def sides(item):
        if isinstance(item, tuple):
            return item
        if hasattr(item, "left"):
            return item.left, item.body
        if not isinstance(getattr(item, "by", None), Algebra):
            raise Undecided(f"{item.id} is used where it may not hold: only what `Algebra` proved holds for all values")
        return item.lhs, item.rhs

    @staticmethod
    def key(e):
        return e.base if isinstance(e, sp.Indexed) else type(e) if isinstance(e, L.Head) else e

    def __call__(self, e, depth=0):
        if isinstance(e, sp.IndexedBase):
            return e
        if depth > UNFOLDINGS:
            raise IllFormed(f"the definition of {text(e)} never ends")
        if isinstance(e, L.At):
            body, x, value = e.args
            body = self(body, depth)
            if not x.is_Symbol or operators(body, (L.At, sp.Sum, sp.Product)) is not None:
                raise IllFormed(f"{text(e)}: only sums and products have a value at {text(x)} = {text(value)} here")
            return body.xreplace({x: value})
        left, body = self.rules.get(self.key(e)) or self.book.get(self.key(e), (None, None))
        if self.key(e) in self.rules or left is not None and self.fits(left, e):
            return self(fresh(body).xreplace(self.match(left, e)), depth + 1)
        if e.is_Atom:
            return e
        return rebuild(e, [self(x, depth) for x in e.args])

    def match(self, left, e):
        """What the parameters of `left` stand for in `e`."""
        out = {}
        pairs = [] if left == e or left.is_Symbol else list(zip(self.slots(left), self.slots(e), strict=True))
        for parameter, value in pairs:
            if isinstance(parameter, sp.Indexed) and isinstance(value, sp.Indexed) and parameter.base == value.base:
                parameter, value = parameter.indices[0], value.indices[0]
            if not parameter.is_Symbol:
                if parameter != value:
                    raise IllFormed(f"{text(e)} is not of the form {text(left)}, which is defined")
            elif out.setdefault(parameter, value) != value:
                raise IllFormed(f"{text(e)}: {text(parameter)} would be two things in {text(left)}")
        return out

    @staticmethod
    def slots(e):
        return e.indices if isinstance(e, sp.Indexed) else e.args


def operators(e, allowed=()):
    """The first operator of a tree that has no meaning here, or None."""
    known = L.Operator | sp.Sum | sp.Product | sp.Derivative | sp.Integral
    return next((x for x in sp.preorder_traversal(e) if isinstance(x, known) and not isinstance(x, allowed)), None)


def independent(e):
    """May the atoms of this tree take any values, each by itself?"""
    related = sp.log, sp.exp, sp.Min, sp.Max, L.Clip, L.Operator
    return not e.has(*related) and all(x.exp.is_Integer for x in e.atoms(sp.Pow))


# -- numbers that refute -----------------------------------------------------------------------------
VALUES = [sp.Rational(x) for x in ("1", "2", "1/2", "3", "1/3", "5/7", "11/5", "7/13")]


def letters_of(e):
    """What varies freely in a tree: its symbols, r_t, V(s_t), ..."""
    if isinstance(e, sp.Symbol | sp.Indexed | L.Head):
        return {e}
    return set().union(*map(letters_of, e.args)) if e.args else set()


def points(letters, count=12):
    """Positive values for the letters, simple ones first; whole numbers where a letter is one."""
    letters = sorted(letters, key=str)
    for number in range(count):
        where = {x: VALUES[(number + (number + 1) * k) % len(VALUES)] for k, x in enumerate(letters)}
        yield {x: sp.Integer(value.p) if x.is_integer else value for x, value in where.items()}


def not_zero_at(e, letters=None):
    """A point at which the expression has a value that is not 0, with that value; None if none was found."""
    for where in points(letters_of(e) if letters is None else letters):
        value = e.xreplace(where)
        if not value.is_Rational:
            value = value.evalf(40)
            if not value.is_Float or abs(value) < sp.Float("1e-25"):
                continue
            value = value.n(6)
        if value != 0:
            return Counterexample(value, where)
    return None


# -- the prover --------------------------------------------------------------------------------------
class Algebra:
    """Decide an equation between rational expressions. `given`: definitions to unfold."""

    level = "P"

    def __init__(self, given=()):
        self.unfold = Unfolding(given)

    def describe(self):
        return "proved for all values of its symbols, as an identity of rational functions" + self.unfold.describe()

    def __call__(self, lhs, rhs):
        difference = self.unfold(sp.sympify(lhs) - sp.sympify(rhs))
        letters = {}
        reduced = sp.cancel(sp.together(self.rational(difference, letters)))
        if reduced.has(sp.zoo, sp.nan, sp.oo):
            raise IllFormed("division by zero")
        atoms = {letter: atom for atom, letter in letters.items()}
        if reduced == 0:
            return 0
        used = [atoms[x] for x in reduced.free_symbols]
        if all(map(independent, used)):
            return Counterexample(reduced.xreplace(atoms), {})
        found = not_zero_at(reduced.xreplace(atoms))
        if found is None:
            raise Undecided(f"neither proved nor refuted: the difference is {text(reduced.xreplace(atoms))}")
        return found

    def rational(self, e, letters):
        """The tree as a rational function of letters, one for each atom."""
        if e.is_Rational:
            return e
        if e.is_Add or e.is_Mul or e.is_Pow and e.exp.is_Integer:
            if e.is_Pow and e.exp.is_negative and sp.cancel(sp.together(self.rational(e.base, letters))) == 0:
                raise IllFormed("division by zero")
            return e.func(*[self.rational(x, letters) for x in e.args])
        bad = operators(e, (L.Grad, L.StopGradient))
        if bad is not None:
            raise IllFormed(f"{type(bad).__name__} has no meaning in algebra: {text(bad)}")
        if e not in letters:
            letters[e] = sp.Dummy(f"x{len(letters)}")
        return letters[e]
