"""Near misses: what looks like an instance of a rule and is not must never be proved."""
import pytest
import sympy as sp
from sympy.polys.domains import QQ

from rlbook.derive.carriers import Dual, Point, Symbolic
from rlbook.derive.errors import IllFormed
from rlbook.derive.mdp import On
from rlbook.derive.mutate import ILL_FORMED
from rlbook.derive.plain import text
from rlbook.derive.samples import IID
from rlbook.derive.worlds import TOLERANCE, World

from .catalogue import CLAIMS
from .near_misses import MEANINGLESS, NEAR_MISSES, REFUSALS

CASES = [(rule, *case) for rule, cases in NEAR_MISSES.items() for case in cases]


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_every_rule_has_two_near_misses(rule):
    assert len(NEAR_MISSES[rule]) >= 2


@pytest.mark.parametrize("rule, by, lhs, rhs", CASES, ids=[f"{c[0]}: {text(c[2])} = {text(c[3])}"[:110] for c in CASES])
def test_a_near_miss_is_not_proved(rule, by, lhs, rhs):
    try:
        assert by(lhs, rhs) != 0
    except ILL_FORMED:
        pass


@pytest.mark.parametrize("by, lhs, rhs", MEANINGLESS, ids=[f"{text(c[1])} = {text(c[2])}"[:110] for c in MEANINGLESS])
def test_what_means_nothing_is_refused(by, lhs, rhs):
    with pytest.raises(REFUSALS):
        by(lhs, rhs)


def worlds(by):
    if isinstance(by, IID):
        return [World(0, 1, 3, 1, samples=3, zero=by.zero)]
    return [World(0, 2, 3, 2, bend=not isinstance(by, On)), World(1, 2, 2, 0, samples=1)]


@pytest.mark.parametrize("rule", NEAR_MISSES)
def test_near_misses_are_false(rule):
    """Else the test above would ask a prover to miss a theorem."""
    for by, lhs, rhs in NEAR_MISSES[rule]:
        try:
            assert any(not world.gap(lhs, rhs) < TOLERANCE for world in worlds(by)), text(lhs) + " = " + text(rhs)
        except ILL_FORMED:
            continue


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("id", [x for x in CLAIMS if x.startswith("iid/")])
def test_samples_agree_with_enumeration(id, size):
    """Every data set of 2, 3 and 4 samples, written out."""
    claim = CLAIMS[id]
    assert World(size, 1, 3, 0, samples=size, zero=claim.by.zero).gap(claim.lhs, claim.rhs) < TOLERANCE


# -- the carriers ---------------------------------------------------------------------------------------
def ring():
    out = Symbolic(["x", "y", "dx"])
    out.declare("x", out.generator("x"), out.generator("dx"))
    return out, *map(out.generator, ("x", "y", "dx"))


def test_derivation_of_polynomials():
    K, x, y, dx = ring()
    assert K.D(x**3 * y) == 3 * x**2 * y * dx
    assert K.D(y) == 0 and K.D(K.one) == 0
    assert K.D(x * x) != 2 * x and K.D(x * y) != dx


def test_division_must_be_exact():
    K, x, y, _ = ring()
    assert K.divide(x * y, x) == y
    for below in (y + 1, K.zero, x**2 * y):
        with pytest.raises(IllFormed):
            K.divide(x * y, below)


def test_a_gradient_is_linear_in_its_direction():
    K, x, y, dx = ring()
    assert K.partials(x * dx, ["dx"]) == [x]
    for value in (dx**2, x * dx + y, x):
        with pytest.raises(IllFormed):
            K.partials(value, ["dx"])


def test_dual_numbers():
    x, y = Dual(QQ(3), QQ(5)), Dual(QQ(2), QQ(7))
    assert [((x + y).v, (x + y).d), ((x - y).v, (x - y).d), ((x * y).v, (x * y).d)] == [(5, 12), (1, -2), (6, 31)]
    assert ((x / y).v, (x / y).d) == (QQ(3, 2), QQ(5 * 2 - 3 * 7, 4))
    assert ((x**3).v, (x**3).d) == (27, 135) and (1 - x).d == -5 and (2 / y).d == QQ(-14, 4) and (1 + x).v == 4
    with pytest.raises(IllFormed):
        x / Dual(QQ(0), QQ(1))


def test_a_point_carries_one_derivative():
    K = Point(["x"])
    once = K.D(K.declare("x", K.generator("x"), Dual(QQ(2), QQ(0))))
    assert once.v == 2 and once.d is None
    for unknown in (once + 1, once - 1, once * 2, once / 3, 1 / once, 1 - once):
        assert unknown.d is None
        with pytest.raises(NotImplementedError):
            K.D(unknown)
    with pytest.raises(IllFormed):
        K.generator("z")


def test_a_point_is_random_and_far_from_zero():
    values = [Point([f"x{n}" for n in range(20)], seed=seed).generator("x1").v for seed in range(5)]
    assert len(set(values)) == 5 and all(1 <= v <= 2**61 for v in values)
    K = Point(["x", "y"])
    assert K.difference(K.generator("x"), K.generator("y")) != 0 and K.difference(K.generator("x"), K.generator("x")) == 0


def test_a_witness_is_a_counterexample():
    K, x, y, _ = ring()
    assert K.difference(x, x) == 0
    found = K.difference(x * y, y)
    values = dict(zip("xy", (1, 1), strict=True))
    assert found != 0 and "at" in found.describe() and sp.sympify(found.polynomial.as_expr().subs(values)) == 0
