"""Random trees: what a prover reduces to zero is zero, and its normal form has the value of the tree it came from."""
import itertools

import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.derive import mutate
from rlbook.derive.decide import any_size, softmax
from rlbook.derive.language import (
    Σ,
    AtOld,
    E,
    G,
    T,
    Var,
    a_,
    b,
    b_,
    f,
    grad,
    i,
    j,
    log,
    p,
    r,
    s_,
    s_new,
    sg,
    t,
    β,
    γ,
    θ,
    π,
    π_old,
    π_ref,
)
from rlbook.derive.samples import IID
from rlbook.derive.sums import LETTER, Curvature, Score, size
from rlbook.derive.worlds import World

U = sp.IndexedBase("u")
group = IID(zero=[sp.Symbol("u")], samples=G)
sums_world = World(3, 2, 3, 1, bend=True)
data_world = World(3, 1, 3, 0, samples=3, zero=group.zero)
soft_world = World(3, 2, 3, 1)
FEW, MANY = settings(max_examples=60), settings(max_examples=150)


# -- what is drawn ----------------------------------------------------------------------------------------
def leaves(state=s_):
    laws = [law(x, state) for law in (π, π_old, π_ref) for x in (a_, b_)]
    scores = [grad(log(π(x, state))) for x in (a_, b_)]
    return st.sampled_from([*laws, *scores, f(a_), f(b_), b(state), γ, β, sp.Integer(1), sp.Integer(2), log(π(a_, state)),
                            sp.KroneckerDelta(a_, b_), p(s_new, state, a_), γ**t])


def combined(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(pairs.map(lambda x: x[0] + x[1]), pairs.map(lambda x: x[0] - x[1]), pairs.map(lambda x: x[0] * x[1]))


def bodies(inner):
    return st.one_of(
        combined(inner), inner.map(lambda x: x**2), inner.map(lambda x: Σ(x, a_)), inner.map(lambda x: Σ(x, b_)),
        inner.map(lambda x: E(π(a_, s_))[x]), inner.map(lambda x: Σ(π(b_, s_) * x, b_)), inner.map(lambda x: Σ(x, (t, 0, T))),
        inner.map(lambda x: Σ(x * p(s_new, s_, a_), s_new)), inner.map(lambda x: sg[x]))


trees = st.recursive(leaves(), bodies, max_leaves=6)
differentiable = st.one_of(trees, trees.map(grad), trees.map(lambda x: AtOld(grad(x))), trees.map(lambda x: grad(grad(x))),
                           trees.map(lambda x: grad(log(x))))


def as_tree(normal):
    """A normal form in the author's language: u and w are gradients, the size of a set is a sum of ones."""
    sizes = {size(key): Σ(sp.Integer(1), sp.Symbol(LETTER[key] + "9")) for key in LETTER}
    normal = normal.xreplace(sizes)
    plain = normal.replace(lambda x: isinstance(x, Curvature), lambda x: grad(grad(log(x.args[0]))))
    return plain.replace(lambda x: isinstance(x, Score), lambda x: grad(log(x.args[0])))


def proves(by, lhs, rhs):
    try:
        return by(lhs, rhs) == 0
    except mutate.ILL_FORMED:
        return False


def holds(world, lhs, rhs):
    """By the independent reader; what has no value (a logarithm of a negative number, sample G + 1) is no counterexample."""
    try:
        gap = world.gap(lhs, rhs)
    except mutate.ILL_FORMED:
        return True
    return gap != gap or gap < 1e-8


def keeps_its_value(by, world, tree):
    try:
        normal = as_tree(by.tree(by.normal(tree)))
    except mutate.ILL_FORMED:
        return True
    return holds(world, tree, normal)


def survivors_hold(by, world, tree, most=40):
    """Every mutant that the prover takes for the tree itself is equal to it."""
    for _, mutant in itertools.islice(mutate.mutants(tree), most):
        if proves(by, tree, mutant):
            assert holds(world, tree, mutant), (tree, mutant)


# -- finite sets --------------------------------------------------------------------------------------------
@MANY
@given(differentiable)
def test_sums_keep_their_value(tree):
    assert keeps_its_value(any_size, sums_world, tree)


@MANY
@given(differentiable, differentiable)
def test_sums_that_are_proved_equal_are_equal(x, y):
    if proves(any_size, x, y):
        assert holds(sums_world, x, y)


@FEW
@given(differentiable)
def test_sums_and_their_mutants(tree):
    survivors_hold(any_size, sums_world, tree)


@MANY
@given(trees, trees, trees)
def test_sums_know_algebra(x, y, z):
    """Rearranged trees are recognised: the prover is not merely silent."""
    for lhs, rhs in ((Σ(x + y, a_), Σ(y, a_) + Σ(x, a_)), ((x + y) * z, z * y + x * z), (grad(x * y), y * grad(x) + x * grad(y)),
                     (Σ(Σ(x, a_), b_), Σ(Σ(x, b_), a_)), (grad(Σ(x, a_)), Σ(grad(x), a_))):
        try:
            assert any_size(lhs, rhs) == 0
        except mutate.ILL_FORMED:
            continue


# -- softmax ------------------------------------------------------------------------------------------------
soft_leaves = st.sampled_from([π(a_), π(b_), f(a_), f(b_), log(π(a_)), sp.Integer(2), sp.KroneckerDelta(a_, b_), π_ref(a_),
                               π(a_, s_)])
c_ = sp.Symbol("a0")


def soft_bodies(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(pairs.map(lambda x: x[0] + x[1]), pairs.map(lambda x: x[0] * x[1]), inner.map(lambda x: Σ(x, a_)),
                     inner.map(lambda x: E(π(a_))[x]), inner.map(lambda x: grad(x, θ[b_])), inner.map(lambda x: grad(x, θ[c_])))


soft_trees = st.recursive(soft_leaves, soft_bodies, max_leaves=5)


@MANY
@given(soft_trees)
def test_softmax_keeps_its_value(tree):
    assert keeps_its_value(softmax, soft_world, tree)


@MANY
@given(soft_trees, soft_trees)
def test_softmax_that_is_proved_equal_is_equal(x, y):
    if proves(softmax, x, y):
        assert holds(soft_world, x, y)


@FEW
@given(soft_trees)
def test_softmax_and_its_mutants(tree):
    survivors_hold(softmax, soft_world, tree)


# -- independent samples --------------------------------------------------------------------------------------
sample_leaves = st.sampled_from([r[i], U[i], r[i], U[i], r[i] * U[i], sp.Integer(2), G, γ, 1 / G])
sample_bodies = st.recursive(sample_leaves, lambda inner: st.tuples(inner, inner).flatmap(
    lambda x: st.sampled_from([x[0] + x[1], x[0] * x[1], x[0] - x[1]])), max_leaves=3)
totals = sample_bodies.map(lambda x: Σ(x, (i, 1, G)))
nested = st.tuples(sample_bodies, sample_bodies).map(lambda x: Σ(x[0] * Σ(x[1].xreplace({i: j}), (j, 1, G)), (i, 1, G)))
some = st.one_of(totals, nested, combined(totals), sample_bodies)
means = st.one_of(some.map(lambda x: E[x]), totals.map(lambda x: Var[x]), st.tuples(some, some).map(lambda x: E[x[0]] * E[x[1]]))


@MANY
@given(means)
def test_samples_keep_their_value(tree):
    assert keeps_its_value(group, data_world, tree)


@FEW
@given(means, means)
def test_samples_that_are_proved_equal_are_equal(x, y):
    if proves(group, x, y):
        assert holds(data_world, x, y)


@FEW
@given(means)
def test_samples_and_their_mutants(tree):
    survivors_hold(group, data_world, tree, most=15)
