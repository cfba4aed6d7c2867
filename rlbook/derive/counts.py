"""A reader for pass@k: formulas with binomial coefficients. Level P, for all whole numbers 1 ≤ k ≤ n, 0 ≤ c ≤ n and 0 < p < 1;
a free j is one of 0, ..., k - 1.

The rules are

    E over c ~ Bin(n, p) of X = Σ_{c=0}^{n} C(n, c) p^c (1 - p)^(n - c) X
    C(N - c, K) = C(N, K) C(N - K, c) / C(N, c)                     0 ≤ c ≤ N, 0 ≤ K ≤ N; both are 0 where c > N - K
    Σ_{c=0}^{M} C(N, c) c (c - 1) ... (c - m + 1) x^c = N (N - 1) ... (N - m + 1) x^m (1 + x)^(N - m)       M ≥ N ≥ 0, x > 0
    Π_{j=0}^{K-1} (N - j) = C(N, K) K!                              N ≥ 0
    C(N, m) = N (N - 1) ... (N - m + 1) / m!                        N ≥ 0, for a number m
    Var X = E X² - (E X)²
    x^(a + b) = x^a x^b, (x y)^a = x^a y^a                          x, y > 0

After them every power, factorial and binomial coefficient is a letter, and the difference of the two sides, as one fraction in
lowest terms, is 0 or not. What is below a fraction bar must not be 0 anywhere in the range. A difference that is not 0
is looked for at small numbers, by enumeration with exact fractions; where none is found the equation is `Undecided`.
"""
import itertools
import math

import sympy as sp
from sympy.functions.combinatorial.numbers import stirling

from . import language as L
from .advantages import rate
from .algebra import Counterexample, fresh, rebuild
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .passk import Bin, pass_k, right
from .plain import text

ONE = sp.Integer(1)
MORE, STEPS, REST = (sp.Dummy(name, nonnegative=True) for name in ("more", "steps", "rest"))
ODDS = sp.Dummy("odds", positive=True)


class Counts:
    """Decide an equation about n completions, c of them right. `k`: one number in place of every k."""

    level = "P"

    def __init__(self, k=None, definitions=STANDARD):
        if k is not None and (type(k) is not int or k < 1):
            raise ValueError(f"k is a whole number from 1 on, not {k!r}")
        self.k, self.definitions = k, definitions

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Counts(self.k, definitions)

    def describe(self):
        sizes = "every 1 ≤ k ≤ n" if self.k is None else f"every n ≥ k = {self.k}"
        return f"proved for {sizes} and every p between 0 and 1, by the binomial theorem"

    def condition(self):
        """What the page says besides the equation."""
        return "" if self.k is None else f"k = {self.k}"

    def __call__(self, lhs, rhs):
        sides = [self.written_out(fresh(sp.sympify(x))) for x in (lhs, rhs)]
        least = self.k or 1
        found = counterexample(self.k, *sides, range(least, least + 2))
        if found is not None:
            return found
        try:
            reader = Reader(self.k)
            one, other = map(reader.read, sides)
            if sp.cancel(sp.together(one - other)) == 0:
                return 0
            why = ""
        except Undecided as reason:                    # false at small numbers, or not decided
            why = f": {reason}"
        found = counterexample(self.k, *sides, range(least + 2, least + 4))
        if found is None:
            raise Undecided(f"neither proved nor refuted: {text(lhs)} = {text(rhs)}{why}")
        return found

    def written_out(self, e):
        """The tree without names: pass@k by its definition, a mean as a sum, one number for k."""
        if e == L.k and self.k is not None:
            return sp.Integer(self.k)
        if e.is_Atom:
            return e
        if isinstance(e, pass_k):
            return self.written_out(self.definitions[pass_k].unfold(*e.args))
        if isinstance(e, L.Under) and isinstance(e.args[1], Bin):
            body, (c, n, p) = e.args[0], e.args[1].args
            if c != right or n.has(c) or p.has(c):
                raise IllFormed(f"a mean over the number of right completions is E(Bin(right, n, p))[X], not {text(e)}")
            return self.written_out(fresh(sp.Sum(sp.binomial(n, c) * p**c * (1 - p)**(n - c) * body, (c, 0, n))))
        if isinstance(e, L.VarianceUnder):
            body, law = e.args
            return self.written_out(L.Under(body**2, law) - L.Under(body, law)**2)
        if isinstance(e, L.Operator | L.Head):
            raise IllFormed(f"{text(e)} has no meaning for a number of right completions")
        return rebuild(e, map(self.written_out, e.args))


class Reader:
    """A tree as a rational function of its symbols and of letters."""

    def __init__(self, k):
        self.k, self.letters, self.trees = k, {}, {}
        self.range = {L.j: (sp.Integer(0), (L.k if k is None else sp.Integer(k)) - 1)}

    def letter(self, tree, **signs):
        if tree not in self.letters:
            self.letters[tree] = sp.Dummy(f"x{len(self.letters)}", **signs)
            self.trees[self.letters[tree]] = tree
        return self.letters[tree]

    def read(self, e):
        if e.is_Rational or e in (L.n, L.k, right, rate) or e in self.range:
            return e
        if e.is_Add or e.is_Mul:
            return e.func(*map(self.read, e.args))
        if e.is_Pow:
            return self.power(self.read(e.base), e.exp)
        if isinstance(e, sp.binomial):
            return self.choose(*e.args)
        if isinstance(e, sp.Sum | sp.Product) and len(e.limits) == 1:
            return self.sum(e) if isinstance(e, sp.Sum) else self.product(e)
        raise IllFormed(f"{text(e)} has no meaning for a number of right completions")

    # -- what is known of the numbers ----------------------------------------------------------------
    def positive(self, f):
        """Is this positive wherever it is spoken of? False: it does not follow."""
        bound = next((x for x in self.range if f.has(x)), None)
        if bound is not None:                          # linear in it: positive if it is at both ends
            low, high = self.range[bound]
            return bool(f.is_polynomial(bound)) and sp.degree(f, bound) == 1 and all(
                self.positive(sp.expand(f.xreplace({bound: end}))) for end in (low, high))
        return all(self.surely(f.xreplace(x)) for x in self.orders(f.has(right)))

    def orders(self, of_right):
        """Substitutions by nonnegative numbers that reach every k ≤ n, and every c ≤ n."""
        k = 1 + MORE if self.k is None else sp.Integer(self.k)
        if not of_right:
            return [{L.n: k + REST, L.k: k}]
        fewer = [{L.n: right + STEPS + REST, L.k: right + STEPS}] if self.k is None else [
            {L.n: k + REST, right: sp.Integer(c)} for c in range(self.k)]
        return [{L.n: k + STEPS + REST, L.k: k, right: k + STEPS}, *fewer]

    @staticmethod
    def surely(f):
        """The same of a function of nonnegative symbols and letters."""
        f = f.xreplace({right: sp.Dummy("c", nonnegative=True), rate: ODDS / (1 + ODDS)})
        parts = map(sp.expand, sp.fraction(sp.together(f)))
        return all(x.is_positive for x in parts)

    def at_least(self, e, number=0):
        return self.positive(sp.expand(e - number + 1))    # (whole numbers)

    def need(self, yes, what):
        if not yes:
            raise Undecided(f"it does not follow that {what}")

    def factors(self, f):
        """(number, {factor: exponent}) of a rational function."""
        above, below = sp.fraction(sp.cancel(sp.together(f)))
        (number, over), (other, under) = sp.factor_list(above), sp.factor_list(below)
        out = {}
        for x, m in [*over, *((y, -m) for y, m in under)]:
            if self.positive(-x):
                x, number = sp.expand(-x), number * (-1)**m
            out[x] = out.get(x, 0) + m
        return sp.Rational(number, other), out

    # -- powers and binomial coefficients ------------------------------------------------------------
    def power(self, base, exponent):
        exponent = sp.expand(exponent)
        if not exponent.is_integer:
            raise IllFormed(f"the exponent {text(exponent)} is no whole number")
        if base == 0:
            self.need(self.at_least(exponent, 1), f"{text(exponent)} is positive")
            return base
        if exponent.is_Integer and exponent > 0:
            return base**exponent
        number, factors = self.factors(base)
        signs = all(map(self.positive, factors))
        if exponent.is_Integer:
            self.need(number != 0 and signs, f"{text(self.shown(base))} is not 0")
            return base**exponent
        self.need(number > 0 and signs, f"{text(self.shown(base))} is positive")
        factors = {**factors, **{sp.Integer(x): m for x, m in sp.factorrat(number).items()}} if number != 1 else factors
        return sp.Mul(*[self.letter(sp.Pow(x, y, evaluate=False), positive=True)**(m * c) if y != 1 else x**(m * c)
                        for x, m in factors.items() for y, c in exponent.as_coefficients_dict().items()])

    def shown(self, e):
        return e.xreplace(self.trees)

    def choose(self, above, below):
        above, below = sp.expand(above), sp.expand(below)
        known = all(x.is_integer and self.at_least(x) for x in (above, below))
        self.need(known, f"C({text(above)}, {text(below)}) has whole numbers from 0 on")
        if below.is_Integer:
            return falling(above, int(below)) / math.factorial(below)
        if above == below:
            return ONE
        inside = self.at_least(above - below)
        for c in (x for x in (right, *self.range) if above.coeff(x) == -1 and not below.has(x)):
            total = above + c
            if self.at_least(c) and self.at_least(total - below):
                return self.choose(total, below) * self.choose(total - below, c) / self.choose(total, c)
        return self.letter(Choose(above, below), **{"positive" if inside else "nonnegative": True})

    def product(self, e):
        """Π over j of factors N - j, and of what is free of j."""
        body, (j, low, high) = e.args
        size = sp.expand(high + 1)
        self.need(low == 0 and size.is_integer and self.at_least(size), f"{text(e)} runs from 0 on")
        number, factors = self.factors(self.inside(body, j, low, high))
        out, signs = ONE, number
        for x, m in factors.items():
            if not self.shown(x).has(j):
                out *= self.power(x**m, size)
                continue
            slope = sp.diff(x, j)
            self.need(slope in (1, -1), f"{text(x)} is a number minus {text(j)}")
            signs *= (-slope)**m
            factorial = self.letter(sp.factorial(size), positive=True) if not size.is_Integer else math.factorial(size)
            out *= (self.choose(-x.xreplace({j: sp.Integer(0)}) * slope, size) * factorial)**m
        return out * (self.power(signs, size) if signs != 1 else 1)

    def inside(self, body, x, low, high):
        self.range[x] = low, sp.expand(high)
        try:
            return self.read(body)
        finally:
            del self.range[x]

    # -- sums ----------------------------------------------------------------------------------------
    def sum(self, e):
        """Σ over c, each of its terms by the binomial theorem."""
        body, (c, low, high) = e.args
        self.need(low == 0 and high.is_integer and self.at_least(high), f"{text(e)} runs from 0 on")
        above, below = sp.fraction(sp.cancel(sp.together(self.inside(body, c, low, high))))
        own = [x for x in above.free_symbols | below.free_symbols if self.shown(x).has(c)]
        over, under = (sp.Poly(x, *own).terms() if own else [((), x)] for x in (above, below))
        self.need(len(under) == 1, f"{text(e)} has no sum with {text(c)} below")
        (less, divisor), = under
        return sp.Add(*[self.theorem({x: m - l for x, m, l in zip(own, powers, less, strict=True) if m != l}, c, sp.expand(high))
                        * rest / divisor for powers, rest in over])

    def theorem(self, powers, c, high):
        """Σ_{c=0}^{high} of a product of powers of letters that hold c."""
        degree, ratio, sizes = 0, ONE, []
        for x, m in powers.items():
            tree = self.trees.get(x)
            if x == c or isinstance(tree, Choose):
                self.need(m > 0, f"{text(self.shown(x))} is not below")
                degree, sizes = (m, sizes) if x == c else (degree, sizes + [tree.args] * m)
            else:
                self.need(tree.is_Pow and tree.exp == c, f"{text(self.shown(x))} is a power of a number")
                ratio *= tree.base**m
        self.need(len(sizes) == 1 and sizes[0][1] == c and not sizes[0][0].has(c), "the sum is one of the binomial theorem")
        size = sizes[0][0]
        self.need(self.at_least(high - size), f"all terms of C({text(size)}, {text(c)}) are there")
        return sp.Add(*[stirling(degree, m) * falling(size, m) * ratio**m * self.power(1 + ratio, size - m)
                        for m in range(degree + 1)])


class Choose(sp.Function):
    """C(N, K) of whole numbers from 0 on; 0 where K > N."""


def falling(n, m):
    """n (n - 1) ... (n - m + 1)"""
    return sp.Mul(*[n - x for x in range(m)])


# -- numbers that refute -----------------------------------------------------------------------------
def counterexample(k, lhs, rhs, sizes):
    """The first n, k, c and p at which the two sides differ, by enumeration; None if they agree for these n."""
    free = (lhs.free_symbols | rhs.free_symbols) - {L.n, L.k, L.j, right, rate}
    if free:
        raise IllFormed(f"{text(min(free, key=str))} has no meaning for a number of right completions")
    has = {x for x in (L.n, L.k, L.j, right, rate) if lhs.has(x) or rhs.has(x)}
    has |= {L.k} if L.j in has and k is None else set()
    for n in sizes:
        numbers = {L.n: [n], L.k: range(1, n + 1), L.j: range(k or n), right: range(n + 1),
                   rate: [sp.Rational(1, 2), sp.Rational(1, 3)]}
        names = [x for x in numbers if x in has]
        for values in itertools.product(*(numbers[x] for x in names)):
            where = dict(zip(names, map(sp.sympify, values), strict=True))
            if where.get(L.j, 0) >= where.get(L.k, n + 1):
                continue
            difference = value(lhs, where) - value(rhs, where)
            if difference != 0:
                return Counterexample(difference, where | ({} if k is None else {L.k: sp.Integer(k)}))
    return None


def value(e, env):
    """The value of a tree, all of whose names have one."""
    if e.is_Rational:
        return e
    if e.is_Symbol:
        if e not in env:
            raise IllFormed(f"{text(e)} has no value")
        return env[e]
    if isinstance(e, sp.Sum | sp.Product):
        x, *ends = e.limits[0]
        low, high = (whole(y, env) for y in ends)
        each = [value(e.function, {**env, x: sp.Integer(v)}) for v in range(low, high + 1)]
        return sp.Add(*each) if isinstance(e, sp.Sum) else sp.Mul(*each)
    if isinstance(e, sp.binomial):
        return sp.Integer(math.comb(*(whole(x, env, least=0) for x in e.args)))
    args = [value(x, env) for x in e.args]
    if e.is_Pow and args[0] == 0 and args[1] < 0:
        raise IllFormed("division by zero")
    if not (e.is_Add or e.is_Mul or e.is_Pow):
        raise IllFormed(f"{text(e)} has no meaning for a number of right completions")
    return e.func(*args)


def whole(e, env, least=None):
    number = value(e, env)
    if not number.is_Integer or least is not None and number < least:
        raise IllFormed(f"{text(e)} is no whole number{'' if least is None else f' from {least} on'} at {env}")
    return int(number)
