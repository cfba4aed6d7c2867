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

m ≥ 0 is required of every sum and m ≥ 1 where a rule says so. Both are shown from k ≥ 0 and from the ranges of the
indices around: m is linear in them with whole coefficients, so its least value is at the ends of the ranges. What
cannot be shown is `Undecided`.

What is proved holds for all functions r, V, δ, ... of their indices. Where the proof fails, n = base, ..., base + 3 are
tried, and a difference there (a polynomial in independent atoms) refutes.
"""
from collections import namedtuple

import sympy as sp

from . import language as L
from .algebra import Counterexample, Unfolding, fresh, independent, operators
from .errors import IllFormed, Undecided
from .plain import text

Term = namedtuple("Term", "coefficient powers")        # a number, {base: exponent}

ONE, ZERO = sp.Integer(1), sp.Integer(0)
LONGEST = 60                                           # terms that are written out, at most


class Block(L.Operator):
    """`Block(X, x, m)`: Σ_{x=0}^{m-1} X, for one monomial X."""


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
        return [Term(ONE, {self.atom(e): ONE})]

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

    # -- sums ----------------------------------------------------------------------------------------
    def sum(self, body, x, m, scope):
        """Σ_{x=0}^{m-1} body."""
        least = self.least(m, scope)
        if least is None or least < 0:
            raise Undecided(f"a sum of {text(m)} terms: that this is not negative does not follow")
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
    if not e.args or not e.has(Block):
        return e
    if isinstance(e, Block):
        body, x, m = e.args
        index = sp.Symbol("ijxyz"[int(x.name[1:]) % 5 - 1], integer=True)
        return sp.Sum(display(body.xreplace({x: index})), (index, 0, display(m) - 1))
    return e.func(*map(display, e.args))


class Induction:
    """Decide an equation for every whole number n ≥ base. `given`: definitions to unfold, such as that of δ[t].

    `Induction(T, base=t)` proves what holds from any time t up to any last time T ≥ t.
    """

    level = "P"

    def __init__(self, n, base=0, given=()):
        self.n, self.base, self.unfold = n, sp.sympify(base), Unfolding(given)

    def describe(self):
        return f"proved for every {text(self.n)} ≥ {text(self.base)}, by induction"

    def __call__(self, lhs, rhs):
        k = sp.Dummy("k", integer=True, nonnegative=True)
        difference = self.unfold(fresh(sp.sympify(lhs) - sp.sympify(rhs))).xreplace({self.n: self.base + k})
        if isinstance(difference, sp.Sum) or difference.atoms(sp.Sum):
            difference = fresh(difference)             # (a definition may have brought in sums)
        z, normal = lambda at: difference.xreplace({k: sp.sympify(at)}), Normal()
        unproved = None
        try:
            if not normal(z(0)) and not normal(z(k + 1) - z(k)):
                return 0
        except Undecided as why:
            unproved = why
        return self.counterexample(z, normal, unproved)

    def counterexample(self, z, normal, unproved):
        for value in range(4):
            rest = normal(z(value))
            if rest and all(independent(base) and not base.has(Block) for term in rest for base in term.powers):
                return Counterexample(display(normal.tree(rest)), {self.n: self.base + value})
        if unproved is not None:
            raise unproved
        step = normal(z(sp.Symbol("k", integer=True, nonnegative=True)))
        left = text(display(normal.tree(step)))
        raise Undecided(f"not proved, and true for the first values of {text(self.n)}; the difference is {left}"[:600])
