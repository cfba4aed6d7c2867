"""What once got past the checker: false statements, false refutations, prints that mislead."""

import pytest
import sympy as sp

from rlbook.derive import (
    Π,
    Σ,
    Φ,
    A,
    E,
    G,
    IllFormed,
    J,
    N,
    P,
    Q,
    R,
    Refuted,
    Slope,
    T,
    Undecided,
    V,
    Var,
    a,
    a_,
    any_sample,
    any_size,
    any_trajectory,
    b_,
    claim,
    exp,
    f,
    grad,
    i,
    indicator,
    j,
    l,
    latex,
    log,
    norm2,
    now,
    p,
    r,
    refute,
    reward,
    s,
    s_,
    s_new,
    softmax,
    t,
    α,
    γ,
    θ,
    θ_next,
    π,
    ρ0,
    τ,
)
from rlbook.derive.claims import BOOK, Claim, Derivation
from rlbook.derive.horizon import Horizon
from rlbook.derive.induction import Induction
from rlbook.derive.language import N_togo, V_old_togo, V_togo, h, head

g = head("g")
score = grad(log(π(a[t], s[t])))

FALSE = {
    "two states given": (E[r[1], s[1], s[0]], E[r[1], s[0]], None),
    "an action of another time": (E[r[0], s[0], a[1]], Σ(p(s_new, s[0], a[1]) * reward(s[0], a[1], s_new), s_new), None),
    "two actions given": (E[r[1], s[1], a[0], a[1]], E[r[1], s[1], a[1]], None),
    "probability of a rest": (E[ρ0(s[0]) * E[P(τ), s[0]]], E[P(τ)], None),
    "a logit is constant": (grad(θ[b_], θ[b_]), 0, softmax),
    "softmax spelled out": (grad(log(exp(θ[a_]) / Σ(exp(θ[b_]), b_)), θ[b_]), 0, softmax),
    "exponentials are constant": (grad(Σ(exp(θ[b_]) * f(b_), b_)), 0, any_size),
    "a logit of a trajectory": (grad(log(P(τ)), θ[b_]), indicator(τ, b_) - P(b_), softmax),
    "a logit of a state": (grad(log(π(a_, s_)), θ[s_new]), indicator(a_, s_new) - π(s_new, s_), softmax),
    "true for two steps, length of a gradient": (Slope(J(θ_next), α), T**5 * norm2(grad(J(θ))), None),
    "true for two steps, first and last reward": (Slope(J(θ_next), α), norm2(grad(E[r[0] + γ * r[T]])), None),
    "true for two actions": (norm2(now), 2 * (1 - π(a[t], s[t]))**2, None),
    "true for tables only": (grad(now), -E(π(a_, s[t]))[grad(log(π(a_, s[t])))**2], None),
    "captured by an inner sum": (Σ(indicator(a_, b_) * log(Σ(g(a_, b_), b_)), a_), log(Σ(g(b_, b_), b_)), any_size),
    "captured by a product": (Σ(indicator(t, l) * Π(g(t, l), (l, 0, T)), (t, 0, T)), Π(g(l, l), (l, 0, T)), any_size),
    "a free index has no range": (Σ(indicator(i, j), (i, 1, N)), Σ(indicator(i, j), (i, 1, G)), any_size),
    "times are no samples": (Σ(E[r[t]], (t, 0, T)) / (T + 1), Σ(E[r[t]], (t, 0, T - 1)) / T, any_sample),
    "a policy sums over states": (Σ(π(s_new, s_), s_new), 1, any_size),
    "a start sums over actions": (Σ(ρ0(a_), a_), 1, any_size),
    "a policy sums over trajectories": (Σ(π(τ, s_), τ), 1, any_size),
    "meaningless, on both sides": (E[r[99], s[7]], E[r[99], s[7]], any_size),
    "divided by zero, on both sides": (1 / E(π(a_))[grad(log(π(a_)))] + 1, 1 + 1 / E(π(a_))[grad(log(π(a_)))], any_size),
    "what belongs to a trajectory is no constant": (Σ(P(τ) * Σ(score, (t, 0, T)), τ), Σ(score, (t, 0, T)), any_size),
    "score without the return": (grad(J(θ)), E[Σ(score, (t, 0, T))], any_trajectory),
    "one step short": (grad(J(θ)), E[Σ(score * R(τ), (t, 0, T - 1))], any_trajectory),
    "one score only": (grad(J(θ)), E[score * R(τ)], any_trajectory),
    "the score of a path without its start": (grad(log(P(τ))), Σ(score, (t, 1, T)), any_trajectory),
    "present rewards only": (grad(J(θ)), E[Σ(γ**t * score * r[t], (t, 0, T))], any_trajectory),
}


@pytest.mark.parametrize("name", FALSE)
def test_false_statements_are_not_accepted(name):
    lhs, rhs, by = FALSE[name]
    with pytest.raises((Refuted, Undecided, IllFormed)):
        claim("sceptic", lhs, rhs, by=by)
    assert "sceptic" not in BOOK


TRUE = {
    "definition of the return": (R(τ), Σ(γ**t * r[t], (t, 0, T)), any_sample),
    "mean score of a trajectory": (E[grad(log(P(τ)))], 0, any_sample),
    "variance about the mean": (E[(R(τ) - E[R(τ)])**2], Var[R(τ)], any_sample),
    "logarithm of one": (log(Σ(π(a_, s_), a_)), 0, any_size),
    "a fraction that cancels": ((f(x := sp.Symbol("x"))**2 - 1) / (f(x) - 1), f(x) + 1, any_size),
    "mean score, over trajectories": (E[Σ(score, (t, 0, T))], 0, any_trajectory),
}


@pytest.mark.parametrize("name", TRUE)
def test_true_statements_are_not_refuted(name):
    lhs, rhs, by = TRUE[name]
    with pytest.raises((ValueError, Undecided)) as caught:
        refute(lhs, rhs, by=by)
    assert not isinstance(caught.value, Refuted)


@pytest.mark.parametrize(("lhs", "rhs", "by"), [
    (grad(J(θ)), E[Σ(score * R(τ), (t, 0, T))], any_trajectory),
    (J(θ), Σ(P(τ) * R(τ), τ), any_trajectory),
    (grad(log(P(τ))), Σ(score, (t, 0, T)), any_trajectory),
    (A(s[t], a[t]), Q(s[t], a[t]) - V(s[t]), None),
])
def test_true_statements_are_accepted(lhs, rhs, by):
    try:
        assert claim("sceptic", lhs, rhs, by=by).level in "PF"
    finally:
        BOOK.pop("sceptic", None)


@pytest.mark.parametrize("where", [{Φ[t]: []}, {Φ[t]: [1]}, {Φ[t]: R(τ)}, {Φ[t]: iter(())}])
def test_where_must_list_values_of_a_symbol_that_occurs(where):
    with pytest.raises(ValueError, match="where"):
        claim("sceptic", 1, 2, where=where)


@pytest.mark.parametrize("by", [5, "any_size", object(), Σ])
def test_by_must_be_a_prover(by):
    with pytest.raises(TypeError, match="prover"):
        claim("sceptic", 1, 1, by=by)


def test_what_is_displayed_cannot_be_changed_afterwards():
    one = claim("sceptic", J(θ), E[R(τ)])
    BOOK.pop("sceptic")
    with pytest.raises(AttributeError):
        one.rhs = sp.Integer(7)


@pytest.mark.parametrize(("one", "other"), [
    (grad(Σ(P(τ), τ)) * R(τ), grad(Σ(P(τ) * R(τ), τ))),
    (grad(Σ(π(b_), b_), θ[b_]) * f(b_), grad(Σ(π(b_) * f(b_), b_), θ[b_])),
    (Σ(score, (t, 0, T)) * R(τ), Σ(score * R(τ), (t, 0, T))),
])
def test_the_scope_of_a_gradient_and_of_a_sum_is_printed(one, other):
    assert latex(one) != latex(other)
    assert r"\left(" in latex(one)


def test_a_refutation_shows_a_world_in_which_the_sides_differ():
    assert "random world" in repr(refute(Var[R(τ)], 0, by=any_sample))
    assert " at " in repr(refute(grad(J(θ)), E[Σ(score * γ**t * r[t], (t, 0, T))]))


def test_a_lemma_for_every_horizon_is_proved_and_named():
    by = Horizon()
    false = Claim("false", V_togo(h, s_), V_old_togo(h, s_), by)
    with pytest.raises(Undecided, match="must be true"):
        Horizon(given=[false])
    with pytest.raises(Undecided, match="must be a claim"):
        Horizon(given=[Derivation("chain", (), "")])
    total = Claim("total", N_togo(h, s_), 1, by)
    assert "using total" in Horizon(given=[total]).describe()


@pytest.mark.parametrize("over", [γ, s[t], 3])
def test_an_induction_runs_over_a_whole_number(over):
    with pytest.raises(TypeError, match="whole number"):
        Induction(over)
