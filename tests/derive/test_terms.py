"""`Calculus`, `Objective`, `NormalPolicy`, `Logits` and `Completions`: what they prove, and what they must not."""
import pytest
import sympy as sp

from rlbook.derive import IllFormed, Refuted, Undecided, claim, latex
from rlbook.derive.calculus import Calculus, derivative
from rlbook.derive.claims import Claim
from rlbook.derive.definitions import STANDARD
from rlbook.derive.induction import Induction
from rlbook.derive.language import Â, T, Vhat, a, at, f, grad, indicator, log, r, s, s_, sg, t, θ, π, τ, φ
from rlbook.derive.logits import Completions, Logits
from rlbook.derive.mutate import ILL_FORMED, score_definition
from rlbook.derive.normal import NormalPolicy
from rlbook.derive.objective import Objective, near_old
from rlbook.derive.plain import text
from rlbook.derive.terms import Δ, H, Hp, Lppo, Vφ, best, log_normal, p_, prefers, rφ, v_, w1, y1, y2, ς, σ

from . import opinion
from .catalogue_ppo_terms import CLAIMS, calculus, clipped, objective
from .near_misses_terms import MEANINGLESS, NEAR_MISSES
from .test_mutation import examine_claim

CASES = [(rule, by, *pair) for rule, (by, pairs) in NEAR_MISSES.items() for pair in pairs]
TERMS = Calculus | Objective | NormalPolicy | Logits | Completions


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


@pytest.mark.parametrize("by, lhs, rhs", MEANINGLESS, ids=[f"{type(c[0]).__name__}: {text(c[1])}"[:110] for c in MEANINGLESS])
def test_what_means_nothing_is_refused(by, lhs, rhs):
    with pytest.raises(ILL_FORMED):
        by(lhs, rhs)


def test_every_rule_has_two_near_misses():
    assert all(len(pairs) >= 2 for _, pairs in NEAR_MISSES.values())


@pytest.mark.parametrize("head", [H, Lppo, log_normal, σ, prefers, p_, Hp, best], ids=lambda head: head.__name__)
def test_a_definition_is_pinned_by_the_catalogue(head):
    """No mistake in a definition leaves all of these claims true, but for those that the claims cannot see."""
    alive = [x for x in score_definition(head, list(CLAIMS.values())) if x.outcome == "survived"]
    assert not alive, [f"{x.kind}: {text(x.mutant)}" for x in alive]


def test_a_wrong_formula_is_refuted_with_numbers(own_book):
    with pytest.raises(Refuted, match="at Delta = 1"):
        claim("wrong", grad(log(σ(Δ)), Δ), σ(Δ), by=Calculus())


def test_a_wrong_objective_has_no_counterexample_here(own_book):
    with pytest.raises(Undecided, match="neither proved nor refuted"):
        claim("wrong", grad(Lppo(θ, φ), w1), 0, by=Objective())


def test_the_target_of_a_terminal_reward():
    """With γ = λ = 1, rewards that are paid at the end, and a worthless end, every target is the return."""
    paid = Induction(T, base=t, given=[(r[t], indicator(t, T) * f(τ))])
    target = at(Â[t], γ=1, λ=1) + Vhat(s[t])
    assert paid(target, f(τ) + Vhat(s[T + 1])) == 0
    assert paid(target, 2 * f(τ) + Vhat(s[T + 1])) != 0
    assert "where r[t] = " in paid.describe()


def test_the_author_can_replace_a_definition():
    assert Calculus(given=[(σ(Δ), Δ)])(prefers(y1, y2), rφ(y1) - rφ(y2)) == 0
    with pytest.raises(IllFormed, match="defined twice"):
        Calculus(given=[(σ(Δ), Δ), (σ(Δ), 2 * Δ)])


def test_derivatives_of_functions_with_parameters():
    value = Vφ(s_)
    assert derivative(value**2 * sg[value], φ) == 2 * value * grad(value, φ) * sg[value]
    assert derivative(π(a[t], s_) * value, φ) == π(a[t], s_) * grad(value, φ)
    assert derivative(grad(value, φ), φ) == grad(grad(value, φ), φ)


def test_near_old_leaves_what_it_does_not_know():
    assert near_old(clipped) == clipped.args[0] or near_old(clipped) == clipped.args[1]
    with pytest.raises(Undecided, match="where θ_old = θ"):
        near_old(clipped.xreplace({sp.Integer(1): sp.Integer(2)}))


@pytest.mark.parametrize("by", [calculus, objective, Logits(), NormalPolicy(), Completions()], ids=lambda by: type(by).__name__)
def test_it_says_how_it_proves(by):
    assert by.level == "P" and by.describe().startswith("proved") and isinstance(by, TERMS)
    assert type(by.under(STANDARD)) is type(by)


def test_how_it_prints():
    assert latex(grad(Vφ(s_), φ)) == r"\nabla_\phi V_\phi(s)"
    assert latex(H(s_)) == r"\mathcal{H}\left[\pi_\theta(\cdot \mid s)\right]"
    assert latex(prefers(y1, y2)) == r"P(y_{1} \succ y_{2})"
    assert latex(p_(v_)) == "p_{v}" and latex(Hp()**2) == r"\mathcal{H}(p)^{2}"
    assert latex(log_normal(Δ, 0, ς)) == r"\log \mathcal{N}\left(\Delta;\, 0, \sigma^2\right)"
    assert latex(STANDARD[p_].body) == r"\frac{e^{z_{y} / \kappa}}{\sum_{v} e^{z_{v} / \kappa}}"
    assert latex(indicator(t, T)) == r"\mathbf{1}[t = T]"
    assert latex(at(Â[t], γ=1, λ=1)) == r"\left. \hat A_{t} \right|_{\gamma=1,\, \lambda=1}"


def test_a_claim_of_the_book_shows_its_level(own_book):
    one = claim("soft-plus", grad(log(1 + sp.exp(Δ)), Δ), σ(Δ), by=Calculus())
    assert isinstance(one, Claim) and one.level == "P" and "rules of differentiation" in one.how()
