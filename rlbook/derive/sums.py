"""The second reader: expectations over finite sets of *symbolic* size. Level P, for every size.

A tree is brought to a normal form, a linear combination of multiple sums of monomials

    Σ_k  c_k  Σ_{x1 in X1} ... Σ_{xm in Xm}  Π_j  base_j ^ e_j ,

by these rules and no others (u = ∇ log π is the score, w = ∇ u its derivative):

    linearity, Leibniz, fresh names for bound variables, any order of sums
    Σ_x c = |X| c                              c free of x
    Σ_x 1[x = y] F(x) = F(y)                   y over the same set
    Σ_x p(x | y) = 1                           p a distribution, y free of x, nothing else holds x
    ∇ π = π u,   ∇ u = w,   ∇ log X = (∇ X) / X
    Σ_x π(x | y) u(x | y) = 0                  the derivative of Σ π = 1
    Σ_x π(x | y) w(x | y) = - Σ_x π(x | y) u(x | y)²       and the derivative of that
    a fraction is 0 if its numerator is: a sum in a denominator is multiplied out

‖∇X‖² is any function of what X speaks of.

No size is ever chosen, so what reduces to 0 holds for all finite sets.
"""
from collections import namedtuple
from itertools import permutations

import sympy as sp

from . import language as L
from .below import may_vanish
from .dependence import OF_OLD, Curvature, Score, depends
from .errors import IllFormed, Undecided
from .plain import text

Term = namedtuple("Term", "coefficient bound powers")  # a number, the bound variables, {base: exponent}

SETS = {"a": "actions", "b": "actions", "s": "states", "s'": "states", "x": "outcomes", "tau": "trajectories",
        "v": "tokens", "y": "tokens", "o": "actions", "q": "states"}       # one prompt, one completion of it: a bandit
SIZES = {"actions": r"|\mathcal{A}|", "states": r"|\mathcal{S}|", "outcomes": r"|\mathcal{X}|", "trajectories": r"|\mathcal{T}|",
         "tokens": r"|\mathcal{V}|"}
LETTER = {"actions": "a", "states": "s", "outcomes": "x", "trajectories": "tau", "tokens": "v"}


ONE = sp.Integer(1)


def constant(base):
    """Is this base a scalar, free of everything random?"""
    return not base.has(L.Head, sp.Indexed, sp.log, sp.exp, L.Operator, sp.KroneckerDelta, sp.Sum)


def as_set(domain):
    """The key of a finite set: the name of a set, or the bounds of an index."""
    if isinstance(domain, sp.Symbol):
        letter = domain.name.rstrip("0123456789")
        if letter not in SETS:
            raise IllFormed(f"{domain} ranges over no set that is known: {sorted(SETS)}")
        return SETS[letter]
    low, high = domain
    return sp.srepr(sp.Tuple(low, high))


def kind(x):
    """The set that a letter stands for an element of, bound or free."""
    return x.name if isinstance(x, sp.Dummy) else SETS.get(x.name.rstrip("0123456789")) if isinstance(x, sp.Symbol) else None


def binds(tree, x):
    """Does an operator inside the tree bind this variable?"""
    bound = {y.args[1] for y in tree.atoms(L.Over)} | {y.args[1].args[0] for y in tree.atoms(L.Under, L.VarianceUnder)}
    return x in bound | {limit[0] for y in tree.atoms(sp.Sum, sp.Product) for limit in y.limits}


def size(key):
    """The number of elements of a set."""
    if key in SIZES:
        return sp.Symbol(SIZES[key], positive=True)
    low, high = sp.sympify(key)
    number = sp.expand(high - low + 1)
    if not number.is_nonnegative:
        raise Undecided(f"a sum from {low} to {high} may run backwards")
    return number


class Sums:
    """Decide an equation by its normal form. `variable` maps a head that depends on θ to the head of its gradient;
    `unfold` maps a head to a function giving the tree it stands for, or None to leave it."""

    level = "P"

    def __init__(self, variable=None, unfold=None):
        self.variable, self.unfold = dict(variable or {}), dict(unfold or {})

    def describe(self):
        return "proved for finite sets of every size, by reduction to a normal form"

    def __call__(self, lhs, rhs):
        lhs, rhs = sp.sympify(lhs), sp.sympify(rhs)
        self.nothing_vanishes(lhs, rhs)
        for side in (lhs, rhs):                        # each must have a meaning of its own, even where it cancels
            self.terms(side)
        difference = self.normal(lhs - rhs)
        return self.tree(difference) if self.cleared(difference) else sp.Integer(0)

    @staticmethod
    def nothing_vanishes(*sides):
        """A quotient such as k/k under a sum from k = 0 must not be cancelled."""
        for power in filter(None, map(may_vanish, sides)):
            raise Undecided(f"{text(power)}: below the bar there may be 0 in the range of the sum")

    def cleared(self, table):
        """The normal form times every sum that stands in a denominator."""
        while (found := self.denominator(table)) is not None:
            base, power = found
            out = []
            for c, names, powers in table.values():
                new = {x: sp.Dummy(x.name.rpartition("#")[0]) for x in names}
                rest = {x.xreplace(new): e.xreplace(new) for x, e in powers.items() if x != base}
                copies = [self.terms(base) for _ in range(int(power + powers.get(base, 0)))]   # each with its own variables
                out += self.product([*copies, [Term(c, tuple(new.values()), rest)]])
            table = self.collect(out)
        return table

    @staticmethod
    def denominator(table):
        """A sum in a denominator and the power that clears it; None if there is none."""
        powers = [pair for _, names, powers in table.values() for pair in powers.items() if not (names and pair[0].has(*names))]
        roots = {base for base, e in powers if not e.is_Integer}
        found = [(base, -e) for base, e in powers if base not in roots and e < 0 and base.has(L.Over, sp.Sum)
                 and (base.is_Add or isinstance(base, L.Over | sp.Sum))]
        return max((pair for pair in found if pair[0] == found[0][0]), key=lambda pair: pair[1], default=None)

    def normal(self, e):
        return self.collect(self.terms(sp.sympify(e)))

    # -- a tree as a list of terms -------------------------------------------------------------------
    def terms(self, e):
        if e.is_Number:
            return [Term(e, (), {})] if e != 0 else []
        if e.is_Add:
            return [term for x in e.args for term in self.terms(x)]
        if e.is_Mul:
            return self.product(map(self.terms, e.args))
        if e.is_Pow:
            return self.power(e)
        if isinstance(e, L.Over):
            body, x = e.args
            if x == L.τ and any(y.base in L.OF_PATH and len(y.indices) == 1 for y in body.atoms(sp.Indexed)):
                raise IllFormed("s[t], a[t] and r[t] belong to the trajectory that is summed over: use any_trajectory")
            return self.bind(body, x, as_set(x))
        if isinstance(e, sp.Sum):
            return self.index_sum(e)
        if isinstance(e, L.Under):
            body, law = e.args
            return self.terms(L.Over(law * body, law.args[0]))
        if isinstance(e, L.VarianceUnder):
            body, law = e.args
            return self.terms(L.Under(body**2, law) - L.Under(body, law)**2)
        if isinstance(e, L.Grad):
            return self.grad(e)
        if isinstance(e, L.AtOld):
            return self.at_old(e)
        if isinstance(e, L.SquaredNorm):
            return self.squared_norm(e)
        if isinstance(e, sp.log):
            return self.logarithm(e)
        if isinstance(e, L.Head) and type(e) in self.unfold:
            tree = self.unfold[type(e)](*e.args)
            if tree is not None:
                return self.terms(sp.sympify(tree))
        if isinstance(e, L.Operator) and not isinstance(e, Score | Curvature | L.StopGradient | L.SquaredNorm):
            raise IllFormed(f"{type(e).__name__} has no meaning over finite sets: {e}")
        return [Term(ONE, (), {e: ONE})]

    def product(self, factors):
        out = [Term(ONE, (), {})]
        for factor in factors:
            out = [self.times(x, y) for x in out for y in factor]
        return out

    @staticmethod
    def times(x, y):
        powers = dict(x.powers)
        for base, e in y.powers.items():
            powers[base] = powers.get(base, 0) + e
        return Term(x.coefficient * y.coefficient, x.bound + y.bound, {base: e for base, e in powers.items() if e != 0})

    def power(self, e):
        if e.exp.has(L.Head, L.Operator, sp.Indexed, sp.log, sp.exp, sp.Sum):
            raise IllFormed(f"the exponent of {e} is no number")
        if not e.exp.is_Integer:
            base = self.tree(self.normal(e.base)) if e.base.has(L.Operator, sp.Sum) else e.base
            return [Term(ONE, (), {base: e.exp})]
        if e.exp > 0:                                  # each factor gets its own bound variables
            return self.product(self.terms(e.base) for _ in range(int(e.exp)))
        inside = self.terms(e.base)
        if not inside:
            raise IllFormed("division by zero")
        if len(inside) == 1 and not inside[0].bound:
            c, _, powers = inside[0]
            return [Term(c**e.exp, (), {base: x * e.exp for base, x in powers.items()})]
        base = self.tree(self.collect(inside))
        if base == 0:
            raise IllFormed("division by zero")
        return [Term(ONE, (), {base: e.exp})]

    def bind(self, body, x, key):
        fresh = sp.Dummy(key)
        return [Term(c, bound + (fresh,), powers) for c, bound, powers in self.terms(body.xreplace({x: fresh}))]

    def index_sum(self, e):
        body, *inner, (x, low, high) = e.args          # sympy writes the outermost sum last
        body = sp.Sum(body, *inner) if inner else body
        if (low.free_symbols | high.free_symbols) & {y for y in e.atoms(sp.Dummy)}:
            raise IllFormed(f"the bounds of {x} depend on another bound variable: this needs induction")
        return self.bind(body, x, as_set((low, high)))

    def logarithm(self, e):
        """log of one monomial is the sum of the logarithms of its factors."""
        inside = self.terms(e.args[0])
        if len(inside) != 1 or inside[0].bound:
            return [Term(ONE, (), {e: ONE})]
        c, _, powers = inside[0]
        out = [Term(ONE, (), {sp.log(c): ONE})] if c != 1 else []
        return out + [Term(x, (), {sp.log(base): ONE}) for base, x in powers.items()]

    # -- gradients -----------------------------------------------------------------------------------
    def grad(self, e):
        body, *component = e.args
        if component:
            raise IllFormed("a single component needs a parametrisation: use Softmax")
        if body.has(L.AtOld):
            raise IllFormed("θ_old = θ is set after differentiating, never before")
        return self.gradient(self.terms(body))

    def squared_norm(self, e):
        """‖∇ log π‖² for any kind of policy: nothing is known of its value."""
        inside = e.args[0].args[0]
        if len(e.args[0].args) > 1 or not isinstance(inside, sp.log) or not isinstance(inside.args[0], L.Trained):
            raise IllFormed(f"norm2 is here for the score of a policy, grad(log(π(a_, s_))), not for {e.args[0]}")
        return [Term(ONE, (), {e: ONE})]

    def gradient(self, terms):
        """Leibniz on each monomial: D Π base^e = Π base^e Σ e (D base) / base."""
        out = []
        for term in terms:
            for fixed in (term.coefficient, *term.powers.values()):
                if not fixed.is_number and (depends(fixed) or self.moves(fixed)):
                    raise Undecided(f"no rule for the gradient of a power with {text(fixed)} in it")
            for base, e in term.powers.items():
                out += [self.times(Term(term.coefficient * e, term.bound, term.powers), y) for y in self.log_derivative(base)]
        return out

    def moves(self, e):
        """Does this depend on what a derivative is taken along, besides θ?"""
        return False

    def log_derivative(self, base):
        """(∇ base) / base, as terms."""
        if isinstance(base, L.Trained):
            return [Term(ONE, (), {Score(base): ONE})]
        if isinstance(base, Score):
            return [Term(ONE, (), {Curvature(base.args[0]): ONE, base: -ONE})]
        if isinstance(base, sp.log):
            x = base.args[0]
            return [self.times(y, Term(ONE, (), {base: -ONE, x: -ONE})) for y in self.gradient([Term(ONE, (), {x: ONE})])]
        if type(base) in self.variable:
            return [self.times(y, Term(ONE, (), {base: -ONE})) for y in self.terms(self.variable[type(base)](*base.args))]
        if isinstance(base, L.StopGradient):
            return []
        if depends(base, *self.variable):
            raise Undecided(f"no rule for the gradient of {base}")
        return []

    def at_old(self, e):
        """θ_old = θ, after every gradient inside has been taken."""
        done = self.tree(self.normal(e.args[0]))
        if done.has(*OF_OLD):
            raise Undecided(f"θ_old = θ: nothing says what becomes of the values in {done}")
        return self.terms(done.replace(lambda x: isinstance(x, L.π_old), lambda x: L.π(*x.args)))

    # -- reduction -----------------------------------------------------------------------------------
    def reduce(self, term):
        """Apply the rules for sums until none applies."""
        for x in term.bound:
            new = self.sum_over(x, term)
            if new is not None:
                return [z for y in new for z in self.reduce(y)]
        return [term] if term.coefficient != 0 else []

    def sum_over(self, x, term):
        """The terms that Σ_x of this term equals, or None if no rule applies."""
        c, bound, powers = term
        rest = tuple(y for y in bound if y != x)
        inside = {base: e for base, e in powers.items() if base.has(x) or e.has(x)}
        outside = {base: e for base, e in powers.items() if base not in inside}
        if not inside:
            return [Term(c * size(x.name), rest, powers)]
        delta = next((base for base in inside if isinstance(base, sp.KroneckerDelta) and inside[base].is_positive), None)
        if delta is not None and x in delta.args:
            return self.pick(x, delta, Term(c, rest, powers))
        law = next((base for base, e in inside.items() if e == 1 and self.sums_to_one(base, x)), None)
        if law is None:
            return None
        others = {base: e for base, e in inside.items() if base != law}
        if not others:
            return [Term(c, rest, outside)]
        if len(others) > 1 or not isinstance(law, L.Trained):
            return None
        (other, e), = others.items()
        if other == Score(law) and e == 1:
            return []
        if other == Curvature(law) and e == 1:
            return [Term(-c, bound, {**outside, law: ONE, Score(law): sp.Integer(2)})]
        return None

    @staticmethod
    def sums_to_one(base, x):
        return (isinstance(base, L.Distribution) and base.over == x.name and base.args[0] == x
                and not any(y.has(x) for y in base.args[1:]))

    @staticmethod
    def same_set(x, other):
        """A bound variable carries the key of its set; a free letter stands for one element of its own set. A free index
        stands for nothing: no range is known for it."""
        if isinstance(other, sp.Dummy):
            return other.name == x.name
        return isinstance(other, sp.Symbol) and x.name in SIZES and SETS.get(other.name.rstrip("0123456789")) == x.name

    @classmethod
    def pick(cls, x, delta, term):
        """Σ_x 1[x = y] F(x) = F(y)."""
        other = next(y for y in delta.args if y != x)
        if not cls.same_set(x, other):
            raise IllFormed(f"{delta} compares elements of two sets")
        if any(binds(base, other) for base in term.powers if base.has(x)):
            raise Undecided(f"{other} is bound inside what it would replace: rename it")
        powers = {}
        for base, e in term.powers.items():
            if base != delta:
                base, e = base.xreplace({x: other}), e.xreplace({x: other})
                if base != 1:
                    powers[base] = powers.get(base, 0) + e
        if any(base == 0 for base in powers):
            return []
        return [Term(term.coefficient, term.bound, {base: e for base, e in powers.items() if e != 0})]

    # -- the normal form -----------------------------------------------------------------------------
    def collect(self, terms):
        table = {}
        for term in terms:
            for c, bound, powers in self.reduce(term):
                random = {}
                for base, e in powers.items():
                    if constant(base) and not (bound and (base.has(*bound) or e.has(*bound))):
                        c = c * base**e
                    else:
                        random[base] = e
                key, names, powers = self.canonical(bound, random)
                table[key] = (table[key][0] + c if key in table else c, names, powers)
        out = {key: (sp.cancel(sp.together(c)), names, powers) for key, (c, names, powers) in table.items()}
        return {key: value for key, value in out.items() if value[0] != 0}

    @staticmethod
    def canonical(bound, powers):
        """One name for each bound variable: of all orders of the variables, the one that sorts first."""
        best = None
        for order in permutations(bound):
            names, count = {}, {}
            for x in order:
                count[x.name] = count.get(x.name, 0) + 1
                names[x] = sp.Symbol(f"{x.name}#{count[x.name]}")
            key = tuple(sorted((sp.srepr(base.xreplace(names)), sp.srepr(e.xreplace(names))) for base, e in powers.items()))
            if best is None or key < best[0][1]:
                best = (tuple(sorted(x.name for x in names.values())), key), names
        key, names = best if best else (((), tuple(sorted((sp.srepr(x), sp.srepr(e)) for x, e in powers.items()))), {})
        return key, tuple(names.values()), {base.xreplace(names): e.xreplace(names) for base, e in powers.items()}

    @staticmethod
    def tree(table):
        """The normal form as a tree again; 0 for the empty one."""
        out = sp.Integer(0)
        for c, names, powers in table.values():
            body = sp.Mul(*[base**e for base, e in powers.items()])
            for x in names:
                key, _, number = x.name.rpartition("#")
                if key in LETTER:
                    letter = sp.Symbol(LETTER[key] + number)
                    body = L.Over(body.xreplace({x: letter}), letter)
                else:
                    index = sp.Symbol("i" + number, integer=True)
                    body = sp.Sum(body.xreplace({x: index}), (index, *sp.sympify(key)))
            out += c * body
        return out
