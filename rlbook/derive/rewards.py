"""`Roots` for the rewards of a group, such as those in std(r), and the means of what they weigh. Level P, for every G ≥ 2.

To the rules of `Roots` it adds, for a group of G ≥ 2 completions with rewards r_1, ..., r_G,

    r_i² = r_i                  where rewards are 0 or 1; then p = E[r_i]
    ∇p = E[r_i u_i]             u_i the score, of mean zero: the log-derivative trick
    E[F h_i] = E[F E[h_i | r_i]]    F depends on the rewards alone, h_i on completion i: completions are independent
    E[h | r] = r E[r h] / p + (1 - r) E[(1 - r) h] / (1 - p)                rewards are 0 or 1
    E[F(K)] = Σ_k C(G, k) p^k (1 - p)^(G - k) F(k)                          of their sum K

Outside a mean an equation holds where nothing below a fraction bar is 0. Inside a mean 1/X is 0 where X is: a group of
equal rewards contributes nothing. So X/X is not 1 there, and only roots of sums and what is positive may stand below.
"""
import sympy as sp

from . import advantages as K
from . import language as L
from .algebra import fresh, rebuild
from .below import Below
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .grpo import length
from .plain import text
from .printing import latex
from .roots import HALF, InverseRoot, Reciprocal, Roots, positive, renamed
from .samples import Attribute, Moment
from .small_groups import SmallGroups, counterexample
from .sums import ONE, Sums, Term, as_set, constant

HEADS = K.mean, K.std, K.std_sample, K.Âg, K.Âε, K.Âs, K.Âloo, K.wG
GROUP = as_set((ONE, L.G))
REWARD, SCORE, TOKENS = sp.Symbol("r"), sp.Symbol("u"), sp.Symbol("|o|", positive=True)    # of one completion
NO_MEANS = L.Expect, L.ExpectOld, L.Variance, L.SampleSum, L.Estimate


class GroupMean(L.Operator):
    """E of a product that no rule takes apart."""

    def _latex(self, printer):
        return r"\mathbb{E}\!\left[ %s \right]" % printer._print(self.args[0])


LETTERS = InverseRoot, Reciprocal, GroupMean, Moment, sp.binomial


def attribute(base):
    """What is a completion's own: its reward, its score or its length; None for anything else."""
    kind = TOKENS if isinstance(base, length) else {L.r: REWARD, K.uo: SCORE}.get(getattr(base, "base", None))
    if kind is None or len(base.args) > 2:
        return None
    x = of(base)
    return kind if x in (L.i, L.j) or isinstance(x, sp.Dummy) and x.name == GROUP else None


def of(base):
    """The index of the completion."""
    return base.args[-1]


def stands_for(x, body, every):
    """(the base of x[i], (i, what it stands for)), if that is a function of i alone."""
    names = {y for y in body.free_symbols if y.is_integer} - {L.G}
    if not isinstance(x, sp.Indexed) or len(x.indices) != 1 or x.indices[0] not in (L.i, L.j) or x.base in (L.r, K.uo):
        raise IllFormed(f"what is given is x[i], any letter but those of rewards and scores, not {text(x)}")
    if names - {x.indices[0]} or any(body.has(sp.sympify(y).base) for y in every) or body.has(L.Operator):
        raise IllFormed(f"{text(x)} stands for a formula in its own index, G and the rewards, not for {text(body)}")
    if any(y.base.has(x.indices[0]) for y in body.atoms(sp.Pow) if not y.exp.is_nonnegative):
        raise IllFormed(f"{text(x)}: below a fraction bar there is no completion of its own in {text(body)}")
    return x.base, (x.indices[0], body)


def one_root(powers):
    """One root at most, and once: of two, 0 might be cancelled."""
    return sum(e for x, e in powers.items() if isinstance(x, InverseRoot)) <= 1


class Rewards(Roots):
    """Decide an equation about the rewards of a group. `given`: pairs (x[i], what it stands for). `binary`: rewards are 0
    or 1; with `p`, their mean is p. `size`: one G, with every sum written out."""

    def __init__(self, given=(), binary=False, p=None, size=None, definitions=STANDARD):
        super().__init__(zero=[SCORE], samples=L.G)
        if size is not None and (type(size) is not int or size < 2):
            raise IllFormed(f"a group has a whole number of completions from 2 on, not {size!r}")
        if p not in (None, K.rate):
            raise IllFormed(f"the mean of rewards of 0 or 1 is written {text(K.rate)}, not {p}")
        self.given = dict(stands_for(sp.sympify(x), sp.sympify(body), [y for y, _ in given]) for x, body in given)
        self.named = set().union(*(body.free_symbols - {x} for x, body in self.given.values()))
        self.pairs, self.binary, self.p, self.size, self.definitions = tuple(given), binary or p is not None, p, size, definitions

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return type(self)(self.pairs, self.binary, self.p, self.size, definitions)

    def describe(self):
        sizes = "of every size from two on" if self.size is None else f"of {self.size}"
        kind = ", with rewards 0 or 1" if self.binary else ""
        given = "".join(f", where {text(x)} = {text(body)}" for x, body in self.pairs)
        return f"proved for groups {sizes}{kind}, by moments and a normal form{given}"

    def condition(self):
        """What the page says besides the equation."""
        says = [f"{latex(x)} = {latex(body)}" for x, body in self.pairs]
        says += [f"G = {self.size}"] if self.size is not None else []
        says += [r"r_{i} \in \{0, 1\}"] if self.binary else []
        says += [r"%s = \mathbb{E}[r_{i}]" % latex(self.p)] if self.p is not None else []
        return r",\; ".join(says)

    def __call__(self, lhs, rhs):
        self.nothing_vanishes(sp.sympify(lhs), sp.sympify(rhs))
        lhs, rhs = (self.written_out(sp.sympify(x)) for x in (lhs, rhs))
        if any(x.has(sp.zoo, sp.nan, sp.oo) for x in (lhs, rhs)):
            raise IllFormed("division by zero")
        difference = self.collect([*self.terms(lhs), *self.terms(-rhs)])
        return self.tree(difference) if self.cleared(difference) else sp.Integer(0)

    def counterexample(self, lhs, rhs):
        """A small group in which the two sides differ, or None."""
        return counterexample(self, lhs, rhs)

    def gap(self, lhs, rhs):
        """How much the two sides differ in random groups, relative to their size; None if they have no value."""
        gaps = [SmallGroups(self, size, seed).gap(lhs, rhs) for seed, size in enumerate((2, 3))]
        return max((x for x in gaps if x == x), default=None)

    def written_out(self, e, mean=False):
        """The tree without names: definitions, what is given, and one size. Inside a mean it keeps what is below apart."""
        if e == L.G and self.size is not None:
            return sp.Integer(self.size)
        if isinstance(e, sp.Indexed) and e.base in self.given:
            x, body = self.given[e.base]
            return self.written_out(fresh(body).xreplace({x: e.indices[0]}), mean)
        if e.is_Atom or isinstance(e, sp.IndexedBase):
            return e
        if isinstance(e, sp.Sum) and self.named & {limits[0] for limits in e.limits}:
            raise Undecided(f"{text(e)}: its variable is one of what is given, too")
        if isinstance(e, HEADS):
            if isinstance(e, K.wG):
                self.is_weight(*e.args)
            return self.written_out(self.definitions[type(e)].unfold(*e.args), mean)
        if mean and e.is_Pow and not e.exp.is_nonnegative:
            below = self.written_out(e.base, mean)**(-self.written_out(e.exp))
            return Below(below) if below.has(L.r, K.uo, K.OverCompletions, Below) else 1 / below
        return rebuild(e, [self.written_out(x, mean or isinstance(e, K.OverCompletions)) for x in e.args])

    def is_weight(self, size, p):
        """Is this w_G(p) of a group, and of a probability?"""
        size, p = self.written_out(size), sp.sympify(p)
        if not (size.is_integer and positive(size - 1) and positive(p) and positive(1 - p)):
            raise IllFormed(f"wG(G, p) has a whole number from 2 on and a probability, not {text(size)} and {text(p)}")

    # -- a tree as a list of terms -------------------------------------------------------------------
    def terms(self, e):
        if isinstance(e, K.OverCompletions):
            return self.once(e, lambda: [y for x in self.terms(e.args[0]) for z in self.reduce(x) for y in self.mean_of(z)])
        if isinstance(e, LETTERS):
            return [Term(ONE, (), {self.own_names(e): ONE})]
        if isinstance(e, Below):
            return self.below(e.args[0])
        if isinstance(e, NO_MEANS):
            raise IllFormed(f"a mean over completions is E_o[X], not {text(e)}")
        return Sums.terms(self, e)

    def below(self, e):
        """1/X inside a mean: roots, and what is positive. Anything else may be 0, and might be cancelled."""
        if e == 0:
            raise IllFormed("division by zero")
        out = self.terms(1 / e)
        for base in (x for term in out for x, power in term.powers.items() if not power.is_nonnegative):
            if attribute(base) != TOKENS and not positive(base):
                raise Undecided(f"inside a mean {text(base)} may be 0 below a fraction bar")
        return out

    def index_sum(self, e):
        body, *inner, (x, low, high) = e.args
        if not (low.is_Integer and high.is_Integer):
            return super().index_sum(e)
        body = fresh(sp.Sum(body, *inner) if inner else body)
        return [term for value in range(int(low), int(high) + 1) for term in self.terms(body.xreplace({x: sp.Integer(value)}))]

    def log_derivative(self, base):
        if self.p is not None and base.has(self.p) and constant(base):
            slope = self.product([self.terms(sp.diff(base, self.p)), self.terms(Moment(REWARD * SCORE)), self.terms(1 / base)])
            return slope
        if base.has(K.rate, InverseRoot, Reciprocal, GroupMean, L.r, K.uo):
            raise Undecided(f"no rule for the gradient of {text(base)}")
        return super().log_derivative(base)

    @staticmethod
    def same_set(x, other):
        """As in `Sums`; a free i or j is one of the completions of the group."""
        return x.name == GROUP if other in (L.i, L.j) else Sums.same_set(x, other)

    # -- 0 or 1 --------------------------------------------------------------------------------------
    def reduce(self, term):
        if self.binary:
            simple = {x: ONE if attribute(x) == REWARD and e.is_Integer and e > 1 else e for x, e in term.powers.items()}
            term = Term(term.coefficient, term.bound, simple)
        return super().reduce(self.split(term))

    @staticmethod
    def split(term):
        """p^(k - 1) is p^k / p."""
        c, powers = term.coefficient, dict(term.powers)
        for base, e in term.powers.items():
            number = e.as_coeff_Add()[0]
            if number != 0 and not e.is_number and constant(base) and not base.has(*term.bound):
                c, powers[base] = c * base**number, e - number
        return Term(c, term.bound, powers)

    def moment(self, monomial):
        if self.binary:
            monomial = monomial.replace(lambda x: x.is_Pow and x.base == REWARD and x.exp.is_Integer and x.exp > 1,
                                        lambda x: REWARD)
        return self.p if self.p is not None and monomial == REWARD else super().moment(monomial)

    # -- means ---------------------------------------------------------------------------------------
    def mean_of(self, term):
        """E of one term."""
        own, together, fixed = {}, {}, {}
        for base, e in term.powers.items():
            if attribute(base) is not None:
                if not e.is_Integer or e < 0 and attribute(base) != TOKENS:
                    raise Undecided(f"no rule for the mean of {text(base**e)}")
                own[base] = e
            elif isinstance(base, InverseRoot | Reciprocal) and base.has(L.r) and not base.has(K.uo, length):
                if not e.is_positive:
                    raise Undecided(f"no rule for the mean of {text(base**e)}")
                together[base] = e
            elif base.has(L.r, K.uo, length) and not isinstance(base, GroupMean):
                raise Undecided(f"no rule for the mean of {text(base)}")
            else:
                fixed[base] = e
        if not together:
            drawn = {Attribute(attribute(x), of(x)): e for x, e in own.items()}
            return self.expect(Term(term.coefficient, term.bound, {**fixed, **drawn}))
        rewards = {x: e for x, e in own.items() if attribute(x) == REWARD}
        others = {x: e for x, e in own.items() if x not in rewards}
        constant_part = Term(term.coefficient, term.bound, fixed)
        if self.p is not None and len({of(x) for x in others}) == 1:
            given = self.given_reward(others)
            split = self.product([[Term(term.coefficient, term.bound, {**fixed, **together, **rewards})], given])
            return [z for x in split for y in self.reduce(x) for z in self.mean_of(y)]
        if self.p is not None and not others:
            found = self.by_number(constant_part, rewards, together)
            if found is not None:
                return found
        letter = GroupMean(sp.Mul(*[x**e for x, e in (own | together).items()]))
        return [self.times(constant_part, Term(ONE, (), {letter: ONE}))]

    def given_reward(self, others):
        """E[h_i | r_i] of what completion i has besides its reward."""
        i, = {of(x) for x in others}
        h = sp.Mul(*[attribute(x)**e for x, e in others.items()])
        with_reward, whole = self.moment(REWARD * h), self.moment(h)
        above = (L.r[i] - self.p) * with_reward + self.p * (1 - L.r[i]) * whole
        return self.terms(above / (self.p * (1 - self.p)))

    def by_number(self, outside, rewards, together):
        """E of a function of K = Σ r_i, a binomial number; None if it is no such function."""
        places = [of(x) for x in rewards]
        free = any(x not in outside.bound or any(base.has(x) for base in outside.powers) for x in places)
        if free or any(e != 1 for e in rewards.values()):
            return None
        key = len(places), frozenset(together.items())
        if key not in self.known:
            self.known[key] = self.binomial_mean(len(places), together)
        if self.known[key] is None:
            return None
        rest = Term(outside.coefficient, tuple(x for x in outside.bound if x not in places), outside.powers)
        return self.product([[rest], map(renamed, self.known[key])])

    def binomial_mean(self, n, together):
        """E[K^n F(K)]"""
        k = sp.Dummy("k", integer=True)
        inside = {x: self.of_number(x.args[0], k) for x in together}
        if None in inside.values() or not one_root(together):
            return None
        below = sp.Mul(*[inside[x]**(-e if isinstance(x, Reciprocal) else -e * HALF) for x, e in together.items()])
        chance = sp.binomial(L.G, k) * self.p**k * (1 - self.p)**(L.G - k)
        return self.terms(sp.Sum(chance * k**n * below, (k, 0, L.G)))

    def of_number(self, tree, k):
        """A sum over rewards as a function of their sum, or None."""
        out = sp.Integer(0)
        for c, bound, powers in self.terms(tree):
            rewards = [x for x in powers if attribute(x) == REWARD and powers[x] == 1]
            roots = {x: self.of_number(x.args[0], k) for x in powers if isinstance(x, InverseRoot) and x.has(L.r)}
            rest = {x: e for x, e in powers.items() if x not in rewards and x not in roots}
            indices = [of(x) for x in rewards]
            once = one_root({x: powers[x] for x in roots})
            alone = once and set(indices) == set(bound) and len(indices) == len(bound) and all(x.name == GROUP for x in bound)
            if not alone or None in roots.values() or any(x.has(L.r, K.uo, length, *bound) for x in rest):
                return None
            out += c * k**len(bound) * sp.Mul(*[x**e for x, e in rest.items()]) * sp.Mul(
                *[y**(-powers[x] * HALF) for x, y in roots.items()])
        return out
