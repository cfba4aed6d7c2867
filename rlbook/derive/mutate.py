"""Every small mistake that one can make in an equation, made on the tree that is displayed and checked.

`mutants(tree)` yields (kind, tree with one mistake). A prover that is sound and exact accepts a mutant only if it is true,
so a survivor is a theorem; how many there are measures how strongly the equations of the book pin each other down.

    refuted       the prover gives a difference
    ill-formed    the mutant means nothing: off the trajectory, an unbound index, an operator out of place
    survived      the mutant holds as well
"""
import functools
import itertools
from dataclasses import dataclass, replace

import sympy as sp

from . import language as L
from . import ratios as W
from .carriers import Point
from .decide import All
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .horizon import Horizon
from .mdp import FiniteMDP, On
from .paths import Paths
from .samples import IID
from .sums import Sums

ILL_FORMED = (IllFormed, Undecided, NotImplementedError)   # a refusal; anything else is a prover that crashed

SWAPS = {L.π: (L.π_ref, L.π_old), L.π_ref: (L.π,), L.π_old: (L.π,), L.A: (L.Q,), L.Q: (L.A,), L.V: (L.Vhat,), L.Vhat: (L.b,),
         L.b: (L.Vhat,), L.V_togo: (L.G_togo, L.V_old_togo),
         L.G_togo: (L.V_togo, L.G_future), L.U_togo: (L.N_togo,), L.N_togo: (L.U_togo,),
         L.A_old: (L.Q_old, L.A), L.Q_old: (L.A_old, L.Q), L.V_old: (L.V,), L.V_old_togo: (L.V_togo,), L.Q_togo: (L.A_togo,),
         L.A_togo: (L.Q_togo, L.A_old_togo), L.A_old_togo: (L.Q_old_togo, L.A_togo), L.Q_old_togo: (L.A_old_togo,),
         L.G_future: (L.G_togo, L.G_value), L.G_value: (L.G_advantage,), L.G_advantage: (L.G_value,), L.b_star: (L.b,),
         L.g_return: (L.g_togo,), L.g_togo: (L.g_return, L.g_past), L.g_past: (L.g_togo,),
         W.KL: (W.KL_reverse,), W.KL_reverse: (W.KL,), W.χ2_old: (W.χ2_ref,), W.χ2_ref: (W.χ2_old, W.KL), W.P_old: (L.P, W.P_ref),
         W.P_ref: (L.P, W.P_old), W.k1: (W.k2, W.k3), W.k2: (W.k1, W.k3), W.k3: (W.k1, W.k2)}
SYMBOLS = {L.γ: (("gamma to lambda", L.λ), ("gamma to 1", sp.Integer(1))),
           L.λ: (("lambda to gamma", L.γ), ("lambda to 1", sp.Integer(1))),
           L.α: (("alpha to 1", sp.Integer(1)), ("twice alpha", 2 * L.α), ("alpha squared", L.α**2)),
           L.ε: (("epsilon to beta", L.β),), L.β: (("beta to epsilon", L.ε),),
           L.N: (("N + 1", L.N + 1), ("N - 1", L.N - 1)), L.G: (("G + 1", L.G + 1), ("G - 1", L.G - 1)),
           L.s_: (("s to s'", L.s_new),), L.s_new: (("s' to s", L.s_),)}
DROPPED = {L.Grad: "drop the gradient", L.StopGradient: "drop the stop-gradient", L.AtOld: "drop θ_old = θ",
           sp.log: "drop the log", sp.exp: "drop the exp", L.Over: "drop a sum over a set", sp.Sum: "drop a sum",
           L.SampleSum: "drop the sum over the data", L.Clip: "drop the clip", sp.Product: "drop a product",
           L.Under: "drop an expectation", L.At: "drop the value of a number"}


# -- one mistake at the root of a tree -------------------------------------------------------------------
def at_root(e):
    """(kind, mutant) for every mistake at the root."""
    for kind, makers in MAKERS.items():
        if isinstance(e, kind):
            for make in makers:
                yield from make(e)
    yield from SYMBOLS.get(e, ()) if e.is_Symbol else ()
    for new in SWAPS.get(type(e), ()):
        yield f"{type(e).__name__} to {new.__name__}", new(*e.args)
    if type(e) in DROPPED:
        yield DROPPED[type(e)], e.args[0]


def without(args, at):
    return args[:at] + args[at + 1:]


def of_a_sum(e):
    for at, x in enumerate(e.args):
        yield "flip the sign of a term", sp.Add(*without(e.args, at), -x)
        yield "drop a term", sp.Add(*without(e.args, at))


def of_a_product(e):
    for at, x in enumerate(e.args):
        rest = without(e.args, at)
        yield ("flip the sign" if x == -1 else "drop a factor"), sp.Mul(*rest)
        if x not in (1, -1):
            yield "invert a factor", sp.Mul(*rest, 1 / x)


def of_a_power(e):
    yield "exponent + 1", e.base**(e.exp + 1)
    yield "exponent - 1", e.base**(e.exp - 1)
    if e.exp in (-1, sp.Rational(1, 2)):
        yield "flip the exponent", e.base**-e.exp


def of_a_number(e):
    if e == 0:
        yield "0 to 1", sp.Integer(1)
    elif e.is_Integer and e != -1:
        yield "number + 1", e + 1
        yield "number - 1", e - 1
    elif not e.is_Integer:
        yield "invert a number", 1 / e


def of_limits(e):
    (x, low, high), *outer = e.limits
    for kind, limits in (("lower bound + 1", (x, low + 1, high)), ("lower bound - 1", (x, low - 1, high)),
                         ("upper bound + 1", (x, low, high + 1)), ("upper bound - 1", (x, low, high - 1))):
        yield kind, e.func(e.function, limits, *outer)


def of_an_index(e):
    if e.indices[0].is_integer:
        for change in (1, -1):
            yield f"index {change:+d}", e.base[(e.indices[0] + change, *e.indices[1:])]


def of_steps_to_go(e):
    for change in (1, -1):
        yield f"steps to go {change:+d}", e.func(e.args[0] + change, *e.args[1:])


def of_a_score(e):
    """A score with a weight that does not belong there."""
    if isinstance(e.args[0], sp.log):
        yield "weigh a score by gamma", L.γ * e
        yield "flip the sign of a score", -e


def of_a_condition(e):
    given = e.args[1:]
    for at in range(len(given)):
        yield "drop a condition", e.func(e.args[0], *without(given, at))
    if len(given) > 1:
        yield "drop the conditions", e.func(e.args[0])


def of_arguments(e):
    """Two arguments of a function in the wrong order."""
    for x, y in itertools.combinations(range(len(e.args)), 2):
        args = list(e.args)
        args[x], args[y] = args[y], args[x]
        yield "swap two arguments", e.func(*args)


MAKERS = {
    sp.Add: (of_a_sum,), sp.Mul: (of_a_product,), sp.Pow: (of_a_power,), sp.Rational: (of_a_number,), sp.Sum: (of_limits,),
    sp.Product: (of_limits,), sp.Indexed: (of_an_index,), L.ToGo: (of_steps_to_go,), L.Grad: (of_a_score,),
    L.Expect: (of_a_condition,), L.ExpectOld: (of_a_condition, lambda e: [("another policy", L.Expect(*e.args))]),
    L.Covariance: (lambda e: [("covariance to mean", L.Expect(sp.Mul(*e.args))), ("variance", L.Variance(e.args[0]))],),
    L.Variance: (of_a_condition, lambda e: [("variance to mean", L.Expect(*e.args))]),
    L.VarianceUnder: (lambda e: [("variance to mean", L.Under(*e.args))],), L.reward: (of_arguments,), L.p: (of_arguments,),
    sp.Min: (lambda e: [("min to max", sp.Max(*e.args))],), sp.Max: (lambda e: [("max to min", sp.Min(*e.args))],),
    sp.KroneckerDelta: (lambda e: [("drop an indicator", sp.Integer(1))],),
    L.SquaredNorm: (lambda e: [("drop the norm", e.args[0]), ("norm, not its square", sp.sqrt(e)), ("twice the norm", 2 * e)],),
    L.Slope: (lambda e: [("drop the slope", e.args[0])],),
    L.Ascent: (lambda e: [("before the step", L.θ)],),
    L.Shifted: (lambda e: [("step backwards", L.Shifted(e.args[0], -e.args[1], e.args[2]))],),
}


# -- one mistake anywhere ----------------------------------------------------------------------------------
def kept(e, at):
    """Is this argument a name or a bound, which is no place for a mistake of its own?"""
    if isinstance(e, sp.Sum | sp.Product):
        return at > 0                                  # bounds are changed at the root
    if isinstance(e, sp.Indexed):
        return at == 0 or e.args[at].is_Symbol
    if isinstance(e, L.Over | L.Slope | L.At):
        return at == 1
    if isinstance(e, L.Expect | L.ExpectOld | L.Variance):
        return at > 0
    if isinstance(e, L.ToGo):
        return at == 0
    return isinstance(e.args[at], sp.Tuple | sp.core.symbol.Str) or isinstance(e, L.Grad) and at > 0


def anywhere(e):
    yield from at_root(e)
    if e.is_Rational or e.is_Symbol or isinstance(e, sp.IndexedBase):
        return
    for at, x in enumerate(e.args):
        if kept(e, at):
            continue
        for kind, mutant in anywhere(x):
            try:
                yield kind, e.func(*e.args[:at], mutant, *e.args[at + 1:])
            except (TypeError, ValueError, AttributeError, IndexError):
                continue                               # sympy cannot even write it


def mutants(tree):
    """(kind, mutant) for every small mistake in a tree, each mutant once."""
    seen = {tree}
    for kind, mutant in anywhere(sp.sympify(tree)):
        if mutant not in seen and not mutant.has(sp.zoo, sp.nan, sp.oo):
            seen.add(mutant)
            yield kind, mutant


# -- verdicts ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Verdict:
    """What became of one mutant of one side of an equation, or of a definition."""

    id: str
    side: str                                          # "left", "right", "body" or "base"
    kind: str
    mutant: sp.Expr
    outcome: str                                       # "refuted", "ill-formed" or "survived"


@functools.cache
def scouts():
    """Small worlds that refute fast: a random point; one step of one state in symbols, for what a point cannot read; a
    longer trajectory, for what holds with two steps only; and other numbers of states than of actions."""
    return (FiniteMDP(2, 2, 1, carrier=Point, seed=1), FiniteMDP(1, 2, 0), FiniteMDP(1, 2, 2, carrier=Point, seed=2),
            FiniteMDP(2, 3, 1, carrier=Point, seed=3))


def quick(by):
    """The same prover, asking small worlds first, and then its own."""
    if isinstance(by, All):
        return All(*map(quick, by.provers))
    return On(*scouts(), *by.worlds, instead=by.instead) if isinstance(by, On) and by.general else by


def judge(by, pairs):
    """The outcome for a list of equations that must all hold."""
    try:
        return "refuted" if any(by(lhs, rhs) != 0 for lhs, rhs in pairs) else "survived"
    except ILL_FORMED:
        return "ill-formed"


def pairs(link, side, mutant):
    """The equations that a claim stands for when one side (or one value of a symbol in `where`) is a mutant."""
    if side in ("left", "right"):
        return link.instances(**{"lhs" if side == "left" else "rhs": mutant})
    symbol = next(x for x in link.where if str(x) == side)
    return [(link.lhs.xreplace({symbol: mutant}), link.rhs.xreplace({symbol: mutant}))]


def score(claim, every=1):
    """The verdict on every mutant (or every n-th) of both sides of a claim, or of each step of a derivation."""
    for link in claim.links():
        by = quick(link.by)
        for side, tree in (("left", link.lhs), ("right", link.rhs)):
            for kind, mutant in itertools.islice(mutants(tree), 0, None, every):
                yield Verdict(link.id, side, kind, mutant, judge(by, pairs(link, side, mutant)))


def score_where(claim):
    """The verdict on every mutant of the expressions that a symbol of a claim may stand for."""
    for symbol, values in claim.where.items():
        for value in values:
            for kind, mutant in mutants(value):
                yield Verdict(claim.id, str(symbol), kind, mutant, judge(quick(claim.by), pairs(claim, str(symbol), mutant)))


# -- mutated definitions -------------------------------------------------------------------------------------
def under(definitions, by):
    """The prover of a claim, in a book with other definitions."""
    if isinstance(by, On) and not by.general:
        return On(*(world.like(definitions) for world in by.worlds))
    if isinstance(by, On):
        return On(FiniteMDP(2, 3, 1, carrier=Point, seed=1, definitions=definitions),
                  FiniteMDP(2, 2, 2, carrier=Point, seed=1, definitions=definitions), FiniteMDP(2, 2, 1, definitions=definitions))
    if isinstance(by, All):
        parts = [x for x in (under(definitions, y) for y in by.provers) if x is not None]
        return All(*parts) if parts else None
    if isinstance(by, Horizon):
        other = Horizon(definitions=definitions)
        other.lemmas = by.lemmas
        return other
    if isinstance(by, IID) and not hasattr(by, "under"):
        unfold = {head: definitions[head].unfold if head in definitions else tree for head, tree in by.unfold.items()}
        return IID(zero=by.zero, samples=by.samples, variable=by.variable, unfold=unfold)
    if isinstance(by, Sums) and by.unfold and not hasattr(by, "under"):
        unfold = {head: definitions[head].unfold for head in by.unfold}
        return Paths(by.variable, unfold, definitions) if isinstance(by, Paths) else type(by)(by.variable, unfold)
    return by.under(definitions) if hasattr(by, "under") else None     # None: a prover that reads no definition


def speaks_of(head, claims, definitions=STANDARD):
    """The claims in which a head occurs, itself or inside a definition, shortest first."""
    heads, before = {head}, None
    while before != heads:
        before = set(heads)
        heads |= {d.head for d in definitions.values() if d.body.has(*before)}
    links = [link for claim in claims for link in claim.links()]
    chosen = [x for x in links if any(y.has(*heads) for pair in x.instances() for y in pair)]

    def cost(link):
        return not isinstance(link.by, Horizon | IID), sum(1 for y in (link.lhs, link.rhs) for _ in sp.preorder_traversal(y))
    return sorted(chosen, key=cost)


def score_definition(head, claims, definitions=STANDARD, every=1):
    """The verdict on every mutant (or every n-th) of one definition: it dies if any claim of the book fails with it."""
    known, about = definitions[head], speaks_of(head, claims, definitions)
    parts = [("body", known.body)] + ([("base", known.base)] if known.base is not None else [])
    for part, tree in parts:
        for kind, mutant in itertools.islice(mutants(tree), 0, None, every):
            changed = {**definitions, head: replace(known, **{part: mutant})}
            yield Verdict(known.name, part, kind, mutant, in_another_book(changed, about))


def in_another_book(definitions, links):
    """The outcome for all these claims with other definitions: refuted if one is, else ill-formed if one is."""
    provers, outcomes = {}, {"survived"}
    for link in links:
        if id(link.by) not in provers:
            provers[id(link.by)] = under(definitions, link.by)
        by = provers[id(link.by)]
        outcomes.add("survived" if by is None else judge(by, link.instances()))
        if "refuted" in outcomes:
            break
    return next(x for x in ("refuted", "ill-formed", "survived") if x in outcomes)
