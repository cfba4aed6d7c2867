"""What once got past the provers of the chapters on GRPO: captured variables, constants that move, quotients that cancel."""
import math

import pytest
import sympy as sp

from rlbook.derive import Calculus, Cases, Completions, Counts, IllFormed, Logits, Objective, Rewards, Undecided, claim
from rlbook.derive.advantages import (
    E_o,
    Âg,
    Âloo,
    Âs,
    Âε,
    binomial,
    c_,
    e1,
    e2,
    go,
    mean,
    rate,
    short_right,
    short_wrong,
    sqrt,
    std,
    std_sample,
    uo,
    wG,
)
from rlbook.derive.decide import any_group, any_sample, any_size, any_trajectory, pass_fail, softmax, whole_trajectory
from rlbook.derive.groups import Groups
from rlbook.derive.grpo import E_group, Jclip, Âi, Âit, before, kit, length, o, rit, si
from rlbook.derive.induction import Induction
from rlbook.derive.language import (
    Â,
    Σ,
    AtOld,
    G,
    N,
    T,
    Vhat,
    a_,
    at,
    b_,
    grad,
    i,
    indicator,
    j,
    k,
    l,
    log,
    r,
    s,
    t,
    x,
    z,
    α,
    ε,
    θ,
    π,
)
from rlbook.derive.mutate import ILL_FORMED
from rlbook.derive.small_groups import SmallGroups
from rlbook.derive.terms import v_

others = [(x[i], r[i] - Σ(r[j] * (1 - indicator(i, j)), (j, 1, G)) / (G - 1))]
products = [(x[i], Σ(r[i] * r[j], (j, 1, G)))]
new = π(o[i, t], before(i, t))
chance = binomial(G, k) * rate**k * (1 - rate)**(G - k)
over = Σ(Âg(i)**2, (i, 1, G)) / G


pytestmark = pytest.mark.usefixtures("own_book")


def refused(by, lhs, rhs):
    try:
        return by(sp.sympify(lhs), sp.sympify(rhs)) != 0
    except ILL_FORMED:
        return True


# -- what is given ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("given, lhs, false, true", [
    (others, mean(x), mean(r), 0), (others, x[i], r[i] - mean(r), Âloo(i)),
    (products, mean(x), Σ(r[j]**2, (j, 1, G)), G * mean(r)**2), ([(x[i], mean(r) * r[i])], mean(x), mean(r), mean(r)**2)])
def test_a_sum_in_what_is_given_keeps_its_variable(given, lhs, false, true):
    by = Rewards(given=given)
    assert by(lhs, sp.sympify(true)) == 0 and by.gap(lhs, true) < 1e-9
    assert refused(by, lhs, false) and by.gap(lhs, false) > 1e-9
    assert by.counterexample(lhs, sp.sympify(false)) is not None


@pytest.mark.parametrize("pair", [
    (x[i], r[j]), (x[i], r[k]), (x[1], r[1]), (x[i, j], r[i]), (r[i], c_), (uo[i], c_), (c_, r[i]), (x[i], 2 * x[i]),
    (x[i], grad(r[i])), (x[i], E_o[r[i]]), (x[i], r[i] / (i - 1)), (x[i], 1 / r[i]), (mean(r), c_)])
def test_what_is_given_is_a_formula_in_its_own_index(pair):
    with pytest.raises(IllFormed):
        Rewards(given=[pair])


def test_a_sum_around_what_is_given_does_not_bind_its_letters():
    with pytest.raises(Undecided, match="one of what is given"):
        Rewards(given=[(x[i], α * r[i])])(sp.Sum(x[1], (α, 1, 2)), 2 * x[1])


@pytest.mark.parametrize("pair", [
    (rit[i, t], 1), (kit[i, t], 0), (si[i], 1), (mean(r), 0), (new, 1), (o[i, t], 1), (Jclip(θ), 0), (c_, 1), (uo[i], 0),
    (length(i), -N), (length(i), α), (length(i), c_), (length(i), length(j)), (Âit[i, t], r[j]), (Âit[i, 1], r[i]),
    (length(1), N)])
def test_a_group_is_given_advantages_rewards_and_lengths_only(pair):
    with pytest.raises(IllFormed):
        Groups(given=[pair])


def test_the_page_says_what_a_group_is_given():
    one = claim("a", AtOld(Jclip(θ)), 0, by=Groups(given=[(Âit[i, t], Âg(i))]))
    assert one.latex().endswith(r"= 0 \qquad\text{where } \hat A_{i,t} = \hat A_{i}")
    two = Groups(given=[(Âit[i, t], r[i] - mean(r)), (length(i), N)])
    assert two.condition() == r"\hat A_{i,t} = r_{i} - \operatorname{mean}(r),\; |o_{i}| = N"
    assert "where" not in claim("b", log(new) - log(new), 0, by=Groups()).latex()
    assert "equal rewards count as 0" in Groups().describe() and "not taken at the ends of a clip" in Groups().describe()


@pytest.mark.parametrize("shown", [False, True])
def test_an_induction_says_what_it_is_given_where_it_is_asked_to(shown):
    by = Induction(T, base=t, shown=shown, given=[
        (r[l], indicator(l, T) * Âi[i]), (Vhat(s[l]), (1 - indicator(l, T + 1)) * mean(r))])
    for one in (by, by.under({})):
        assert one.condition().startswith("r_{l} = ") is shown
    assert (r"\text{where }" in claim("a", at(Â[t], γ=1, λ=1), Âi[i] - mean(r), by=by).latex()) is shown


# -- what depends on the policy --------------------------------------------------------------------------
MOVING = rate, uo[i], wG(G, rate), short_right, short_wrong, go, e1, e2, α**rate, 2**go
PROVERS = {"any_size": any_size, "any_sample": any_sample, "whole_trajectory": whole_trajectory, "any_group": any_group,
           "any_trajectory": any_trajectory(), "Objective": Objective(), "Groups": Groups(), "Calculus": Calculus(),
           "Logits": Logits(), "Completions": Completions(), "pass_fail": pass_fail}


@pytest.mark.parametrize("letter", MOVING, ids=str)
@pytest.mark.parametrize("name", PROVERS)
def test_what_depends_on_the_policy_is_no_constant(name, letter):
    by = PROVERS[name]
    assert refused(by, grad(letter), 0)
    assert refused(by, grad(letter * c_), 0)
    if not letter.has(rate):
        assert refused(by, grad(letter * rate), letter * grad(rate))


@pytest.mark.parametrize("by, lhs, rhs", [
    (Groups(), grad(rate * log(new)), rate * grad(log(new))), (Groups(), grad(uo[i] * log(new)), uo[i] * grad(log(new))),
    (softmax, grad(rate * π(a_), θ[b_]), rate * grad(π(a_), θ[b_])), (Logits(), grad(rate, z[v_]), 0),
    (Logits(), grad(go * z[v_], z[v_]), go), (Objective(), grad(go * rate, rate), go),
    (Objective(), grad(short_right * rate, rate), short_right), (Calculus(), grad(short_right * rate, rate), short_right),
    (Calculus(), grad(uo[i] * rate, rate), uo[i]), (Cases({rate: [0, 1]}), grad(short_right * rate, rate), short_right),
    (pass_fail, grad(rate**go), go * rate**(go - 1) * grad(rate))])
def test_nor_is_it_one_beside_something_else(by, lhs, rhs):
    assert refused(by, lhs, rhs)


@pytest.mark.parametrize("by, lhs, rhs", [
    (pass_fail, grad(rate**2), 2 * rate * grad(rate)), (Calculus(), grad(e1 * e2, e1), e2),
    (Calculus(), grad(rate**2, rate), 2 * rate), (Objective(), grad(rate**2, rate), 2 * rate),
    (Cases({go: [0, 1]}), grad(go**2, go), 2 * go)])
def test_a_derivative_along_the_letter_itself_is_calculus(by, lhs, rhs):
    assert by(lhs, rhs) == 0


# -- what stands below a fraction bar --------------------------------------------------------------------
@pytest.mark.parametrize("by", [any_group, pass_fail], ids=["any_group", "pass_fail"])
@pytest.mark.parametrize("lhs, rhs", [
    (E_o[std(r) / std_sample(r)], sqrt((G - 1) / G)), (E_o[Âg(i) / Âs(i)], sqrt(G / (G - 1))), (E_o[over], 1),
    (E_o[mean(r) / Σ(r[j], (j, 1, G))], 1 / G), (E_o[Âg(i) / (r[i] - mean(r))], E_o[1 / std(r)]),
    (E_o[Âε(i) / Âg(i)], E_o[std(r) / (std(r) + ε)]), (E_o[(r[i] + r[i]**2) / r[i]], 1 + E_o[r[i]]),
    (E_o[r[i] * std(r) / std_sample(r)], sqrt((G - 1) / G) * E_o[r[i]]),
    (E_o[Σ(Âg(i) * Âs(i), (i, 1, G)) / G], sqrt((G - 1) / G))], ids=str)
def test_inside_a_mean_nothing_is_cancelled_that_may_be_zero(by, lhs, rhs):
    assert refused(by, lhs, rhs)


@pytest.mark.parametrize("lhs, rhs", [
    (E_o[std(r) / std_sample(r)], sqrt((G - 1) / G)), (E_o[Âg(i) / Âs(i)], sqrt(G / (G - 1))),
    (E_o[mean(r) / Σ(r[j], (j, 1, G))], 1 / G), (E_o[(r[i] + r[i]**2) / r[i]], 1 + E_o[r[i]])], ids=str)
def test_small_groups_do_not_cancel_it_either(lhs, rhs):
    for size, seed in ((2, 0), (3, 1)):
        world = SmallGroups(pass_fail, size, seed)
        assert world.gap(lhs, rhs) > 1e-3
    equal = math.fsum(x**3 for x in (world.rate, 1 - world.rate))          # the chance of three equal rewards
    assert math.isclose(world.value(pass_fail.written_out(E_o[std(r) / std_sample(r)]), {}), (1 - equal) * math.sqrt(2 / 3))


def test_but_what_vanishes_with_it_is():
    for by in (any_group, pass_fail):
        assert by(E_o[Σ(Âg(i) * Âs(i), (i, 1, G)) / G], sqrt((G - 1) / G) * E_o[over]) == 0
        assert by(E_o[std(r)**2 / std_sample(r)], sqrt((G - 1) / G) * E_o[std(r)]) == 0
    assert any_group(std(r) / std_sample(r), sqrt((G - 1) / G)) == 0          # (no mean: where neither is 0)


@pytest.mark.parametrize("by", [any_group, pass_fail, any_size, any_sample, Objective(), Logits(), whole_trajectory],
                         ids=lambda by: type(by).__name__)
def test_under_a_sum_nothing_is_cancelled_that_may_be_zero(by):
    for low, high, known in ((0, G, False), (1, G, True), (-G, -1, True), (-1, G, False)):
        lhs, rhs = Σ((k + k**2) / k, (k, low, high)), Σ(1 + k, (k, low, high))
        if known and by is not any_sample:
            assert by(lhs, rhs) == 0
        else:
            assert known or refused(by, lhs, rhs)
    assert refused(by, Σ((k - G + (k - G)**2) / (k - G), (k, 0, G)), Σ(1 + k - G, (k, 0, G)))
    if by in (any_group, pass_fail):
        assert refused(by, Σ(chance * (k + k**2) / k, (k, 0, G)), Σ(chance * (1 + k), (k, 0, G)))


def test_nor_in_a_mean_over_groups_of_an_old_policy():
    by = Groups()
    for lhs, rhs in ((Âg(i) / (r[i] - mean(r)), 1 / std(r)), ((Âi[i] + Âi[i]**2) / Âi[i], 1 + Âi[i])):
        assert refused(by, E_group[lhs], E_group[rhs])


# -- numbers that are none ---------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [*({"size": x} for x in (2.5, -1, 0, 1, True, "2")), {"p": α}])
def test_a_group_has_two_completions_or_more(options):
    with pytest.raises(IllFormed):
        Rewards(**options)


@pytest.mark.parametrize("number", [True, 0, 1.0, "1"])
def test_k_is_a_whole_number(number):
    with pytest.raises(ValueError, match="whole number"):
        Counts(number)


@pytest.mark.parametrize("weight", [
    wG(-1, rate), wG(1, rate), wG(0, rate), wG(G - 1, rate), wG(sp.Rational(5, 2), rate), wG(2, 2 * rate), wG(2, c_), wG(2, 1),
    wG(2, 0), wG(2, -rate), wG(r[1], rate), wG(α, rate)], ids=str)
def test_a_weight_is_that_of_a_group_and_of_a_probability(weight):
    for by in (any_group, pass_fail):
        with pytest.raises(IllFormed, match="from 2 on and a probability"):
            by(weight, weight)
