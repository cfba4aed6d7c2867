"""Products over an index, values at λ = 0 or 1, and the book's own definitions: what `Induction` must not prove with them."""
import pytest
import sympy as sp

from rlbook.derive import IllFormed, Refuted, Undecided, claim, define, latex
from rlbook.derive.algebra import Algebra, Counterexample
from rlbook.derive.claims import BOOK, Claim
from rlbook.derive.decide import exact
from rlbook.derive.definitions import STANDARD, Definition
from rlbook.derive.induction import Induction, Upto
from rlbook.derive.jets import Jet
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A,
    At,
    E,
    G_n,
    Head,
    Q,
    Rλ,
    T,
    V,
    Vhat,
    Y,
    Z,
    Â_n,
    a,
    at,
    c,
    d,
    e,
    grad,
    i,
    k,
    l,
    m,
    n,
    r,
    s,
    t,
    w,
    x,
    y,
    γ,
    δ,
    δπ,
    θ,
    λ,
)
from rlbook.derive.plain import text

from . import opinion
from .catalogue_gae import CLAIMS, decay, from_t, gae_true, head, later, stopped, trace
from .sequences import Sequences

by_n, by_T = Induction(n), Induction(T)
all_c = Π(c[k], (k, t, t + n - 1))

FALSE = {
    "product with the last factor twice": (Π(c[k], (k, 0, n)) * c[n], Π(c[k], (k, 0, n)), by_n),
    "product without the last factor": (Π(c[k], (k, 0, n)), Π(c[k], (k, 0, n - 1)), by_n),
    "product from another start": (Π(c[k], (k, 1, n + 1)), Π(c[k], (k, 0, n)), by_n),
    "product of sums": (Π(1 + x[k], (k, 0, n)), 1 + Π(x[k], (k, 0, n)), by_n),
    "sum of products": (Σ(Π(c[k], (k, 0, l - 1)), (l, 0, n)), Π(1 + c[k], (k, 0, n)), by_n),
    "product of a constant": (Π(γ, (k, 0, n)), γ**n, by_n),
    "product of squares": (Π(c[k]**2, (k, 0, n)), Π(c[k], (k, 0, n)), by_n),
    "product of inverses": (Π(1 / c[k], (k, 0, n)), Π(c[k], (k, 0, n)), by_n),
    "two sequences": (Π(c[k], (k, 0, n)), Π(w[k], (k, 0, n)), by_n),
    "two places of one sequence": (Π(c[k] * c[k + 1], (k, 0, n)), Π(c[k]**2, (k, 0, n)), by_n),
    "order of two indices": (Π(c[k, l], (k, 0, n)), Π(c[l, k], (k, 0, n)), by_n),
    "doubled index": (Π(c[2 * k], (k, 0, n)), Π(c[k], (k, 0, 2 * n)), by_n),
    "one minus": (Π(1 - d[k], (k, 0, n)), 1 - Π(d[k], (k, 0, n)), by_n),
    "one minus, shifted": (Π(1 - d[k + 1], (k, 0, n)), Π(1 - d[k], (k, 0, n)), by_n),
    "one plus": (Π(1 - d[k], (k, 0, n)), Π(1 + d[k], (k, 0, n)), by_n),
    "telescoping the wrong way": (Π(c[k + 1] / c[k], (k, 0, n)), c[0] / c[n + 1], by_n),
    "scan: the coefficient of the next step": (Y[t], x[t] + c[t + 1] * Y[t + 1], from_t),
    "scan: no coefficient": (Y[t], x[t] + Y[t + 1], from_t),
    "chunk: one coefficient too few": (Y[t], head + Π(c[k], (k, t, t + m - 2)) * Y[t + m], Induction(T, base=t + m)),
    "chunk: one coefficient too many": (Y[t], head + Π(c[k], (k, t, t + m)) * Y[t + m], Induction(T, base=t + m)),
    "chunk: the tail of another chunk": (Y[t], head + Π(c[k], (k, t, t + m - 1)) * Y[t + m + 1], Induction(T, base=t + m)),
    "adjoint: the coefficient of its own step": (Z[t + 1], w[t + 1] + c[t + 1] * Z[t], Induction(t)),
    "adjoint: the same direction": (Σ(w[t] * Y[t], (t, 0, T)), Σ(Z[t + 1] * x[t], (t, 0, T)), by_T),
    "adjoint: no weights": (Σ(w[t] * Y[t], (t, 0, T)), Σ(w[t] * x[t], (t, 0, T)), by_T),
    "termination one step late": (stopped(t), x[t] + decay * (1 - d[t + 1]) * stopped(t + 1), from_t),
    "termination ignored": (stopped(t), x[t] + decay * stopped(t + 1), from_t),
    "GAE: lambda outside": (Â[t], δ[t] + γ * Â[t + 1], from_t),
    "GAE: exponent of the last TD error": (Â[t], Σ(decay**l * δ[t + l], (l, 0, T - t - 1)) + decay**(T - t + 2) * δ[T], from_t),
    "GAE: exponent of the last reward": (
        at(Â[t], λ=1),
        Σ(γ**l * r[t + l], (l, 0, T - t - 1)) + γ**(T - t + 2) * r[T] + γ**(T - t + 1) * Vhat(s[T + 1]) - Vhat(s[t]),
        from_t,
    ),
    "GAE: no bootstrap": (at(Â[t], λ=1), Σ(γ**l * r[t + l], (l, 0, T - t)) - Vhat(s[t]), from_t),
    "GAE at 1 is not GAE at 0": (at(Â[t], λ=1), at(Â[t], λ=0), from_t),
    "GAE at 0 at another time": (at(Â[t], λ=0), δ[t + 1], from_t),
    "errors: sign": (Â[t], gae_true + e(s[t]) + γ * later, from_t),
    "errors: no last term": (
        Â[t], gae_true - e(s[t]) + γ * (1 - λ) * Σ(decay**l * e(s[t + l + 1]), (l, 0, T - t - 1)), from_t),
    "errors: of the true critic": (Â[t], gae_true, from_t),
    "average: exponent n": (
        Â[t], (1 - λ) * Σ(λ**n * Â_n(n, t), (n, 1, T - t)) + λ**(T - t) * Â_n(T - t + 1, t), from_t),
    "lambda-return: value of this state": (
        Rλ[t], r[t] + γ * ((1 - λ) * Vhat(s[t]) + λ * Rλ[t + 1]), Induction(T, base=t + 1)),
    "lambda-return: weights exchanged": (
        Rλ[t], r[t] + γ * (λ * Vhat(s[t + 1]) + (1 - λ) * Rλ[t + 1]), Induction(T, base=t + 1)),
    "lambda-return: third reward is the second": (G_n(3, t), r[t] + γ * r[t + 1] + γ**2 * r[t + 1] + γ**3 * Vhat(s[t + 3]), by_n),
    "lambda-return is GAE": (Rλ[t], Â[t], from_t),
    "traces of the wrong error": (Σ(w[t] * (Rλ[t] - Vhat(s[t])), (t, 0, T)), Σ(δπ[t] * trace, (t, 0, T)), by_T),
    "TD error: of another critic": (δ[t], δπ[t] - γ * e(s[t + 1]) + e(s[t]), Induction(t)),
}


@pytest.mark.parametrize("name", FALSE)
def test_not_proved(name):
    lhs, rhs, by = FALSE[name]
    for left, right in ((lhs, rhs), (rhs, lhs)):
        try:
            assert isinstance(by(left, right), Counterexample)
        except (Undecided, IllFormed):
            pass
    assert not opinion.agrees(by, [(lhs, rhs)])        # and it is false


REFUSED = {
    "a factor that is 0 somewhere": 1 - k,
    "a factor that is 0 at one place": k * x[k] - 2 * x[k],
    "a difference of one sequence": x[k] - x[2 * k],
    "a difference with a constant place": x[k] - x[5],
    "a constant that may be 0": 1 - m + x[k],
    "an index alone": k + 1,
    "a power": γ**k,
    "minus one": -x[k],
    "a root": sp.sqrt(x[k]),
    "a sequence at one place": x[0] * x[k],
    "a sum inside": Σ(x[l], (l, 0, k)),
    "a product inside": Π(x[l], (l, 0, k)),
    "a sum of two sequences": x[k] + y[k],
}


@pytest.mark.parametrize("name", REFUSED)
def test_factors_that_are_not_known_are_refused(name):
    """True, and beyond the rules: a formal product must not be 0 anywhere."""
    factor = REFUSED[name]
    with pytest.raises(Undecided):
        by_n(Π(factor, (k, 0, n + 1)), Π(factor, (k, 0, n)) * factor.xreplace({k: n + 1}))


@pytest.mark.parametrize(
    "factors, low, last",
    [(x[k], t, n), (x[k], 0, n + 100), (x[k], 2, n - 2)],
    ids=["fewer than none", "too many", "fewer than none at first"],
)
def test_products_have_a_length(factors, low, last):
    with pytest.raises(Undecided):
        by_n(Π(factors, (k, low, last)), Π(factors, (k, low, last - 1)) * factors.xreplace({k: last}))


class Flags(Sequences):
    """Where every d_t is 0 or 1."""

    def _Indexed(self, e, env):
        return Jet.of(self.integer(e.indices[0], env) % 3 == self.seed) if e.base == d else super()._Indexed(e, env)


@pytest.mark.parametrize("id", ["induction/product-of-factors", "induction/gae-termination"])
@pytest.mark.parametrize("seed", range(3))
def test_a_product_where_a_factor_is_zero_agrees_by_continuity(id, seed):
    """Both sides are polynomials: the proof assumes factors that are not 0, the claim does not."""
    assert Flags(CLAIMS[id].by, seed).gap(CLAIMS[id].lhs, CLAIMS[id].rhs) < 1e-9


def test_formal_products_are_never_part_of_a_counterexample():
    found = by_n(Π(c[k], (k, 0, n)), 1)
    assert isinstance(found, Counterexample) and not found.difference.has(Upto) and found.describe() == "c[0] - 1 at n = 0"
    found = by_n(Π(c[k], (k, 0, m)), 1)                # nothing of length m = 0, 1, ... in n: other indices get numbers too
    assert found.describe() == "c[0]*c[1] - 1 at n = 0, m = 1"
    wrong = CLAIMS["induction/scan-chunk"]
    found = wrong.by(wrong.lhs, wrong.rhs - x[t])
    assert found.describe() == "x[t] at T = m + t"


# -- values of a number --------------------------------------------------------------------------------
def test_a_value_is_taken_after_unfolding():
    assert latex(at(Â[t], λ=0)) == r"\left. \hat A_{t} \right|_{\lambda=0}" and text(at(Â[t], λ=1)) == "at(Â[t], λ, 1)"
    assert from_t(at(Â[t] + λ, λ=1), at(Â[t], λ=1) + 1) == 0
    assert from_t(at(at(Â[t], λ=1), γ=1), at(at(Â[t], γ=1), λ=1)) == 0
    assert Algebra()(at(λ * γ + 1, λ=0), 1) == 0 and Algebra()(at(λ * γ, λ=1), γ) == 0
    assert isinstance(Algebra()(at(λ * γ, λ=1), λ), Counterexample)


@pytest.mark.parametrize("values", [{"q": 0}, {"t": 0}, {"T": 1}, {"δ": 0}, {"log": 1}])
def test_at_takes_numbers(values):
    with pytest.raises(TypeError, match="at takes numbers"):
        at(Â[t], **values)


def test_a_value_of_something_else_is_refused():
    for tree in (At(grad(γ * V(s[t]), γ), γ, sp.Integer(0)), At(E[r[t]], γ, sp.Integer(1)), At(x[0], x[0], sp.Integer(1))):
        with pytest.raises(IllFormed):
            by_n(tree, 0)


# -- definitions ---------------------------------------------------------------------------------------
class Pair(Head):
    """A function of two indices."""


def test_what_is_given_comes_before_the_book():
    assert Induction(n, given=[(δ[t], y[t])])(δ[n], y[n]) == 0
    assert isinstance(Induction(n)(δ[n], y[n]), Counterexample)


def test_only_definitions_of_indices_are_unfolded():
    assert by_n(A(s[n], a[n]), Q(s[n], a[n]) - V(s[n])) == 0                       # a definition without a mean
    assert isinstance(by_n(V(s[n]), r[n]), Counterexample)                         # V is a mean: any function here
    assert by_n(Σ(Â[i, l], (l, 0, n)), Σ(Â[i, k], (k, 0, n))) == 0                 # another Â, of two indices
    assert isinstance(from_t(Â[i, t], Â[t]), Counterexample)
    symbol = sp.Symbol("state")
    assert isinstance(by_n(e(symbol), Vhat(symbol) - V(symbol)), Counterexample)   # e is defined for s[t] only


def test_other_books():
    other = {**STANDARD, δ: Definition(δ[t], r[t] + Vhat(s[t + 1]) - Vhat(s[t]))}
    good = CLAIMS["induction/n-step-telescoping"]
    assert good.by(good.lhs, good.rhs) == 0 and isinstance(good.by.under(other)(good.lhs, good.rhs), Counterexample)


def test_no_parameter_of_a_definition_is_caught():
    assert STANDARD[Â_n].unfold(l, t).free_symbols >= {l, t}
    body = Σ(STANDARD[Â_n].unfold(l, t), (l, 1, n))
    assert by_n(body, Σ(Â_n(k, t), (k, 1, n))) == 0
    assert by_n(Σ(G_n(l, t), (l, 1, n)), Σ(Â_n(l, t) + Vhat(s[t]), (l, 1, n))) == 0


def test_a_lemma_must_hold_everywhere():
    shown = Claim("shown", x[t], y[t], Algebra())
    assert Algebra(given=[shown])(x[3], y[3]) == 0
    for by in (Induction(n, base=1), exact()):
        with pytest.raises(Undecided, match="used where it may not hold"):
            Induction(n, given=[Claim("lemma", Pair(n, t), x[t], by)])


def test_what_is_assumed_is_said():
    by = Induction(n, given=[(x[t], y[t] - c[t] * y[t + 1]), STANDARD[δ]])
    assert by.describe() == "proved for every n ≥ 0, by induction, where x[t] = -c[t]*y[t + 1] + y[t]"
    assert Algebra(given=[(x[0], y[0])]).describe().endswith("where x[0] = y[0]")


def test_the_shorter_counterexample():
    found = from_t(Â[t], Σ(decay**l * δ[t + l], (l, 0, T - t - 1)) + decay**(T - t + 2) * δ[T])
    assert found.describe() == "-γ**2*λ**2*δ[t] + δ[t] at T = t"
    assert from_t(Â[t], Â[t] + 2 * δ[t]).describe() == "-2*δ[t] at T = t"
    assert from_t(δ[t] + Vhat(s[t]), r[t]).describe() == "γ*Vhat(s[t + 1]) at T = t"


def test_claims_and_definitions_of_the_chapter():
    try:
        assert define("gae", Â[t], Σ(decay**l * δ[t + l], (l, 0, T - t))).latex().startswith(r"\hat A_{t} = \sum_{l=0}^{T - t}")
        assert claim("gae-recursion", Â[t], δ[t] + decay * Â[t + 1], by=from_t).level == "P"
        with pytest.raises(Refuted, match="at T = t"):
            claim("gae-recursion-wrong", Â[t], δ[t] + γ * Â[t + 1] + λ, by=from_t)
        with pytest.raises(Refuted, match="not the definition of the book"):
            define("gae-wrong", Â[t], Σ(γ**l * δ[t + l], (l, 0, T - t)))
    finally:
        for id in ("gae", "gae-recursion"):
            BOOK.pop(id, None)


def test_printing_of_names_with_an_exponent():
    assert latex(δπ[t]**2) == r"\left(\delta^{\pi}_{t}\right)^{2}" and latex(Rλ[t]) == r"R^{\lambda}_{t}"
    assert latex(Â_n(T - t + 1, t)) == r"\hat A^{(T - t + 1)}_{t}" and latex(G_n(n, t)**2) == r"\left(G^{(n)}_{t}\right)^{2}"
    assert text(Â[t] + Rλ[t] + δπ[t] + Â_n(n, t)) == text(Rλ[t] + Â_n(n, t) + δπ[t] + Â[t])
    assert {text(z) for z in (δ[t], δπ[t], Â[t], Rλ[t])} == {"δ[t]", "δπ[t]", "Â[t]", "Rλ[t]"} and θ
