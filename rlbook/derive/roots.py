"""`IID` with square roots of sums, and sums of many variables. Level P.

    X^(n/2) = X^((n + 1)/2) ι   with ι = X^(-1/2)
    ι² = 1/X                    of what stands outside of means and sums, where X is not 0
    (c X)^(n/2) = c^(n/2) X^(n/2)       c > 0, a number or a rational function of G ≥ 2 and 0 < p < 1
    1/(c + sqrt(X) + ...)       c > 0: a letter; it is never 0 below the bar
"""
import functools

import sympy as sp

from . import advantages as K
from . import language as L
from .errors import IllFormed
from .samples import IID
from .sums import ONE, Sums, Term

HALF, MANY = sp.Rational(1, 2), 1000
MORE, ODDS = sp.symbols("more odds", positive=True)    # G = 1 + more, p = odds / (1 + odds)


class InverseRoot(L.Operator):
    """X^(-1/2)"""

    def _latex(self, printer):
        return r"\frac{1}{\sqrt{%s}}" % printer._print(self.args[0])


class Reciprocal(L.Operator):
    """1/X of a sum that is positive."""

    def _latex(self, printer):
        return r"\frac{1}{%s}" % printer._print(self.args[0])


class Roots(IID):
    """`IID`, where X^(1/2), X^(-1/2), ... of a sum X have a normal form."""

    def __init__(self, **options):
        super().__init__(**options)
        self.known = {}                                # what was found once: roots, and what a subclass adds

    def once(self, e, find):
        """The terms of a tree; found once, and given out with variables of their own."""
        if e.atoms(sp.Dummy):
            return find()
        if e not in self.known:
            if len(self.known) > MANY:
                self.known.clear()
            self.known[e] = find()
        return [renamed(x) for x in self.known[e]]

    def own_names(self, e):
        """A letter under the names that its normal form has: a sum around it may have replaced them."""
        if not any(limits[0].is_Dummy for x in e.atoms(sp.Sum) for limits in x.limits):
            return e
        if isinstance(e, InverseRoot | Reciprocal):
            return e.func(self.tree(self.normal(e.args[0])))
        return e.replace(lambda x: isinstance(x, InverseRoot | Reciprocal), self.own_names)

    def power(self, e):
        if e.exp.is_Rational and (2 * e.exp).is_Integer and not e.exp.is_Integer:
            return self.once(e, lambda: self.root(self.normal(e.base), e.exp))
        if e.exp.is_Integer and e.exp < 0 and e.base.is_Add and e.base.has(L.r) and surely_positive(e.base):
            return [Term(ONE, (), {Reciprocal(self.tree(self.normal(e.base))): -e.exp})]
        return super().power(e)

    def root(self, table, exponent):
        """X^exponent of a normal form, where the exponent is half of an odd number."""
        if not table:
            if exponent < 0:
                raise IllFormed("division by zero")
            return []
        if not any(names or powers for _, names, powers in table.values()):
            return self.root_of_number(sp.Add(*[c for c, _, _ in table.values()]), exponent)
        scale = next((table[key][0] for key in sorted(table) if positive(table[key][0])), ONE)
        scaled = {key: (sp.cancel(c / scale), names, powers) for key, (c, names, powers) in table.items()}
        return self.product([self.root_of_number(scale, exponent), self.half(self.tree(scaled), exponent)])

    def root_of_number(self, c, exponent):
        """The same of a number or a rational function of p, G, ...: positive factors have a root of their own."""
        above, below = sp.fraction(sp.cancel(sp.together(c)))
        (number, factors), (other, divisors) = sp.factor_list(above), sp.factor_list(below)
        number, rest, out = number / other, ONE, []
        for factor, n in [*factors, *((x, -n) for x, n in divisors)]:
            if positive(-factor):
                factor, number = -factor, number * (-1)**n
            if positive(factor):
                power = n * exponent
                out.append(self.terms(factor**power) if power.is_Integer else self.half(factor, power))
            else:
                rest *= factor**n
        if number < 0:
            number, rest = -number, -rest
        out.append([Term(number**exponent, (), {})])
        return self.product(out if rest == 1 else [*out, self.half(rest, exponent)])

    def half(self, x, exponent):
        """X^(n/2) by whole powers of X and X^(-1/2)."""
        n, letter = int(2 * exponent), InverseRoot(x)
        if n < 0:
            return [Term(ONE, (), {letter: sp.Integer(-n)})]
        whole = [self.terms(x) for _ in range((n + 1) // 2)]   # each with its own variables
        return self.product([*whole, [Term(ONE, (), {letter: ONE})]])

    def cleared(self, table):
        """The normal form times every sum that stands in a denominator, with at most one root of each X."""
        while True:
            table = super().cleared(self.collect([y for x in table.values() for y in self.whole(renamed(x))]))
            if all(e < 2 for _, names, powers in table.values() for x, e in powers.items() if self.closed(x, names)):
                return table

    @staticmethod
    def denominator(table):
        """As in `Sums`; of rewards that are written out as well."""
        own = [(x, -e) for _, _, powers in table.values() for x, e in powers.items() if x.is_Add and x.has(L.r) and e < 0]
        return Sums.denominator(table) or max((y for y in own if y[0] == own[0][0]), key=lambda y: y[1], default=None)

    @staticmethod
    def closed(base, bound):
        """Is this a root of one number? (That of k (G - k), with k bound, is 0 at some places.)"""
        return isinstance(base, InverseRoot) and not (bound and base.has(*bound))

    def whole(self, term):
        """ι² = 1/X."""
        found = [x for x, e in term.powers.items() if self.closed(x, term.bound) and e > 1]
        out = [[Term(term.coefficient, term.bound, {x: e for x, e in term.powers.items() if x not in found})]]
        for x in found:
            n = int(term.powers[x])
            out += [self.terms(x.args[0]**-(n // 2)), [Term(ONE, (), {x: ONE} if n % 2 else {})]]
        return self.product(out)

    @staticmethod
    def canonical(bound, powers):
        """As in `Sums`; where no factor holds two bound variables, each is placed by its own factors."""
        places = {x: [base for base, e in powers.items() if base.has(x) or e.has(x)] for x in bound}
        if sum(map(len, places.values())) != len(set().union(*places.values())):
            return Sums.canonical(bound, powers)
        blank = {x: sp.Symbol(x.name) for x in bound}

        def own(x):
            return x.name, sorted(written(base.xreplace(blank)) + written(powers[base].xreplace(blank)) for base in places[x])

        names, count = {}, {}
        for x in sorted(bound, key=own):
            count[x.name] = count.get(x.name, 0) + 1
            names[x] = sp.Symbol(f"{x.name}#{count[x.name]}")
        named = {base.xreplace(names): e.xreplace(names) for base, e in powers.items()}
        key = tuple(sorted(x.name for x in names.values())), tuple(sorted((written(x), written(e)) for x, e in named.items()))
        return key, tuple(names.values()), named


def written(e):
    return sp.srepr(e, order="none")


@functools.cache
def positive(x):
    """Is this positive for 0 < p < 1 and G ≥ 2?"""
    if x.is_positive:
        return True
    above, below = sp.fraction(sp.together(x.xreplace({L.G: 1 + MORE, K.rate: ODDS / (1 + ODDS)})))
    return bool(sp.expand(above).is_positive and sp.expand(below).is_positive)


def renamed(entry):
    """A term with variables of its own."""
    c, names, powers = entry
    new = {x: sp.Dummy(x.name.rpartition("#")[0] or x.name) for x in names}
    return Term(c, tuple(new.values()), {x.xreplace(new): e.xreplace(new) for x, e in powers.items()})


def surely_positive(e):
    """A positive number plus roots."""
    numbers = [x for x in e.args if not x.has(L.r)]
    roots = [x for x in e.args if x.has(L.r)]
    factors = [[y for y in sp.Mul.make_args(x) if y.has(L.r)] for x in roots]
    signs = [sp.Mul(*[y for y in sp.Mul.make_args(x) if not y.has(L.r)]) for x in roots]
    return sp.Add(*numbers).is_positive and all(len(x) == 1 and x[0].is_Pow and x[0].exp == HALF for x in factors) and all(
        x.is_positive for x in signs)
