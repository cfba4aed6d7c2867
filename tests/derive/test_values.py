"""Values, baselines, another policy and what happens at one time: how an author writes them, and what they unfold to."""
import pytest
import sympy as sp

from rlbook.derive import (
    Â,
    Σ,
    Cov,
    E,
    G_future,
    G_togo,
    Gt,
    IllFormed,
    J,
    Q,
    R,
    Refuted,
    T,
    U_togo,
    Undecided,
    V,
    Var,
    Vhat,
    a,
    any_horizon,
    any_size,
    b,
    claim,
    define,
    derivation,
    f,
    grad,
    h,
    i,
    l,
    latex,
    norm2,
    r,
    refute,
    s,
    s_,
    t,
    u,
    γ,
    δ,
    θ,
    θ_old,
    λ,
    π,
    π_old,
    τ,
)
from rlbook.derive.claims import BOOK
from rlbook.derive.definitions import STANDARD, key
from rlbook.derive.language import ExpectOld, speaks_of_path
from rlbook.derive.mdp import FiniteMDP, On
from rlbook.derive.plain import text
from rlbook.derive.witness import Witness
from rlbook.derive.worlds import World


@pytest.fixture(autouse=True)
def own_book():
    before = dict(BOOK)
    BOOK.clear()
    yield BOOK
    BOOK.clear()
    BOOK.update(before)


# -- what happens at one time -----------------------------------------------------------------------------
def test_a_quantity_at_one_time_is_defined_once():
    body = r[t] + γ * Vhat(s[t + 1]) - Vhat(s[t])
    made = define("td-error", δ[t], body)
    assert made.latex() == r"\delta_{t} = r_{t} + \gamma V(s_{t + 1}) - V(s_{t})" and key(δ[l + 1]) == δ
    assert STANDARD[δ].name == "delta" and STANDARD[Q].name == "Q"
    for left, wrong in ((δ[t], body + 1), (δ[l], body), (δ[t + 1], body), (Gt[t], body)):
        with pytest.raises(Refuted, match="the book has"):
            define("td-error", left, wrong)
    with pytest.raises(KeyError, match="no definition"):
        define("nothing", sp.IndexedBase("nothing")[t], body)


@pytest.mark.parametrize("x", [u[t], Gt[t], δ[l], Â[t + 1]])
def test_what_belongs_to_a_trajectory_is_no_constant(x):
    assert speaks_of_path(x) and not speaks_of_path(E[x]) and not speaks_of_path(Cov[x, x])
    with pytest.raises((Refuted, IllFormed)):
        claim("constant", E[x.xreplace({l: t})], x.xreplace({l: t}))
    with pytest.raises(IllFormed):
        claim("constant", E[x], x, by=any_size)


def test_a_definition_is_read_where_it_stands():
    """The l of the sum around is not the l inside the definition of G_t."""
    world = On(FiniteMDP(1, 2, 2))
    assert world(Σ(Gt[l], (l, 0, T)), Gt[0] + Gt[1] + Gt[2]) == 0
    assert isinstance(world(Σ(Gt[l], (l, 0, T)), 3 * Gt[0]), Witness)
    assert world(Â[T + 1], 0) == 0 and world(Â[T], δ[T]) == 0
    for off in (δ[T + 1], u[T + 1], δ[-1]):
        with pytest.raises(IllFormed, match="off the trajectory"):
            world(off, 0)


def test_both_readers_put_the_same_index_into_a_definition():
    for x, y in ((Gt[l + 1], Gt[l]), (Â[l + 1], Â[l]), (δ[l + 1], δ[l])):
        world = World(0, 2, 2, 2)
        assert world.gap(Σ(x, (l, 0, T - 1)), Σ(y, (l, 1, T))) < 1e-12
        assert world.gap(Σ(x, (l, 0, T - 1)), Σ(y, (l, 0, T))) > 1e-3


# -- another policy ---------------------------------------------------------------------------------------
def test_the_mean_under_another_policy():
    assert latex(E(π_old)[R(τ)]) == r"\mathbb{E}_{\tau\sim\pi_{\mathrm{old}}}\!\left[ R(\tau) \right]"
    assert isinstance(E(π_old)[r[t], s[t]], ExpectOld) and text(E(π_old)[R(τ)]) == "E(π_old)[R(τ)]"
    assert latex(J(θ_old)) == r"J(\pi_{\mathrm{old}})" and text(J(θ_old)) == "J(θ_old)"
    assert claim("old", J(θ_old), E(π_old)[R(τ)]).level == "F"
    with pytest.raises(Refuted, match="o10 = "):
        claim("new", J(θ_old), J(θ))
    for wrong in (lambda: Var(π_old)[R(τ)], lambda: E(π)[R(τ)], lambda: Cov[R(τ), R(τ), R(τ)]):
        with pytest.raises((TypeError, ValueError)):
            wrong()


def test_the_weights_of_the_other_policy_stand_outside():
    """P(τ | θ) stays the probability of π_θ, also in a mean over trajectories of π_old."""
    world = On(FiniteMDP(1, 2, 0))
    from rlbook.derive import P
    weight = π_old(a[0], s[0])
    assert world(E(π_old)[P(τ)], E[weight]) == 0
    assert world(E(π_old)[P(τ) / P(τ)], 1) == 0


# -- variance ---------------------------------------------------------------------------------------------
def test_equal_means_cancel_before_they_are_squared():
    world = FiniteMDP(2, 2, 1)
    x, y = u[0] * r[0], u[0] * (r[0] - b(s[0]))
    assert world.difference(Var[x] - Var[y], E[x**2] - E[y**2], dict(world.env)) == 0
    for lhs, rhs in ((Var[x] - Var[r[0]], E[x**2] - E[r[0]**2]), (Var[x], E[x**2]), (Var[x] + Var[y], E[x**2] + E[y**2]),
                     (2 * Var[x] - Var[y], 2 * E[x**2] - E[y**2]), (E[x**2], Var[x])):
        assert world.difference(lhs, rhs, dict(world.env)) != 0
    assert world.difference(2 * Var[x] - 2 * Var[y], 2 * E[x**2] - 2 * E[y**2], dict(world.env)) == 0


# -- every horizon ----------------------------------------------------------------------------------------
def test_dropping_the_past_needs_its_lemma():
    with pytest.raises(Undecided):
        claim("past", G_togo(h, s_), G_future(h, s_), by=any_horizon)
    zero = claim("zero", U_togo(h, s_), 0, by=any_horizon)
    assert claim("past", G_togo(h, s_), G_future(h, s_), by=any_horizon(given=[zero])).level == "P"


def test_a_mean_over_actions_is_no_lemma():
    from rlbook.derive import A_togo, a_
    made = claim("mean", E(π(a_, s_))[A_togo(h, s_, a_)], 0, by=any_horizon)
    with pytest.raises(Undecided):
        any_horizon(given=[made])


# -- the length of a score ----------------------------------------------------------------------------------
def test_the_length_of_a_score_is_known_for_tables_only():
    from rlbook.derive import a_, b_, softmax
    law = π(a_, s_)
    length, known = norm2(grad(sp.log(law))), 1 - 2 * law + Σ(π(b_, s_)**2, b_)
    assert claim("length", length, known, by=softmax).level == "P"
    with pytest.raises(Undecided):
        claim("length", length, known, by=any_size)
    with pytest.raises(IllFormed, match="norm2 is here for the score"):
        claim("length", norm2(grad(law)), 0, by=any_size)
    assert "≠" in repr(refute(length, f(a_), by=any_size))


def test_at_takes_the_numbers_of_an_mdp_only():
    from rlbook.derive import at
    world = On(FiniteMDP(1, 2, 1))
    assert world(at(J(θ), γ=1), E[Σ(r[t], (t, 0, T))]) == 0 and world(at(J(θ), γ=0), E[r[0]]) == 0
    assert world(at(V(s[t]), γ=1) - V(s[t]), 0) != 0
    assert world(at(at(Â[t], λ=1), γ=0), r[t] - Vhat(s[t])) == 0
    for wrong in ({"t": 1}, {"T": 0}, {"nothing": 0}):
        with pytest.raises(TypeError):
            at(J(θ), **wrong)
    with pytest.raises(IllFormed):
        world(at(J(θ), α=0), 0)


def test_a_chain_of_values():
    made = derivation("chain", E[u[t] * Gt[t]],
                      (E[u[t] * E[Gt[t], s[t], a[t]]], "the tower property"), (E[u[t] * Q(s[t], a[t])], "the definition of Q"))
    assert made.level == "F" and len(made.links()) == 2
    with pytest.raises(Refuted, match="step 1"):
        derivation("chain", E[u[t] * Gt[t]], (E[u[t] * E[Gt[t], s[t]]], "the action left out"))
    assert λ != γ and i != t
