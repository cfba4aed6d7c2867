"""`Rewards`: what it proves of the rewards of a group, and what it must not; small groups, which know better."""
import itertools
import math

import pytest
import sympy as sp

from rlbook.derive import IllFormed, Refuted, Rewards, Undecided, claim, define, latex, refute
from rlbook.derive.advantages import E_o, Âg, Âloo, Âs, Âε, asin, c_, mean, o_, rate, ro, sqrt, std, std_sample, tokens, uo, wG
from rlbook.derive.algebra import Counterexample
from rlbook.derive.claims import BOOK, Claim
from rlbook.derive.decide import any_group, any_size, pass_fail
from rlbook.derive.definitions import STANDARD
from rlbook.derive.grpo import length
from rlbook.derive.language import Σ, E, G, P, grad, i, j, r, x, α, τ
from rlbook.derive.mutate import ILL_FORMED, score_definition
from rlbook.derive.plain import text
from rlbook.derive.roots import positive
from rlbook.derive.small_groups import SmallGroups
from rlbook.derive.worlds import TOLERANCE

from . import opinion
from .catalogue_rewards import CLAIMS, over, shift, units, zero_one
from .near_misses_rewards import MEANINGLESS, NEAR_MISSES
from .test_mutation import examine_claim

CASES = [(rule, by, *pair) for rule, (by, pairs) in NEAR_MISSES.items() for pair in pairs]


@pytest.mark.parametrize("id", CLAIMS)
def test_it_is_proved_and_true(id):
    one = CLAIMS[id]
    assert one.residual() == 0 and one.level == "P"
    assert opinion.agrees(one.by, one.instances())


@pytest.mark.parametrize("id", CLAIMS)
def test_every_small_mistake_in_it(id, record_property):
    examine_claim(CLAIMS[id], record_property)


@pytest.mark.parametrize("rule, by, lhs, rhs", CASES, ids=[f"{c[0]}: {text(c[2])} = {text(c[3])}"[:110] for c in CASES])
def test_a_near_miss_is_false_and_not_proved(rule, by, lhs, rhs):
    try:
        assert by(lhs, rhs) != 0
    except ILL_FORMED:
        pass
    assert any(world.gap(lhs, rhs) > TOLERANCE for world in opinion.worlds(by))


@pytest.mark.parametrize("by, lhs, rhs", MEANINGLESS, ids=[text(c[1])[:110] for c in MEANINGLESS])
def test_what_means_nothing_is_refused(by, lhs, rhs):
    with pytest.raises(ILL_FORMED):
        by(lhs, rhs)


def test_every_rule_has_two_near_misses():
    assert all(len(pairs) >= 2 for _, pairs in NEAR_MISSES.values())


@pytest.mark.parametrize("head", [mean, std, std_sample, Âg, Âε, Âs, Âloo, wG], ids=lambda head: head.__name__)
def test_a_definition_is_pinned_by_the_catalogue(head):
    """No mistake in a definition leaves all of these claims true."""
    alive = [v for v in score_definition(head, list(CLAIMS.values())) if v.outcome == "survived"]
    assert not alive, [f"{v.kind}: {text(v.mutant)}" for v in alive]


# -- small groups ----------------------------------------------------------------------------------------
def test_the_mean_over_groups_is_a_sum_over_all_of_them():
    """E of the square of the mean reward, by hand: all pairs of three completions."""
    world = SmallGroups(any_group, 2, seed=3)
    pairs = itertools.product(zip(world.chance, world.reward, strict=True), repeat=2)
    expected = math.fsum(p * q * ((x + y) / 2)**2 for (p, x), (q, y) in pairs)
    assert math.isclose(world.value(any_group.written_out(E_o[mean(r)**2]), {}), expected, rel_tol=1e-12)


def test_p_is_the_chance_to_be_right_and_its_gradient_that_of_a_softmax():
    """Scores are e_x - E[e] along a direction e of the logits; the gradient of p along it, by differences."""
    world = SmallGroups(pass_fail, 2, seed=1)
    step = 1e-6

    def right(size):
        weights = [p * math.exp(size * u) for p, u in zip(world.chance, world.score, strict=True)]
        return sum(w * x for w, x in zip(weights, world.reward, strict=True)) / sum(weights)

    assert math.isclose(world.rate, right(0), rel_tol=1e-12)
    slope = (right(step) - right(-step)) / (2 * step)
    assert math.isclose(world.value(grad(rate), {}), slope, rel_tol=1e-6)
    arc = world.value(grad(2 * asin(sqrt(rate))), {})
    assert math.isclose(arc, slope / math.sqrt(world.rate * (1 - world.rate)), rel_tol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_weight_of_a_prompt_by_all_groups(size):
    """The expected gradient of GRPO over every group of 0s and 1s is what {eq}`eq-grpo-utility` says."""
    p = 0.3
    total = 0.0
    for group in itertools.product((1, 0), repeat=size):
        mean_, chance = sum(group) / size, math.prod(p if x else 1 - p for x in group)
        std_ = math.sqrt(mean_ * (1 - mean_))
        if std_:
            total += chance * sum((x - mean_) / std_ * (x / p - (1 - x) / (1 - p)) for x in group) / size
    assert math.isclose(float(any_group.written_out(wG(size, sp.Float(p))).doit()), total, rel_tol=1e-12)


# -- refutations ---------------------------------------------------------------------------------------
def test_the_smallest_group_that_refutes():
    found = refute(Âloo(i), shift, by=any_group).found.difference
    assert isinstance(found, Counterexample) and found.difference == sp.Rational(1, 2)
    assert found.where == {G: 2, r[1]: 1, r[2]: 0, i: 1}


def test_a_mean_is_refuted_by_right_and_wrong_answers():
    found = refute(E_o[over(Âg(i) * uo[i])], grad(rate), by=pass_fail).found.difference
    assert sp.simplify(found.difference - sqrt(2) + 1) == 0
    assert found.where == {G: 3, rate: sp.Rational(1, 2), grad(rate): 1}
    assert text(found.where[G]) == "3" and "nabla" in found.latex()
    other = refute(E_o[over(shift * uo[i] / length(i))], E_o[r[i] * uo[i]], by=any_group).found.difference
    assert other.where[length(i)] == 2 - r[i]


def test_a_true_statement_cannot_be_refuted():
    with pytest.raises(ValueError, match="this is true"):
        refute(Âloo(i), G / (G - 1) * shift, by=any_group)


def test_what_no_small_group_refutes_is_undecided():
    """A product of two roots is the root of the product: true here, and no rule of the prover."""
    one, other = over(r[j]**2, j), 1 + over(r[j]**4, j)
    with pytest.raises(Undecided, match="neither proved nor refuted"):
        refute(sqrt(one) * sqrt(other), sqrt(sp.expand(one * other)), by=any_group)


# -- what it says ----------------------------------------------------------------------------------------
def test_the_page_says_what_is_assumed(own_book):
    assert r"\qquad\text{where } x_{i} = c + \alpha r_{i}" in claim("a", std(x), α * std(r), by=units).latex()
    assert r"\text{where } r_{i} \in \{0, 1\}" in claim("b", std(r), sqrt(mean(r) * (1 - mean(r))), by=zero_one).latex()
    assert r"p = \mathbb{E}[r_{i}]" in claim("c", grad(rate), E_o[r[i] * uo[i]], by=pass_fail).latex()
    assert claim("d", Âg(1)**2, 1, by=Rewards(size=2)).latex().endswith("where } G = 2")
    assert "where" not in claim("e", over(Âg(i)), 0, by=any_group).latex()
    assert isinstance(BOOK["a"], Claim) and BOOK["a"].level == "P"


@pytest.mark.parametrize("by, says", [(any_group, "every size from two on"), (pass_fail, "rewards 0 or 1"),
                                      (Rewards(size=2), "groups of 2"), (units, "where x[i] = α*r[i] + c")])
def test_it_says_how_it_proves(by, says):
    assert by.level == "P" and says in by.describe() and by.describe().startswith("proved")
    assert type(by.under(STANDARD)) is Rewards and by.under(STANDARD).describe() == by.describe()


def test_a_wrong_equation_is_refuted_where_it_is_claimed(own_book):
    with pytest.raises(Refuted, match="is refuted"):
        claim("wrong", over(Âg(i)**2), (G - 1) / G, by=any_group)
    with pytest.raises(IllFormed, match="division by zero"):
        claim("wrong", (x[i] - mean(x)) / std(x), 0, by=Rewards(given=[(x[i], c_)]))
    with pytest.raises(IllFormed, match="a mean over completions is E_o"):
        claim("wrong", E[P(τ)], 0, by=any_group)


@pytest.mark.parametrize("known, yes", [
    (rate, True), (1 - rate, True), (rate - 1, False), (G - 1, True), (G - 2, False), (α, True), (rate * (1 - rate) / G, True),
    (c_, False), (rate - rate**2, True), (2 * rate - 1, False), (G - rate, True), (sp.Integer(-3), False)])
def test_what_is_known_to_be_positive(known, yes):
    assert positive(known) is yes


def test_how_it_prints(own_book):
    assert latex(STANDARD[Âg].body) == r"\frac{r_{i} - \operatorname{mean}(r)}{\operatorname{std}(r)}"
    assert latex(STANDARD[std].body) == \
        r"\sqrt{\frac{1}{G} \, \sum_{j=1}^{G} \left(r_{j} - \operatorname{mean}(r)\right)^{2}}"
    assert latex(Âg(i)**2) == r"\hat A_{i}^{2}" and latex(Âε(i)**2) == r"\left(\hat A^{\varepsilon}_{i}\right)^{2}"
    assert latex(sqrt((G - 1) / G) * Âg(i)) == r"\sqrt{\frac{G - 1}{G}} \hat A_{i}"
    assert latex(E_o[r[i]]) == r"\mathbb{E}_{o_{i} \sim \pi_\theta(\cdot \mid q)}\!\left[ r_{i} \right]"
    assert latex(E_o[std(r)]).startswith(r"\mathbb{E}_{o_1, \ldots, o_G \sim \pi_\theta(\cdot \mid q)}")
    assert latex(wG(2, rate)**2) == "w_{2}^{2}(p)" and latex(asin(sqrt(rate))) == r"\arcsin \sqrt{p}"
    assert latex(ro(o_) / tokens(o_)) == r"\frac{r(o)}{|o|}" and latex(tokens(o_)**2) == "|o|^{2}"
    assert text(E_o[over(Âg(i), i)]) == "E_o[Σ(Âg(i), (i, 1, G))/G]"
    defined = define("a", mean(r), Σ(r[j], (j, 1, G)) / G)
    assert defined.latex() == \
        r"\operatorname{mean}(r) = \frac{1}{G} \, \sum_{j=1}^{G} r_{j}"


def test_any_size_knows_nothing_of_groups():
    """A statistic is any number for the other provers, and so is an advantage: their sum is not known to be zero."""
    assert any_size(over(Âg(i)), 0) != 0


def test_what_is_left_over_can_be_read():
    """The normal form of a difference, as text and as LaTeX: 1/(std(r) + ε) in it, roots, and means that nothing takes apart."""
    left = any_group(E_o[over(Âε(i) * uo[i])], E_o[over(Âg(i) * uo[i])])
    assert "Reciprocal" in text(left) and "InverseRoot" in text(left)
    assert r"\frac{1}{\sqrt{" in latex(left) and r"\mathbb{E}\!\left[" in latex(left) and "None" not in latex(left)
