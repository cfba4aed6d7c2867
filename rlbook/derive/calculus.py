"""The ninth reader: formulas with exponentials, logarithms and derivatives. Level P, for all values of the symbols.

An equation is built from symbols, V(s), r(y), ... by +, *, /, whole powers, exp, log, and two kinds of derivative:

    grad(X, x)      ∂X/∂x along a symbol
    grad(X, φ)      ∇_φ X, where the functions with parameters φ (`terms.Learned`) vary, each with a gradient of its own

All symbols and functions are real. The rules are

    sum, product, chain             of differentiation; sg[X] has the value X and the derivative 0
    e^(m + m') = e^m e^m'           m, m' whole multiples of a term;  e^(n log X) = X^n
    log(X Y) = log X + log Y        where X > 0 is known: a positive symbol, a number, a power of e, a sum of such
    log X^n = n log X               X > 0;  log e^m = m

After them every atom is a letter and the difference of the two sides, as one fraction in lowest terms (`cancel`), is 0 or
not. Letters such as x, e^x and log x are related, so a difference that is not 0 is refuted at a point, or `Undecided`.
"""
import sympy as sp

from . import language as L
from .algebra import Algebra, Counterexample, Unfolding, not_zero_at, operators
from .definitions import STANDARD
from .dependence import held_along
from .errors import IllFormed, Undecided
from .plain import text
from .terms import LRM, LV, Learned, g_μ, g_ς, log_normal, prefers, σ

FORMULAS = LRM, LV, g_μ, g_ς, log_normal, prefers, σ       # the definitions of the book that are used here
NAMED = L.Head | sp.Indexed | L.Grad | L.StopGradient  # what is one letter


def formulas(given, definitions, heads=FORMULAS):
    """Those of the author, and those of the book where the author says nothing else."""
    own = {Unfolding.key(sp.sympify(Unfolding.sides(x)[0])) for x in given}
    return [*given, *(definitions[head] for head in heads if head not in own)]


def named(e):
    """The largest subtrees that are letters."""
    if isinstance(e, NAMED):
        return {e}
    return set().union(*map(named, e.args)) if e.args else set()


class Calculus(Algebra):
    """Decide an equation between formulas. `given`: definitions to unfold besides those of the book."""

    def __init__(self, given=(), definitions=STANDARD):
        super().__init__(formulas(given, definitions))
        self.given = tuple(given)

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Calculus(self.given, definitions)

    def describe(self):
        return "proved for all values of its symbols, by the rules of differentiation and algebra" + self.unfold.describe()

    def __call__(self, lhs, rhs):
        sides = [value(differentiated(self.unfold(sp.sympify(x)))) for x in (lhs, rhs)]
        real = {x: sp.Dummy(real=True) for x in set().union(*map(named, sides))}
        letters = {}
        one, other = (self.rational(x.xreplace(real), letters) for x in sides)
        reduced = sp.cancel(sp.together(one - other))
        if reduced.has(sp.zoo, sp.nan, sp.oo):
            raise IllFormed("division by zero")
        if reduced == 0:
            return 0
        rest = reduced.xreplace({letter: atom for atom, letter in letters.items()})
        found = not_zero_at(rest)
        if found is None:
            raise Undecided(f"neither proved nor refuted: the difference is {text(rest)}")
        names = {letter: x for x, letter in real.items()}
        return Counterexample(found.difference, {names.get(x, x): y for x, y in found.where.items()})

    # -- letters -------------------------------------------------------------------------------------
    def rational(self, e, letters):
        if isinstance(e, sp.exp):                      # (sympy counts the number e among them)
            return sp.Mul(*[self.power_of_e(x, letters) for x in sp.Add.make_args(sp.expand(e.exp))])
        if isinstance(e, sp.log):
            return self.logarithm(e.args[0], letters)
        return super().rational(e, letters)

    def power_of_e(self, x, letters):
        """e^x for one term of an exponent."""
        number, rest = x.as_coeff_Mul()
        if not number.is_Integer:
            raise Undecided(f"e to the power {text(x)} is no whole power of e^({text(rest)})")
        if isinstance(rest, sp.log):
            return self.rational(rest.args[0], letters)**number
        return super().rational(sp.exp(rest), letters)**number

    def logarithm(self, x, letters):
        """log x: its factors, and those of what is left of it in lowest terms."""
        out, rest = self.taken_apart(x, letters, sums=False)
        more, rest = self.taken_apart(sp.factor(sp.cancel(sp.together(rest))), letters, sums=True)
        return out + more + (super().rational(sp.log(rest), letters) if rest != 1 else 0)

    def taken_apart(self, x, letters, sums):
        """The logarithm of the factors that are known to be positive, and the other factors."""
        out, rest = sp.Integer(0), []
        for factor in sp.Mul.make_args(x):
            base, power = (factor, sp.Integer(1)) if isinstance(factor, sp.exp) else factor.as_base_exp()
            if isinstance(base, sp.exp):               # (sympy counts the number e among them)
                out += power * self.rational(base.exp, letters)
            elif base.is_positive and power.is_Rational and (sums or not base.is_Add):
                out += power * self.positive(base, letters)
            else:
                rest.append(factor)
        return out, sp.Mul(*rest)

    def positive(self, base, letters):
        """log of one positive factor; that of a number by its primes."""
        if not base.is_Rational:
            return super().rational(sp.log(base), letters)
        primes = [*sp.factorint(base.p).items(), *((x, -n) for x, n in sp.factorint(base.q).items())]
        return sp.Add(*[n * super(Calculus, self).rational(sp.log(x), letters) for x, n in primes if x != 1])


# -- derivatives -------------------------------------------------------------------------------------
def differentiated(e):
    """The tree, where derivatives are left of functions with parameters only."""
    if isinstance(e, L.Grad):
        if len(e.args) != 2 or not e.args[1].is_Symbol:
            raise IllFormed(f"{text(e)}: a derivative is along a symbol here, as in grad(X, φ)")
        return derivative(differentiated(e.args[0]), e.args[1])
    bad = operators(e, (L.Grad, L.StopGradient)) or next(iter(e.atoms(sp.Min, sp.Max, L.Clip)), None)
    if bad is not None:
        raise IllFormed(f"{type(bad).__name__} has no meaning in formulas: {text(bad)}")
    if e.is_Atom or isinstance(e, L.Head | sp.Indexed):
        return e
    return e.func(*map(differentiated, e.args))


def derivative(e, x):
    """∂e/∂x of a tree without derivatives, but of functions with parameters."""
    letters = {y: sp.Dummy(real=True) for y in named(e)}
    names, inside = {letter: y for y, letter in letters.items()}, e.xreplace(letters)
    if x == L.φ:
        moving = {y: L.Grad(y, x) for y in letters if isinstance(y, Learned | L.Grad)}
        return sp.Add(*[sp.diff(inside, letters[y]) * dy for y, dy in moving.items()]).xreplace(names)
    held = [y for y in letters if (y.has(x, L.Trained) or not held_along(x, y)) and not isinstance(y, L.StopGradient)]
    held += [y for y in inside.free_symbols if y != x and not held_along(x, y)]
    if held:
        raise Undecided(f"nothing is known about the derivative of {text(held[0])}")
    return sp.diff(inside, x).xreplace(names)


def value(e):
    """The tree, where sg[X] is X: once nothing is left to differentiate, only its value counts."""
    if isinstance(e, L.StopGradient):
        return value(e.args[0])
    if e.is_Atom or isinstance(e, L.Head | sp.Indexed | L.Grad):
        return e
    return e.func(*map(value, e.args))
