"""`Gaussian` for a normal policy: the logarithms of σ and of numbers as letters, and the book's definitions. Level P.

To the rules of `Gaussian` it adds

    log(c x^n) = log c + n log x        x a positive symbol; log σ, log 2, log π and so on are letters of their own

which may stand anywhere but in an exponent or under a mean's variable: σ and log σ are algebraically independent, so the
normal form is still empty exactly for 0.
"""
import sympy as sp

from . import language as L
from .calculus import formulas
from .definitions import STANDARD
from .errors import IllFormed
from .gaussian import ONE, ZERO, Gaussian, collect
from .plain import text
from .terms import g_μ, g_ς, log_normal

DEFINED = g_μ, g_ς, log_normal


class NormalPolicy(Gaussian):
    """Decide an equation between means under `standard_normal(x)`, where a = μ + σ x is an action."""

    def __init__(self, given=(), definitions=STANDARD):
        super().__init__(formulas(given, definitions, DEFINED))
        self.given, self.letters = tuple(given), {}

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return NormalPolicy(self.given, definitions)

    def read(self, e):
        if e.is_NumberSymbol and e != sp.E:
            return collect([(ZERO, self.letter(e))])
        if isinstance(e, sp.log) and not e.has(sp.exp, L.Operator, L.Head, sp.E):
            return collect([(ZERO, self.logarithm(e.args[0], e))])
        if isinstance(e, sp.log) and e.has(sp.E) and not e.has(L.Operator, L.Head) and e.args[0].is_Mul:
            parts = [sp.log(x) if x != sp.E else ONE for x in e.args[0].args]
            return collect(pair for x in parts for pair in self.read(x).items())
        return super().read(e)

    def letter(self, e):
        return self.letters.setdefault(e, sp.Dummy(text(e), real=True))

    def logarithm(self, x, e):
        out = ZERO
        for factor in sp.Mul.make_args(x):
            base, power = factor.as_base_exp()
            if not (base.is_positive and (base.is_Symbol or base.is_Rational or base.is_NumberSymbol) and power.is_Rational):
                raise IllFormed(f"{text(e)}: {text(base)} must be a positive number or symbol")
            out += power * self.primes(base)
        return out

    def primes(self, base):
        if not base.is_Rational:
            return self.letter(sp.log(base))
        parts = [*sp.factorint(base.p).items(), *((x, -n) for x, n in sp.factorint(base.q).items())]
        return sp.Add(*[n * self.letter(sp.log(x)) for x, n in parts if x != 1])

    def moment(self, m, c, x):
        if sp.log(x) in self.letters and c.has(self.letters[sp.log(x)]):
            raise IllFormed(f"log {text(x)} under a mean over {text(x)}, which may be negative")
        return super().moment(m, c, x)

    def polynomial(self, table, e):
        m = super().polynomial(table, e)
        if m.has(*self.letters.values()):
            raise IllFormed(f"a logarithm in the exponent of {text(e)}")
        return m
