"""The eighth reader: expectations under the normal distribution N(0, 1). Level P, for all values of the parameters.

`E(standard_normal(x))[f]` is exact for f in the class of sums of

    (a polynomial in x) * e^(c x + d),        c, d polynomials in the parameters, such as μ.

The rules are

    E[x^n] = (n - 1)!! for even n, 0 for odd n
    E[f(x) e^(c x + d)] = e^(d + c²/2) E[f(x + c)]          complete the square
    Var[f] = E[f²] - E[f]²
    e^m e^m' = e^(m + m'),    log e^m = m              (the parameters are real)

The normal form of an expression is a table {m: coefficient} for Σ coefficient * e^m, with m a polynomial and the
coefficient a rational function over the rationals (`cancel`). Exponentials of different polynomials are linearly
independent over these functions (where m - m' is a number, that is the theorem of Lindemann and Weierstrass), so the
table is empty exactly if the expression is 0: what is not proved is false.
"""
import sympy as sp

from . import language as L
from .algebra import Counterexample, Unfolding
from .definitions import redefined
from .errors import IllFormed
from .plain import text

ONE, ZERO = sp.Integer(1), sp.Integer(0)

standard_normal = L.head("standard_normal", r"\mathcal{N}(0, 1)", 20, L.MID, L.Distribution)


class Gaussian:
    """Decide an equation between means and variances under `standard_normal(x)`. `given`: definitions to unfold."""

    level = "P"

    def __init__(self, given=()):
        self.given, self.unfold = list(given), Unfolding(given)

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Gaussian(redefined(self.given, definitions))

    def describe(self):
        return "proved for all values of the parameters, by the exact moments of the normal distribution"

    def __call__(self, lhs, rhs):
        table = self.read(self.unfold(sp.sympify(lhs) - sp.sympify(rhs)))
        return Counterexample(self.tree(table), {}) if table else 0

    # -- a tree as a table ---------------------------------------------------------------------------
    def read(self, e):
        if e.is_Rational or e.is_Symbol:
            return collect([(ZERO, e)])
        if e.is_Add:
            return collect(pair for x in e.args for pair in self.read(x).items())
        if e.is_Mul:
            return product(map(self.read, e.args))
        if e.is_Pow and e.exp.is_Integer:
            return product([self.read(e.base) if e.exp > 0 else self.inverse(e.base)] * abs(int(e.exp)))
        if isinstance(e, sp.exp):
            return collect([(self.polynomial(self.read(e.args[0]), e), ONE)])
        if isinstance(e, sp.log):
            return collect([(ZERO, self.exponent(self.read(e.args[0]), e))])
        if isinstance(e, L.Under):
            return self.expectation(*e.args)
        if isinstance(e, L.VarianceUnder):
            body, law = e.args
            return self.read(L.Under(body**2, law) - L.Under(body, law)**2)
        raise IllFormed(f"{text(e)} is no polynomial times an exponential, and no expectation of one")

    def inverse(self, e):
        """1 / (c e^m) = c^(-1) e^(-m)."""
        table = self.read(e)
        if not table:
            raise IllFormed("division by zero")
        if len(table) > 1:
            raise IllFormed(f"1 / ({text(e)}): a sum of exponentials stands below")
        (m, c), = table.items()
        return collect([(-m, 1 / c)])

    @staticmethod
    def polynomial(table, e):
        """The exponent m of e^m."""
        if set(table) - {ZERO}:
            raise IllFormed(f"an exponential in the exponent of {text(e)}")
        m = table.get(ZERO, ZERO)
        if not m.is_polynomial(*m.free_symbols):
            raise IllFormed(f"the exponent of {text(e)} is no polynomial")
        return m

    @staticmethod
    def exponent(table, e):
        """log e^m = m."""
        if len(table) != 1 or set(table.values()) != {ONE}:
            raise IllFormed(f"{text(e)}: only the logarithm of one exponential is in the class")
        return next(iter(table))

    # -- expectations --------------------------------------------------------------------------------
    def expectation(self, body, law):
        if not isinstance(law, standard_normal) or not law.args[0].is_Symbol:
            raise IllFormed(f"the law must be standard_normal(x), not {text(law)}")
        x, = law.args
        return collect(self.moment(m, c, x) for m, c in self.read(body).items())

    @staticmethod
    def moment(m, c, x):
        """E[c(x) e^m(x)] as (exponent, coefficient)."""
        if not c.is_polynomial(x) or sp.degree(m, x) > 1:
            raise IllFormed(f"{text(c * sp.exp(m))} is no polynomial in {text(x)} times e to a linear function of it")
        slope, rest = m.coeff(x, 1), m.coeff(x, 0)
        shifted = sp.Poly(c.xreplace({x: x + slope}), x)
        value = sum((q * double_factorial(n - 1) for (n,), q in shifted.terms() if n % 2 == 0), ZERO)
        return sp.expand(rest + slope**2 / 2), value

    @staticmethod
    def tree(table):
        return sp.Add(*[c * sp.exp(m) for m, c in table.items()])


def double_factorial(n):
    """n!! = n (n - 2) ... 1 for odd n; (-1)!! = 1."""
    out = ONE
    for k in range(3, n + 1, 2):
        out *= k
    return out


def product(tables):
    out = {ZERO: ONE}
    for table in tables:
        out = collect((m + other, c * d) for m, c in out.items() for other, d in table.items())
    return out


def collect(pairs):
    """The table of Σ c e^m, both in normal form; empty for 0."""
    table = {}
    for m, c in pairs:
        m = sp.expand(m)
        table[m] = table.get(m, ZERO) + c
    table = {m: sp.cancel(sp.together(c)) for m, c in table.items()}
    return {m: c for m, c in table.items() if c != 0}
