"""`Counts`: what it proves is true by enumeration, what is false is refuted, and the tree is what the function computes."""
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbook.derive import latex
from rlbook.derive.advantages import binomial, rate
from rlbook.derive.claims import claim, define, derivation, refute
from rlbook.derive.counts import Counts
from rlbook.derive.errors import IllFormed, Refuted, Undecided
from rlbook.derive.language import Π, Σ, E, j, k, n
from rlbook.derive.mutate import ILL_FORMED, judge, score
from rlbook.derive.passk import right
from rlbook.derive.tensors import Tensors
from rlbook.language import pass_at_k

from . import near_misses_passk
from .catalogue_passk import CLAIMS, chance, counts, estimate, law, plug_in, two, without, wrong
from .counting import Counting, subsets
from .test_mutation import examine_claim


@pytest.mark.parametrize("id", CLAIMS)
def test_the_claims_are_proved(id):
    assert CLAIMS[id].residual() == 0


@pytest.mark.parametrize("rule", near_misses_passk.NEAR_MISSES)
def test_near_misses_are_refuted(rule):
    by, cases = near_misses_passk.NEAR_MISSES[rule]
    for lhs, rhs in cases:
        try:
            assert by(lhs, rhs) != 0, (lhs, rhs)
        except ILL_FORMED:
            pass
        try:
            assert not Counting(by).gap(lhs, rhs) < 1e-9, (lhs, rhs)
        except IllFormed:                              # somewhere it has no value
            pass


def test_most_near_misses_come_with_a_counterexample():
    cases = [(by, *pair) for by, pairs in near_misses_passk.NEAR_MISSES.values() for pair in pairs]
    assert sum(judge(by, [pair]) == "refuted" for by, *pair in cases) > 0.9 * len(cases)


@pytest.mark.parametrize("case", near_misses_passk.MEANINGLESS, ids=lambda case: f"{case[1]} = {case[2]}")
def test_what_means_nothing_is_refused(case):
    by, lhs, rhs = case
    with pytest.raises((IllFormed, Undecided)):
        by(lhs, rhs)


@pytest.mark.parametrize("id", CLAIMS)
def test_every_small_mistake_in_it(id, record_property):
    examine_claim(CLAIMS[id], record_property)


def test_most_mistakes_come_with_a_counterexample():
    verdicts = [v.outcome for one in CLAIMS.values() for v in score(one, every=7)]
    assert verdicts.count("refuted") > 90


def test_the_levels_and_the_conditions():
    assert claim("x", E(law)[estimate], 1 - wrong**k, by=counts).level == "P"
    said = claim("x", E(law)[plug_in], 1 - wrong**k - rate * wrong / n, by=two)
    assert said.latex().endswith(r"\qquad\text{where } k = 2") and "n ≥ k = 2" in said.how()
    for k_ in (0, 2.0, -1):
        with pytest.raises(ValueError, match="k is a whole number from 1 on"):
            Counts(k=k_)


def test_the_definition_is_that_of_the_book():
    assert define("x", estimate, 1 - without).left == estimate
    with pytest.raises(Refuted):
        define("x", estimate, 1 - binomial(n - right, k + 1) / binomial(n, k))


def test_the_derivation_of_the_chapter():
    rows = derivation(
        "x", E(law)[without], (Σ(chance(n) * without, (right, 0, n)), "the mean, written out"),
        (Σ(binomial(n - k, right) * rate**right * wrong**(n - right), (right, 0, n - k)), "revision"),
        (wrong**k * Σ(chance(n - k), (right, 0, n - k)), "k factors"), (wrong**k, "the binomial theorem"), by=counts)
    assert rows.level == "P"


def test_the_smallest_bias():
    found = refute(E(law)[plug_in], 1 - wrong**k, by=counts).found.difference
    assert found.where == {n: 2, k: 2, rate: sp.Rational(1, 2)}
    assert found.difference == -sp.Rational(1, 8)


def test_how_it_is_printed():
    assert latex(estimate) == r"\mathrm{pass}@k(n, c)"
    assert latex(estimate**2) == r"\left(\mathrm{pass}@k(n, c)\right)^{2}"
    assert latex(E(law)[right]) == r"\mathbb{E}_{c\sim \mathrm{Bin}(n, p)}\!\left[ c \right]"
    assert latex(n - right - j) == "n - c - j"
    revision = binomial(n, right) * binomial(n - right, k)
    assert latex(revision) == r"{\binom{n}{c}} {\binom{n - c}{k}}"


# -- the bridge ------------------------------------------------------------------------------------------------
@pytest.mark.equation("pass-at-k", "pass-at-k-product", "pass-at-k-unbiased")
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.data())
def test_pass_at_k(n_, data):
    k_ = data.draw(st.integers(1, n_))
    counted = torch.arange(n_ + 1)
    ours = pass_at_k(counted, n_, k_)
    worlds = [Tensors({n: n_, k: k_, right: int(c)}) for c in counted]
    for tree in (estimate, 1 - Π((n - right - j) / (n - j), (j, 0, k - 1))):
        torch.testing.assert_close(ours, torch.stack([world(tree) for world in worlds]), rtol=1e-12, atol=1e-14)
    if n_ <= 8:
        exact = torch.tensor([subsets(n_, int(c), k_) for c in counted], dtype=torch.float64)
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-14)
    p = data.draw(st.floats(0, 1))
    weights = torch.tensor([Tensors({n: n_, rate: p, right: int(c)})(chance(n)) for c in counted])
    torch.testing.assert_close((weights * ours).sum(), torch.tensor(1 - (1 - p)**k_, dtype=torch.float64), rtol=1e-9, atol=1e-11)


@pytest.mark.equation("plug-in-factor")
def test_the_plug_in_estimate_is_never_larger():
    for n_ in range(1, 9):
        for k_ in range(1, n_ + 1):
            plain = torch.stack([Tensors({n: n_, k: k_, right: c})(plug_in) for c in range(n_ + 1)])
            assert (plain <= pass_at_k(range(n_ + 1), n_, k_) + 1e-14).all()
    assert Tensors({n: 2, k: 2, right: 1})(plug_in) < pass_at_k([1], 2, 2)
