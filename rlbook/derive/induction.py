"""The sixth reader: sums over an index whose bound is a symbol, for every value of it. Level P, by induction over n.

`Induction(n, base)` proves z(n) = left - right = 0 for n = base, base + 1, ...: n is written base + k, and

    start   z = 0 at k = 0;
    step    z(k + 1) - z(k) = 0.

Both are decided by a normal form: a linear combination of monomials Π base^e, where a base is an atom (a symbol,
r[t + l], V(s[t + l]), any function of indices) or a *block* Σ_{x=0}^{m-1} monomial. No sum is ever evaluated; the
rules are

    linearity, Leibniz on products, fresh names for indices
    γ^(m+l) = γ^m γ^l, (γ λ)^l = γ^l λ^l            γ, λ positive
    Σ_{x=low}^{high} F(x) = Σ_{x=0}^{m-1} F(x + low)    m = high - low + 1, the number of terms
    Σ_{x=0}^{m-1} F(x) = F(0) + ... + F(m - 1)      m a number
    Σ_{x=0}^{m-1} F(x) = Σ_{x=0}^{m-2} F(x) + F(m - 1)  m ≥ 1: so the last terms are split off until m has no constant
                                                    left, which makes sums telescope in z(k + 1) - z(k)
    Σ_{x=0}^{m-1} c F(x) = c Σ_{x=0}^{m-1} F(x)     c free of x;   Σ_{x=0}^{m-1} 1 = m
    Σ_{x=0}^{m-1} 0^x F(x) = F(0)                   m ≥ 1 (0^0 = 1)
    1[x = y] = 1 if x - y is 0, 0 if x - y ≥ 1 or y - x ≥ 1
    Π_{x=low}^{high} F(x) = U(high + 1) / U(low)    m ≥ 0, where U(x + 1) = F(x) U(x): a formal product, which exists
                                                    where every F(x) ≠ 0, and what two polynomials have in common
                                                    there they have everywhere. So F(x) must be x_t, V(s_t), ..., a
                                                    product of such, or a number plus such, as 1 - d_t

m ≥ 0 is required of every sum and m ≥ 1 where a rule says so. Both are shown from k ≥ 0 and from the ranges of the
indices around: m is linear in them with whole coefficients, so its least value is at the ends of the ranges. What
cannot be shown is `Undecided`.

What is proved holds for all functions r, V, δ, ... of their indices. Where the proof fails, n = base, ..., base + 3 are
tried, then also with 0, 1 and 2 for other indices, and a difference there (a polynomial in independent atoms) refutes.
"""
import itertools
from collections import namedtuple

import sympy as sp

from . import language as L
from .algebra import Counterexample, Unfolding, fresh, independent, operators
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .plain import text

Term = namedtuple("Term", "coefficient powers")        # a number, {base: exponent}

ONE, ZERO = sp.Integer(1), sp.Integer(0)
LONGEST = 60                                           # terms that are written out, at most


class Block(L.Operator):
    """`Block(X, x, m)`: Σ_{x=0}^{m-1} X, for one monomial X."""


class Upto(L.Operator):
    """`Upto(F(#), m)`: a formal product of all F(x), x < m, of which only U(m + 1) = F(m) U(m) is known."""


HERE = sp.Symbol("#", integer=True)                    # the place in a factor that a product runs over


class Normal:
    """Trees to their normal form. `scope` lists the indices around a place, outermost first, with their ranges."""

    def __call__(self, e):
        """The normal form: {monomial: coefficient}, empty for 0."""
        terms = self.terms(e, ())
        while below := self.denominators(terms):       # a fraction is 0 exactly if its numerator is
            terms = self.collect(y for x in terms for y in self.cleared(x, *below))
        if any(base == 0 for term in terms for base in term.powers):
            raise Undecided("0^l has no value outside a sum from 0")
        return terms

    def terms(self, e, scope):
        return self.collect(self.read(e, scope))

    def read(self, e, scope):
        if e.is_Rational:
            return [Term(e, {})]
        if e.is_Add:
            return [term for x in e.args for term in self.read(x, scope)]
        if e.is_Mul:
            return self.product(self.terms(x, scope) for x in e.args)
        if e.is_Pow:
            return self.power(e.base, e.exp, scope)
        if isinstance(e, sp.Sum):
            body, *inner, (x, low, high) = e.args      # (sympy writes nested sums as one)
            body = sp.Sum(body, *inner) if inner else body
            return self.sum(body.xreplace({x: x + low}), x, sp.expand(high - low + 1), scope)
        if isinstance(e, Block):
            body, x, m = e.args
            new = sp.Dummy(integer=True)
            return self.sum(body.xreplace({x: new}), new, m, scope)
        if isinstance(e, sp.Product):
            body, *inner, (x, low, high) = e.args
            body = sp.Product(body, *inner) if inner else body
            return self.long_product(body, x, low, sp.expand(high - low + 1), scope)
        if isinstance(e, Upto):
            return self.upto(*e.args)
        if isinstance(e, sp.KroneckerDelta):
            return self.indicator(e, scope)
        return [Term(ONE, {self.atom(e): ONE})]

    def indicator(self, e, scope):
        """1[x = y]: 1 where x - y is 0, 0 where one of the two is always larger."""
        apart = sp.expand(e.args[0] - e.args[1])
        if not apart.is_integer:
            raise IllFormed(f"{text(e)} compares no whole numbers")
        if apart == 0:
            return [Term(ONE, {})]
        if any(x is not None and x > 0 for x in (self.least(apart, scope), self.least(-apart, scope))):
            return []
        raise Undecided(f"whether {text(e)} is 1 does not follow")

    @classmethod
    def atom(cls, e):
        """A function of indices, each index expanded."""
        if e.is_Atom or isinstance(e, sp.IndexedBase):
            return e
        bad = operators(e, (L.Grad, L.StopGradient))
        if bad is not None:
            raise IllFormed(f"{type(bad).__name__} has no meaning in sums over an index: {text(bad)}")
        return e.func(*[sp.expand(x) if x.is_integer else cls.atom(x) for x in e.args])

    # -- products and powers -------------------------------------------------------------------------
    def product(self, factors):
        out = [Term(ONE, {})]
        for factor in factors:
            out = [self.times(x, y) for x in out for y in factor]
        return out

    @staticmethod
    def times(x, y):
        coefficient, powers = x.coefficient * y.coefficient, dict(x.powers)
        for base, e in y.powers.items():
            powers[base] = sp.expand(powers.get(base, ZERO) + e)
        for base in [b for b in powers if b.is_Number and b != 0]:     # 2^(l+1) = 2 * 2^l
            whole, rest = powers.pop(base).as_coeff_Add()
            if not whole.is_Integer:
                raise Undecided(f"{base} to the power {whole} is no rational number")
            coefficient *= base**whole
            if rest != 0:
                powers[base] = rest
        return Term(coefficient, {base: e for base, e in powers.items() if e != 0})

    def power(self, base, e, scope):
        if e.is_Integer and e > 0:
            return self.product([self.terms(base, scope)] * int(e))
        inside = self.terms(base, scope)
        if not inside:
            if e.is_number:
                raise IllFormed("division by zero")
            return [Term(ONE, {ZERO: sp.expand(e)})]
        if len(inside) > 1:
            whole = self.tree(inside)
            if not e.is_Integer and not whole.is_positive:
                raise Undecided(f"{text(base)} must be positive in {text(base**e)}")
            return [Term(ONE, {whole: e})]
        (c, powers), = inside
        out = {base: sp.expand(x * e) for base, x in powers.items()}
        for x in powers:
            if not e.is_Integer and not x.is_positive:
                raise Undecided(f"{text(x)} must be declared positive in {text(base**e)}")
        if e.is_Integer:
            return [Term(c**e, out)]
        if not c.is_positive:
            raise Undecided(f"{text(base)} must be positive in {text(base**e)}")
        return [self.times(Term(ONE, out), Term(ONE, {c: sp.expand(e)}))] if c != 1 else [Term(ONE, out)]

    # -- products over an index ----------------------------------------------------------------------
    def long_product(self, body, x, low, m, scope):
        """Π_{x=low}^{low+m-1} body."""
        self.count(m, scope)
        if m.is_Integer:
            self.short(m)
            return self.product(self.terms(body.xreplace({x: low + v}), scope) for v in range(int(m)))
        factors = self.terms(body, scope)
        if len(factors) != 1:
            return self.between(self.tree(factors), x, low, m, ONE) if self.never_zero(factors) else self.refuse(body)
        (coefficient, powers), = factors
        out = self.power(coefficient, m, scope)
        for base, e in powers.items():
            if e.has(x) or base.has(x) and not (isinstance(base, sp.Indexed | L.Head) and e.is_integer):
                self.refuse(body)
            whole = self.between(base, x, low, m, e) if base.has(x) else self.power(base, sp.expand(e * m), scope)
            out = self.product([out, whole])
        return out

    @staticmethod
    def never_zero(factors):
        """Is this a number that is not 0, plus products of functions of indices and of numbers such as γ?"""
        bases = [base for _, powers in factors for base in powers]
        good = all(isinstance(x, sp.Indexed | L.Head) or x.is_Symbol and not x.is_integer for x in bases)
        whole = all(e.is_Integer and e > 0 for _, powers in factors for e in powers.values())
        return good and whole and any(not powers for _, powers in factors)

    @staticmethod
    def refuse(body):
        raise Undecided(f"a product of {text(body)}, which may be 0 somewhere, or is none of the factors that are known")

    def between(self, factor, x, low, m, e):
        """U(low + m)^e / U(low)^e; the factor is written so that the first index in it is x itself."""
        index = next((i for y in sp.preorder_traversal(factor) if isinstance(y, sp.Indexed) for i in y.indices if i.has(x)), x)
        shift = sp.expand(index - x)
        shift = ZERO if shift.has(x) else shift
        factor = self.tree(self.terms(factor.xreplace({x: HERE - shift}), ()))
        return self.product([self.upto(factor, low + m + shift, e), self.upto(factor, low + shift, -e)])

    def upto(self, factor, at, e=ONE):
        """U(at)^e, with the whole number in `at` split off."""
        number, rest = sp.expand(at).as_coeff_Add()
        if not number.is_Integer:
            self.refuse(factor)
        self.short(abs(number))
        out = [Term(ONE, {Upto(factor, rest): e})]
        for v in range(int(number)):
            out = self.product([out, self.power(factor.xreplace({HERE: rest + v}), e, ())])
        for v in range(int(number), 0):
            out = self.product([out, self.power(factor.xreplace({HERE: rest + v}), -e, ())])
        return out

    # -- sums ----------------------------------------------------------------------------------------
    def count(self, m, scope):
        """The least value of a number of terms, which must not be negative."""
        least = self.least(m, scope)
        if least is None or least < 0:
            raise Undecided(f"a sum or product of {text(m)} terms: that this is not negative does not follow")
        return least

    def sum(self, body, x, m, scope):
        """Σ_{x=0}^{m-1} body."""
        least = self.count(m, scope)
        if m.is_Integer:
            self.short(m)
            return [term for v in range(int(m)) for term in self.terms(body.xreplace({x: sp.Integer(v)}), scope)]
        out = []
        if any(y.base == 0 for y in body.atoms(sp.Pow)):
            out, body = self.first_only(body, x, m, scope)
        last = min(max(m.as_coeff_Add()[0], 0), least)
        self.short(last)
        m = m - last
        for v in range(int(last)):
            out += self.terms(body.xreplace({x: m + v}), scope)
        for term in self.terms(body, scope + ((x, m),)):
            out += self.pull(term, x, m, scope)
        return out

    @staticmethod
    def short(m):
        if m > LONGEST:
            raise Undecided(f"{m} terms are too many to write out")

    def first_only(self, body, x, m, scope):
        """The terms with 0^x, of which only x = 0 is left, and the tree of the others."""
        zero, rest = [], []
        for term in self.terms(body, scope + ((x, m),)):
            if ZERO not in term.powers:
                rest.append(term)
                continue
            if term.powers[ZERO] != x or self.least(m, scope) < 1:
                raise Undecided("0^l is understood in a sum over l that starts at 0 and has a term")
            kept = {base: e for base, e in term.powers.items() if base != 0}
            zero += self.terms(self.tree([Term(term.coefficient, kept)]).xreplace({x: ZERO}), scope)
        return zero, self.tree(rest)

    def pull(self, term, x, m, scope):
        """Σ_{x=0}^{m-1} of one monomial, with what is free of x in front."""
        inside, outside = {}, {}
        for base, e in term.powers.items():
            still, moving = (ZERO, e) if base.has(x) else e.as_independent(x, as_Add=True)
            if moving != 0:
                inside[base] = moving
            if still != 0:
                outside[base] = still
        if not inside:
            total = self.terms(m, scope)
        else:
            body = self.tree([Term(ONE, inside)])
            depth = 1 + max((int(y.args[1].name[1:]) for y in body.atoms(Block)), default=0)
            name = sp.Symbol(f"#{depth}", integer=True)        # deeper blocks have smaller numbers: no name is captured
            total = [Term(ONE, {Block(body.xreplace({x: name}), name, m): ONE})]
        return [self.times(Term(term.coefficient, outside), y) for y in total]

    @staticmethod
    def least(m, scope):
        """A number that m is never below; None if there is none, or it cannot be told."""
        for x, count in reversed(scope):               # 0 <= x <= count - 1
            c = m.coeff(x)
            if (m - c * x).has(x) or not c.is_Integer:
                return None
            m = sp.expand(m - c * x + (c * (count - 1) if c < 0 else 0))
        for x in m.free_symbols:
            c = m.coeff(x)
            if not c.is_Integer or c < 0 or not x.is_integer or not x.is_nonnegative or sp.expand(m - c * x).has(x):
                return None
            m = sp.expand(m - c * x + (c if x.is_positive else 0))
        return m if m.is_Integer else None

    # -- the normal form -----------------------------------------------------------------------------
    @staticmethod
    def collect(terms):
        table = {}
        for c, powers in terms:
            key = frozenset(powers.items())
            table[key] = table.get(key, ZERO) + c
        return [Term(c, dict(key)) for key, c in table.items() if c != 0]

    @staticmethod
    def denominators(terms):
        """A sum that stands in a denominator, and the power that clears it; None if there is none."""
        powers = [pair for term in terms for pair in term.powers.items()]
        found = [(base, -e) for base, e in powers if base.is_Add and e.is_Integer and e < 0]
        return max(((base, e) for base, e in found if base == found[0][0]), key=lambda pair: pair[1], default=None)

    def cleared(self, term, base, e):
        """The term times base^e, multiplied out."""
        rest = {x: power for x, power in term.powers.items() if x != base}
        return self.product([[Term(term.coefficient, rest)], self.terms(base**(e + term.powers.get(base, ZERO)), ())])

    @staticmethod
    def tree(terms):
        return sp.Add(*[sp.Mul(c, *[base**e for base, e in powers.items()]) for c, powers in terms])


def display(e):
    """Blocks as sums again."""
    if not e.args or not e.has(Block, Upto):
        return e
    if isinstance(e, Upto):
        factor, m = e.args
        return sp.Product(factor.xreplace({HERE: L.i}), (L.i, 0, display(m) - 1))
    if isinstance(e, Block):
        body, x, m = e.args
        index = sp.Symbol("ijxyz"[int(x.name[1:]) % 5 - 1], integer=True)
        return sp.Sum(display(body.xreplace({x: index})), (index, 0, display(m) - 1))
    return e.func(*map(display, e.args))


class Induction:
    """Decide an equation for every whole number n ≥ base. `given`: definitions to unfold besides those of the book; the page
    says them if they are `shown`.

    `Induction(T, base=t)` proves what holds from any time t up to any last time T ≥ t.
    """

    level = "P"

    def __init__(self, n, base=0, given=(), definitions=STANDARD, shown=False):
        if not (isinstance(n, sp.Symbol) and n.is_integer):
            raise TypeError(f"an induction runs over a whole number such as n, t or T, not {n}")
        self.n, self.base, self.given, self.shown = n, sp.sympify(base), tuple(given), shown
        self.unfold = Unfolding(given, definitions.values())
        self.condition = self.unfold.condition if shown else str       # what the page says besides the equation
        self.unfold_sums = Unfolding(given, [x for x in definitions.values() if x.body.has(sp.Sum)])

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Induction(self.n, self.base, self.given, definitions, self.shown)

    def describe(self):
        return f"proved for every {text(self.n)} ≥ {text(self.base)}, by induction" + self.unfold.describe()

    def __call__(self, lhs, rhs):
        k, difference = sp.Dummy("k", integer=True, nonnegative=True), sp.sympify(lhs) - sp.sympify(rhs)
        z, normal = self.at(difference, self.unfold, k), Normal()
        unproved = None
        try:
            if not normal(z(0)) and not normal(z(k + 1) - z(k)):
                return 0
        except Undecided as why:
            unproved = why
        coarse = self.at(difference, self.unfold_sums, k)
        return self.counterexample(z, coarse, normal, unproved)

    def at(self, difference, unfold, k):
        """The difference at n = base + k, as a function of k. (Definitions may bring in sums: fresh names once more.)"""
        tree = fresh(unfold(fresh(difference))).xreplace({self.n: self.base + k})
        return lambda value: tree.xreplace({k: sp.sympify(value)})

    def counterexample(self, z, coarse, normal, unproved):
        """The first n at which the difference is not 0; if there is none, with whole numbers for the other indices."""
        others = sorted((x for x in z(0).free_symbols if x.is_integer), key=str)[:2]
        for numbers in [(), *itertools.product((1, 0, 2), repeat=len(others))]:
            where = dict(zip(others, map(sp.Integer, numbers), strict=False))
            for value in range(4):
                try:
                    rest = normal(z(value).xreplace(where))
                except Undecided as why:
                    unproved = unproved or why
                    continue
                if rest and all(independent(base) and not base.has(Block) for term in rest for base in term.powers):
                    short = normal(coarse(value).xreplace(where))      # in terms of δ[t], which is defined without a sum
                    rest = short if 0 < len(short) < len(rest) else rest
                    at = (self.base + value).xreplace(where)
                    return Counterexample(display(normal.tree(rest)), {self.n: at, **where})
        if unproved is not None:
            raise unproved
        step = normal(z(sp.Symbol("k", integer=True, nonnegative=True)))
        left = text(display(normal.tree(step)))
        raise Undecided(f"not proved, and true for the first values of {text(self.n)}; the difference is {left}"[:600])
