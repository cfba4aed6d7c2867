"""A reader for GRPO: sums over the tokens of a group of completions. Level P, for every group.

A group has G completions, completion i has |o_i| ≥ 1 tokens; π_θ, π_old and π_ref give any positive probability to each
token, advantages are any numbers. `Groups` brings both sides to the normal form of `induction.Normal`, whose sums may have
a bound such as |o_i| that depends on an index around them, and adds

    ∇ π = π u,   ∇ X^n = n X^(n-1) ∇X,   ∇ log X = (∇X) / X,   ∇ e^X = e^X ∇X,   ∇ Σ = Σ ∇       u = ∇ log π of one token
    ∇ sg[X] = 0; sg[X] is X once nothing is left to differentiate
    ∇ min(x A, clip(x, low, high) A) = A (1[0 < A] 1[x < high] + 1[A < 0] 1[low < x]) ∇x         A free of θ, low < high;
                                x is at no end of the clip, where there is no derivative (`Cases` proves the rule)
    at θ_old = θ                a clip whose inside contains the value of x there is x, near θ_old; then π_old is π
    log X Y = log X + log Y     of probabilities, lengths and positive symbols;  log e^X = X,  e^(X + Y) = e^X e^Y,
    Π X = e^(Σ log X),  X^c = e^(c log X)       of the same, c no whole number
    E[X] + c E[Y] = E[X + c Y]  over groups; E over groups of π_old commutes with ∇_θ, and is one over groups of π_θ at
                                θ_old = θ. Two means are equal if what is inside is equal for every group

Where the two sides differ, `refuting` looks for a small group, or a small world of groups, in which they do.
"""
from dataclasses import replace

import sympy as sp

from . import language as L
from .advantages import Âg, Âloo, mean, std, uo
from .algebra import Unfolding, fresh, rebuild
from .cases import Less, sign
from .definitions import STANDARD, key
from .dependence import OF_OLD, ON_POLICY, Score
from .errors import IllFormed, Undecided
from .grpo import (
    Group,
    Jcispo,
    Jclip,
    Jdapo,
    Jdr,
    Jgrpo,
    Jgspo,
    Jrloo,
    OverGroups,
    OverOldGroups,
    Âi,
    Âit,
    kit,
    length,
    mit,
    o,
    ri,
    rit,
    si,
    πoi,
    πoi_old,
)
from .induction import ONE, Normal, Term
from .plain import text
from .ratios import k1, k2, k3
from .refuting import Least, Most, counterexample

OBJECTIVES = Jclip, Jgrpo, Jrloo, Jdr, Jdapo, Jgspo, Jcispo
OF_GROUPS = mean, Âg, Âloo, rit, kit, mit, si, πoi, πoi_old, k1, k2, k3, *OBJECTIVES         # the definitions that are unfolded


OPAQUE = Least, Most, L.Clip, Less


class Exp(L.Operator):
    """`Exp(X)`: e^X, for one monomial X."""


def quiet(e):
    """The tree with `Least` and `Most` for min and max."""
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    args = map(quiet, e.args)
    return Least(*args) if isinstance(e, sp.Min) else Most(*args) if isinstance(e, sp.Max) else rebuild(e, args)


def positive(base):
    """Is this always positive?"""
    return isinstance(base, L.Distribution | Exp) or bool(base.is_positive)


class Ragged(Normal):
    """`Normal`, where sums may run to |o_i|, with logarithms, exponentials and scores."""

    def read(self, e, scope):
        if isinstance(e, Score):
            return [Term(ONE, {Score(self.atom(e.args[0])): ONE})]
        if isinstance(e, OPAQUE):
            args = [self.whole(x, scope) for x in e.args]
            return [Term(ONE, {rebuild(e, args): ONE})]
        if isinstance(e, sp.log):
            return self.logarithm(self.terms(e.args[0], scope), e)
        if isinstance(e, sp.exp | Exp):
            return self.exponential(self.terms(e.args[0], scope))
        return super().read(e, scope)

    def whole(self, e, scope):
        return self.tree(sorted(self.terms(e, scope), key=str))

    def exponential(self, terms):
        """e^X is a product over the terms of X, in which e^log Y is Y."""
        out = Term(ONE, {})
        for c, powers in terms:
            (base, power), *rest = powers.items() or [(ONE, ONE)]
            known = not rest and power == 1 and isinstance(base, sp.log) and positive(base.args[0])
            out = self.times(out, Term(ONE, {base.args[0] if known else Exp(self.tree([Term(ONE, powers)])): c}))
        return [out]

    def power(self, base, e, scope):
        inside = [] if e.is_Integer else self.terms(base, scope)
        if len(inside) == 1 and inside[0].powers and all(map(positive, inside[0].powers)) and inside[0].coefficient.is_positive:
            return self.exponential(self.product([self.terms(e, scope), self.logarithm(inside, base)]))
        return super().power(base, e, scope)

    def logarithm(self, terms, e):
        if not terms:
            raise IllFormed(f"log 0: {text(e)}")
        (c, powers), *rest = terms
        if rest or not all(map(positive, powers)) or not c.is_positive:
            return [Term(ONE, {sp.log(self.tree(sorted(terms, key=str))): ONE})]
        out = [Term(ONE, {sp.log(c): ONE})] if c != 1 else []
        for base, power in powers.items():
            log = self.terms(base.args[0], ()) if isinstance(base, Exp) else [Term(ONE, {sp.log(base): ONE})]
            out += self.product([self.terms(power, ()), log])
        return out

    @staticmethod
    def least(m, scope):
        """As in `Normal`; a length is at least 1."""
        letters = {x: sp.Dummy("length", integer=True, positive=True) for x in m.atoms(length)}
        return Normal.least(m.xreplace(letters), scope)


NORMAL = Ragged()


def check_given(x, body, definitions):
    """Is this a rule for a number of a completion or a token, such as its advantage, or for its length?"""
    if not isinstance(x, sp.Indexed | length) or key(x) in definitions or key(x) in (o, uo):
        raise IllFormed(f"what is given is an advantage, a reward or a length, not {text(x)}")
    slots = set(Unfolding.slots(x))
    if not slots <= {L.i, L.j, L.t} or {y for y in body.free_symbols if y.is_integer} - slots - {L.G, L.N}:
        raise IllFormed(f"{text(x)} stands for a formula in its own indices, not for {text(body)}")
    if isinstance(x, length) and not (body.is_integer and body.is_positive):
        raise IllFormed(f"{text(x)} is a whole number from 1 on, not {text(body)}")


class Groups:
    """Decide an equation about the tokens of a group. `given`: definitions to unfold besides those of the book."""

    level = "P"

    def __init__(self, given=(), definitions=STANDARD):
        self.given, self.definitions = tuple(given), definitions
        for x, body in (map(sp.sympify, pair) for pair in self.given if isinstance(pair, tuple)):
            check_given(x, body, definitions)
        given = [x if isinstance(x, tuple) else definitions.get(key(x.left), x) for x in self.given]
        taken = {Unfolding.key(sp.sympify(Unfolding.sides(x)[0])) for x in given}
        known = [definitions[x] for x in OF_GROUPS if x in definitions and x not in taken]
        self.unfold = Unfolding([x if isinstance(x, tuple) else replace(x, body=quiet(x.body)) for x in [*given, *known]])

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Groups(self.given, definitions)

    def describe(self):
        return ("proved for every group: any number of completions of any lengths, any policy" + self.unfold.describe()
                + "; the advantages of equal rewards count as 0, and gradients are not taken at the ends of a clip")

    def condition(self):
        """What the page says besides the equation."""
        return self.unfold.condition()

    def __call__(self, lhs, rhs):
        sides = [means(value(read(may_stand_below(fresh(self.unfold(fresh(quiet(sp.sympify(x))))))))) for x in (lhs, rhs)]
        (inside, law), (other, law2) = sides
        if law is not None and law2 is not None and law is not law2:
            raise Undecided("a mean over groups of π_θ and one over groups of π_old")
        if (law or law2) is not None and not all(y == 0 for (x, z), y in zip(sides, (inside, other), strict=True) if z is None):
            raise Undecided("a mean over groups, and what is no mean")
        for x in (inside, other):
            NORMAL(x)                                  # each side has a meaning of its own
        if not NORMAL(inside - other):
            return 0
        return counterexample(inside - other, (law or law2).law if law or law2 else None)


def may_stand_below(e):
    """The tree, if no reward or advantage stands below a fraction bar inside a mean: it may be 0 in some groups."""
    for power in set().union(*(x.atoms(sp.Pow) for x in e.atoms(Group))):
        if not power.exp.is_nonnegative and power.base.has(L.r, ri, Âi, Âit) and not isinstance(power.base, std):
            raise Undecided(f"inside a mean {text(power.base)} may be 0 below a fraction bar")
    return e


# -- gradients and θ_old = θ, which leave a tree without them -----------------------------------------
def read(e):
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    if isinstance(e, L.AtOld):
        done = read(near_old(e.args[0]))
        if done.has(*OF_OLD):
            raise Undecided(f"θ_old = θ: nothing says what becomes of the values in {text(done)}")
        return at_old(done)
    if isinstance(e, L.Grad):
        if len(e.args) > 1 or e.has(L.AtOld):
            raise IllFormed(f"the gradient of a group is along θ, and taken before θ_old = θ: {text(e)}")
        return derivative(read(e.args[0]))
    if isinstance(e, L.Operator) and not isinstance(e, Group | L.StopGradient | Less | Least | Most | Score):
        raise IllFormed(f"{type(e).__name__} has no meaning in a group: {text(e)}")
    if isinstance(e, Group) and e.args[0].has(Group):
        raise IllFormed("a mean over groups inside a mean over groups")
    e = rebuild(e, map(read, e.args))
    return written_as_sum(e) if isinstance(e, sp.Product) else e


def written_as_sum(e):
    """Π X = e^(Σ log X), of positive factors."""
    factors = NORMAL.terms(e.args[0], ())
    if len(factors) != 1 or not all(map(positive, factors[0].powers)) or not factors[0].coefficient.is_positive:
        raise Undecided(f"a product of what may not be positive: {text(e)}")
    return sp.exp(sp.Sum(sp.log(e.args[0]), *e.limits))


def derivative(e):
    """∇_θ of a tree without gradients."""
    if e.has(L.θ, *ON_POLICY):
        raise Undecided(f"no rule for the gradient of {text(e)}")
    if not e.has(L.Trained, OverGroups):
        return sp.Integer(0)
    if isinstance(e, L.Trained):
        return e * Score(e)
    if e.is_Add:
        return sp.Add(*map(derivative, e.args))
    if e.is_Mul:
        return sp.Add(*[sp.Mul(*e.args[:k], derivative(x), *e.args[k + 1:]) for k, x in enumerate(e.args)])
    if e.is_Pow and not e.exp.has(L.Trained):
        return e.exp * e.base**(e.exp - 1) * derivative(e.base)
    if isinstance(e, sp.log):
        return derivative(e.args[0]) / e.args[0]
    if isinstance(e, sp.exp):
        return e * derivative(e.args[0])
    if isinstance(e, sp.Sum):
        return sp.Sum(derivative(e.args[0]), *e.limits)
    if isinstance(e, L.StopGradient):
        return sp.Integer(0)
    if isinstance(e, OverOldGroups):
        return OverOldGroups(derivative(e.args[0]))
    if isinstance(e, Least) and len(e.args) == 2:
        return of_the_clipped(e)
    raise Undecided(f"no rule for the gradient of {text(e)}")


def of_the_clipped(e):
    """∇ min(x A, clip(x, low, high) A), away from the ends of the clip."""
    for one, other in (e.args, e.args[::-1]):
        for clip in (x for x in sp.Mul.make_args(other) if isinstance(x, L.Clip)):
            x, low, high = clip.args
            weight = other / clip
            if not NORMAL(one - x * weight) and not weight.has(L.Trained) and not low.has(L.Trained) and not high.has(L.Trained):
                if sign(high - low) != 1:
                    raise Undecided(f"that the bounds of {text(clip)} are in order does not follow")
                return weight * (Less(0, weight) * Less(x, high) + Less(weight, 0) * Less(low, x)) * derivative(x)
    raise Undecided(f"no rule for the gradient of {text(e)}")


def near_old(e):
    """The tree in a neighbourhood of θ_old: there a clip is its first argument, if that lies inside at θ_old = θ."""
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    if isinstance(e, L.AtOld):
        raise IllFormed("θ_old = θ is set once")
    args = [near_old(x) for x in e.args]
    if isinstance(e, L.Clip):
        x, low, high = args
        there = NORMAL.whole(at_old(value(read(x))), ())
        if sign(there - low) == 1 and sign(high - there) == 1:
            return x
        raise Undecided(f"nothing is known about {text(e)} where θ_old = θ")
    if isinstance(e, Least | Most):
        if len({NORMAL.whole(read(x), ()) for x in args}) > 1:
            raise Undecided(f"which is the smaller one in {text(e)} is not known")
        return args[0]
    return rebuild(e, args)


def at_old(e):
    """θ_old = θ in a tree without gradients."""
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    if isinstance(e, L.π_old):
        return L.π(*e.args)
    args = map(at_old, e.args)
    return OverGroups(*args) if isinstance(e, OverOldGroups) else rebuild(e, args)


def value(e):
    """The tree, where sg[X] is X."""
    return e.replace(lambda x: isinstance(x, L.StopGradient), lambda x: x.args[0])


def means(e):
    """(what is inside, which law) of a linear combination of means over groups; (e, None) where there is none."""
    if not e.has(Group):
        return e, None
    total, laws = [], set()
    for term in sp.Add.make_args(sp.expand_mul(e, deep=False)):
        inner = [x for x in sp.Mul.make_args(term) if isinstance(x, Group)]
        weight = sp.Mul(*[x for x in sp.Mul.make_args(term) if x not in inner])
        if len(inner) != 1 or weight.has(Group, L.Head, sp.Indexed, sp.Sum):
            raise Undecided(f"no linear combination of means over groups: {text(e)}")
        total.append(weight * inner[0].args[0])
        laws.add(type(inner[0]))
    if len(laws) > 1:
        raise Undecided("a mean over groups of π_θ and one over groups of π_old")
    return sp.Add(*total), laws.pop()
