"""`Groups`: what it proves of the tokens of a group of completions, and what it must not."""
import pytest

from rlbook.derive import IllFormed, Refuted, Undecided, claim, latex
from rlbook.derive.definitions import STANDARD
from rlbook.derive.groups import Groups, near_old, quiet
from rlbook.derive.grpo import E_group, Jcispo, Jclip, Jdapo, Jdr, Jgrpo, Jgspo, Jrloo, Âi, Âit, kit, mit, rit, si, πoi
from rlbook.derive.language import AtOld, G, V, grad, i, log, r, s_, t, θ, π, π_old, π_ref
from rlbook.derive.mutate import ILL_FORMED, score_definition
from rlbook.derive.plain import text

from . import opinion, survivors
from .catalogue_grpo import CLAIMS, adv, groups, in_group, new, ratio, score, surrogate, tokens_of
from .near_misses_grpo import MEANINGLESS, NEAR_MISSES
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
    assert opinion.tells_apart(by, lhs, rhs)


@pytest.mark.parametrize("by, lhs, rhs", MEANINGLESS, ids=[text(c[1])[:110] for c in MEANINGLESS])
def test_what_means_nothing_is_refused(by, lhs, rhs):
    with pytest.raises(ILL_FORMED):
        by(lhs, rhs)


def test_every_rule_has_two_near_misses():
    assert all(len(pairs) >= 2 for _, pairs in NEAR_MISSES.values())


@pytest.mark.parametrize("head", [rit, kit, mit, si, πoi, Jclip, Jgrpo, Jrloo, Jdr, Jdapo, Jgspo, Jcispo], ids=str)
def test_a_definition_is_pinned_by_the_catalogue(head):
    """No mistake in a definition leaves all of these claims true."""
    every = 2 * survivors.EVERY.get(STANDARD[head].name, 1)       # (the claims of the book see twice as many)
    alive = [x for x in score_definition(head, list(CLAIMS.values()), every=every) if x.outcome == "survived"]
    assert not alive, [f"{x.kind}: {text(x.mutant)}" for x in alive]


def test_a_wrong_formula_is_refuted_with_a_small_group(own_book):
    with pytest.raises(Refuted, match=r"at i = 1, t = 1, G = 2, length\(1\) = 1"):
        claim("wrong", grad(ratio), score, by=Groups())
    with pytest.raises(Refuted, match="at G = 1"):
        claim("wrong", grad(Jclip(θ)), grad(Jdr(θ)), by=Groups())


def test_a_mean_of_rewards_is_not_refuted_by_one_group(own_book):
    """E[r_1 - r_2] is 0 although r_1 - r_2 is not."""
    with pytest.raises(Undecided, match="neither proved nor refuted"):
        claim("true", E_group[r[1]], E_group[r[2]], by=Groups())


def test_what_is_inside_a_mean_is_known_for_one_law_only():
    for lhs, rhs in ((Jclip(θ), AtOld(Jclip(θ))), (E_group(π)[r[1]], r[1]), (Jclip(θ)**2, 0)):
        with pytest.raises(Undecided):
            groups(lhs, rhs)


def test_the_author_can_say_what_the_advantage_is():
    by = Groups(given=[(Âit[i, t], Âi[i])])
    assert by(tokens_of(adv), tokens_of(Âi[i])) == 0 and groups(tokens_of(adv) - tokens_of(Âi[i]), 0) != 0
    assert "where Â[i, t] = Â[i]" in by.describe()
    assert by.level == "P" and by.describe().startswith("proved for every group")


def test_near_old_leaves_what_it_does_not_know():
    part = quiet(surrogate(new / π_old(*new.args), adv))
    assert near_old(part) == adv * new / π_old(*new.args)
    with pytest.raises(Undecided, match="where θ_old = θ"):
        near_old(quiet(surrogate(new / π_ref(*new.args), adv)))
    with pytest.raises(IllFormed):
        near_old(AtOld(part))


def test_groups_are_drawn_from_a_policy():
    assert E_group(π_old)[adv] == E_group[adv] != E_group(π)[adv]
    with pytest.raises(TypeError, match="from π or from π_old"):
        E_group(V)


def test_how_it_is_printed():
    assert latex(STANDARD[rit].left) == r"r_{i,t}(\theta)"
    assert latex(new) == r"\pi_\theta(o_{i,t} \mid q, o_{i,<t})"
    assert latex(in_group(tokens_of(adv))) == r"\sum_{i=1}^{G} \sum_{t=1}^{|o_{i}|} \hat A_{i,t}"
    law = r"q,\; o_1, \ldots, o_G \sim \pi_{\mathrm{old}}(\cdot \mid q)"
    assert latex(E_group[adv]) == r"\mathbb{E}_{%s}\!\left[ \hat A_{i,t} \right]" % law
    assert latex(log(πoi(i)) * ratio**2) == r"r_{i,t}(\theta)^{2} \log \pi_\theta(o_{i} \mid q)"
    assert latex(Jdr(θ)) == r"J_{\mathrm{Dr.\,GRPO}}(\theta)" and latex(G * s_) == "G s"
