"""Which prover decides an equation, and what is said when it does not hold.

`by` of a claim is one of these:

    nothing            finite MDPs, every number a symbol (F), and two random points of other sizes
    any_size           finite sets of every size (P)             softmax       the same, one component of a gradient
    any_trajectory     every horizon (P), with the finite MDPs as a second opinion; whole_trajectory: without it
    any_horizon        induction over the steps left (P)         any_sample    independent samples, every sample size (P)
    any_group          the rewards of a group, every G (P)       pass_fail      the same, where they are 0 or 1

or a prover of one's own, `Induction(...)`, `Cases(...)`, `Gaussian(...)`, `Algebra(...)`, `On(FiniteMDP(...))`.
"""
import functools

import sympy as sp

from .advantages import rate
from .carriers import Point
from .definitions import STANDARD
from .errors import IllFormed, Refuted, Undecided, describe
from .horizon import Horizon
from .language import Estimate, P, b_star, p, ρ0
from .mdp import FiniteMDP, On
from .paths import Paths
from .plain import text
from .printing import latex
from .ratios import KL, KL_path, KL_reverse, k1, k2, k3, χ2_old, χ2_ref
from .rewards import Rewards
from .samples import IID
from .softmax import Softmax
from .sums import Sums
from .terms import H
from .witness import Witness

UNDECIDED = "neither proved nor refuted; what is left of the difference is"
STRENGTH = "RFP"                                       # from the weakest level to the strongest


@functools.cache
def exact():
    """The standard worlds: two random rational points, one with 3 states and 3 actions and one with 3 steps, which refute
    fast and catch what is true at one size only; then every MDP with 2 states, 2 actions and 2 steps."""
    return On(FiniteMDP(3, 3, 1, carrier=Point), FiniteMDP(2, 2, 2, carrier=Point), FiniteMDP(2, 2, 1),
              instead=(FiniteMDP(1, 3, 1), FiniteMDP(1, 2, 2)))


class All:
    """Several provers that must all agree: an independent second opinion on the same tree. The level is the strongest."""

    def __init__(self, *provers):
        self.provers = provers

    @property
    def level(self):
        return max((by.level for by in self.provers), key=STRENGTH.index)

    def describe(self):
        return "; also ".join(by.describe() for by in sorted(self.provers, key=lambda by: -STRENGTH.index(by.level)))

    def __call__(self, lhs, rhs):
        return next((z for z in (by(lhs, rhs) for by in self.provers) if z != 0), 0)


def unfoldings(*heads):
    """{head: what it stands for}, from the definitions of the book."""
    return {head: STANDARD[head].unfold for head in heads}


@functools.cache
def any_trajectory():
    """Trajectories as outcomes: every horizon and every size, with the finite MDPs as a second opinion."""
    return All(exact(), whole_trajectory)


IN_ONE_STATE = b_star, H, KL, KL_reverse, χ2_old, χ2_ref, k1, k2, k3
any_size, softmax = Sums(unfold=unfoldings(*IN_ONE_STATE)), Softmax(unfold=unfoldings(*IN_ONE_STATE))
any_sample = IID(unfold=unfoldings(Estimate))
whole_trajectory = Paths(unfold=unfoldings(KL_path, *IN_ONE_STATE))
any_group, pass_fail = Rewards(), Rewards(p=rate)       # the rewards of a group: any numbers; 0 or 1 with mean p
any_horizon = Horizon                                  # any_horizon(given=[claims proved before])


def prover(by):
    """The prover that an author's `by` stands for."""
    by = exact() if by is None else by() if by in (Horizon, any_trajectory) else by
    if not callable(by) or getattr(by, "level", None) not in tuple(STRENGTH) or not hasattr(by, "describe"):
        raise TypeError(f"`by` is a prover such as any_size, any_trajectory or Induction(T), not {by!r}")
    return by


def worlds(by):
    """The finite MDPs on which a prover decides, if it does."""
    return next((x for x in getattr(by, "provers", (by,)) if isinstance(x, On)), None)


class Gap:
    """What a normal form left over, and that it is not zero in some random world, computed there by other means."""

    def __init__(self, tree, size):
        self.tree, self.size = tree, size

    def describe(self):
        return f"{describe(self.tree)}\n    (in a random world the two sides differ by {self.size:.0%} of their size)"

    def latex(self):
        return latex(self.tree)


def second_opinion(by, lhs, rhs):
    """The largest relative difference of the two sides in two random worlds, read in floating point; None if unreadable."""
    from .worlds import World  # numpy: only where something failed

    if isinstance(by, Rewards):
        return by.gap(lhs, rhs)
    if isinstance(by, IID):
        random = [World(0, 1, 3, 1, samples=3, zero=by.zero), World(1, 2, 2, 1, samples=2, zero=by.zero)]
    else:
        variable = getattr(by, "variable", {})
        random = [World(0, 2, 3, 2, variable=variable), World(1, 2, 2, 1, samples=4, variable=variable)]
    gaps = []
    for world in random:
        try:
            gaps.append(world.gap(lhs, rhs))
        except (IllFormed, IndexError):
            pass
    return max((gap for gap in gaps if gap == gap), default=None)


def decide(where, lhs, rhs, by):
    """Return if lhs = rhs is decided; raise `Refuted` with a counterexample, or `Undecided` where there is none.

    Finite MDPs, and the provers that search for one, bring their own counterexample. A normal form that is not zero
    refutes nothing by itself: it takes a world in which the two sides differ.
    """
    difference = by(lhs, rhs)
    if difference == 0:
        return
    if (on := worlds(by)) is not None:
        left_over = difference
        difference = On(on.worlds[-1], instead=on.instead)(lhs, rhs) or on(lhs, rhs)
        if difference == 0:                            # true on all finite MDPs, and the prover for every size gave up
            raise Undecided(f"{where}: {UNDECIDED} {text(left_over)}")
        if isinstance(difference, Witness):
            difference.interior = any(x.args[0].has(P, p, ρ0) for x in (lhs - rhs).atoms(sp.log))
    elif isinstance(by, Rewards) and (found := by.counterexample(lhs, rhs)) is not None:
        difference = found
    elif isinstance(by, Sums | Horizon):
        size = second_opinion(by, lhs, rhs)
        if size is None or size < 1e-9:
            raise Undecided(f"{where}: {UNDECIDED} {text(difference)}")
        difference = Gap(difference, size)
    raise Refuted(f"{where} is refuted", lhs, rhs, difference)
