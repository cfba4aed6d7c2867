"""The independent floating-point reader, as the second opinion on one equation."""
import functools

from rlbook.derive.algebra import Algebra
from rlbook.derive.calculus import Calculus
from rlbook.derive.cases import Cases, Nonnegative
from rlbook.derive.counts import Counts
from rlbook.derive.decide import worlds as finite_mdps
from rlbook.derive.errors import IllFormed
from rlbook.derive.gaussian import Gaussian
from rlbook.derive.groups import Groups
from rlbook.derive.induction import Induction
from rlbook.derive.logits import Logits
from rlbook.derive.mutate import ILL_FORMED
from rlbook.derive.objective import Objective
from rlbook.derive.rewards import Rewards
from rlbook.derive.samples import IID
from rlbook.derive.small_groups import SmallGroups
from rlbook.derive.sums import Sums
from rlbook.derive.worlds import TOLERANCE, World

from .sequences import Sequences


def formulas(by, **options):
    from .numbers import Formulas  # torch: only where it is needed

    return Formulas(by, **options)


def counting(by, **options):
    from .counting import Counting

    return Counting(by, **options)


def groups(by, **options):
    from .completions import Language

    return Language(by, **options)


FORMULAS = Calculus | Cases | Gaussian | Logits | Nonnegative | Objective


@functools.cache
def worlds(by):
    """Two random worlds of different sizes that fit the prover of a claim."""
    if isinstance(by, Rewards):
        return tuple(SmallGroups(by, size, seed) for seed, size in enumerate((2, 3, 4)))
    if isinstance(by, IID):
        sizes = (1, 3, 1, 3), (2, 2, 1, 2), (2, 2, 0, 4)     # states, actions, T, samples
        return tuple(World(seed, *size, zero=by.zero) for seed, size in enumerate(sizes))
    if isinstance(by, FORMULAS):
        return (formulas(by),)
    if isinstance(by, Counts):
        return (counting(by),)
    if isinstance(by, Groups):
        return groups(by), groups(by, seed=5, sizes=(1,))
    if isinstance(by, Induction | Algebra):
        return (Sequences(by),)
    options = {"bend": finite_mdps(by) is None, "variable": by.variable if isinstance(by, Sums) else {}}
    if (on := finite_mdps(by)) is not None and not on.general:
        return World(0, 1, 3, 2, **options), World(1, 1, 2, 3, **options)
    return World(0, 2, 3, 2, **options), World(1, 2, 2, 1, samples=4, **options)


def agrees(by, pairs):
    """Do both sides have the same value in every world in which both have one? (1/(G - 2) has none for two samples.)"""
    verdicts = [_agrees_in(world, pairs) for world in worlds(by)]
    if all(x is None for x in verdicts):
        raise IllFormed("no world gives both sides a value")
    return False not in verdicts


def _agrees_in(world, pairs):
    try:
        gaps = [world.gap(lhs, rhs) for lhs, rhs in pairs]
    except (IndexError, IllFormed):                    # a state where an action belongs: three actions, two states
        return None
    return None if any(gap != gap for gap in gaps) else max(gaps) < TOLERANCE


def tells_apart(by, lhs, rhs):
    """Whether the two sides differ in some world in which both mean something."""
    gaps = []
    for world in worlds(by):
        try:
            gaps.append(world.gap(lhs, rhs))
        except ILL_FORMED:
            continue
    return any(not gap < TOLERANCE for gap in gaps)


def other_book(by, definitions):
    """The same worlds, where some definition of the book is another one."""
    if isinstance(by, Rewards):
        return SmallGroups(by.under(definitions), 3)
    if isinstance(by, FORMULAS):
        return formulas(by, definitions=definitions)
    if isinstance(by, Counts):
        return counting(by, definitions=definitions)
    if isinstance(by, Groups):
        return groups(by, definitions=definitions)
    if isinstance(by, Induction | Algebra):
        return Sequences(by, definitions=definitions)
    one_state = isinstance(by, IID) or (on := finite_mdps(by)) is not None and not on.general
    sizes = (1, 3, 1) if one_state else (2, 3, 2)
    return World(0, *sizes, definitions=definitions, bend=finite_mdps(by) is None, zero=getattr(by, "zero", ()))
