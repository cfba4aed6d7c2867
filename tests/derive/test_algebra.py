"""`Algebra` and `Nonnegative`: rational identities and inequalities in one variable, and what must not be proved."""

import pytest
import sympy as sp

from rlbook.derive import IllFormed, Undecided
from rlbook.derive.algebra import Algebra, Counterexample
from rlbook.derive.cases import Nonnegative
from rlbook.derive.language import Σ, Clip, E, T, V, a_, exp, i, l, log, n, r, s, s_, t, x_, α, γ, λ, π, π_ref


def low(*args):
    return sp.Min(*args, evaluate=False)


def high(*args):
    return sp.Max(*args, evaluate=False)


k3 = x_ - log(x_) - 1
ratio = π_ref(a_, s_) / π(a_, s_)
k3_page = ratio - log(ratio) - 1


def test_nonnegative():
    by = Nonnegative(x_)
    assert by(high(k3, 0), k3) == 0
    assert by(high(x_, 1 + log(x_)), x_) == 0
    assert Nonnegative(π_ref(a_, s_), π(a_, s_))(high(k3_page, 0), k3_page) == 0
    assert Nonnegative(x_, γ)(high(x_**2 + γ**2, 2 * γ * x_), x_**2 + γ**2) == 0
    assert by.describe() == "proved for every x > 0, from the sign of the derivative; equality at 1 only"


@pytest.mark.parametrize(
    "f",
    [
        -k3,
        k3 - 1,
        x_ + log(x_) - 1,
        x_ - 2 * log(x_) - 1,
        x_ - 1,
        k3 - (x_ - 1) ** 2,
        1 - x_,
        k3 - k3.xreplace({x_: x_**2}),
    ],
    ids=str,
)
def test_negative_somewhere(f):
    found = Nonnegative(x_)(high(f, 0), f)
    value = f.xreplace({x_: found.where[x_]})
    assert value < 0 and abs(value - found.difference) < 1e-5


@pytest.mark.parametrize(
    "f", [k3 + 1, (x_ - 1) ** 2 * (x_ - 2) ** 2, sp.Integer(0), (x_ - 1) ** 4 - (x_ - 1) ** 6 / 10**9], ids=str
)
def test_not_of_the_form_with_one_zero(f):
    """Above 0 everywhere, two zeros, zero everywhere, and below 0 where nobody looked: never proved."""
    with pytest.raises(Undecided):
        Nonnegative(x_)(sp.Max(f, 0, evaluate=False) if f != 0 else high(f, x_ - x_), f)


def test_nonnegative_is_written_as_a_maximum():
    for lhs, rhs in ((k3, 0), (high(k3, 0), 0), (low(k3, 0), k3), (high(k3, 0), k3 + 1), (high(k3, 0, 1), k3)):
        assert_not_proved(Nonnegative(x_), lhs, rhs)
    assert_not_proved(Nonnegative(x_), high(Clip(x_, 0, 1), 0), Clip(x_, 0, 1))
    complex_log = x_ / γ - 1 - (log(-x_) - log(-γ))  # -∞ < x < 0 is its range: as far as its derivative goes, it is k3
    assert_not_proved(Nonnegative(x_, γ), high(complex_log, 0), complex_log)


def assert_not_proved(by, lhs, rhs):
    try:
        assert by(lhs, rhs) != 0
    except (IllFormed, Undecided):
        pass


# -- rational expressions ----------------------------------------------------------------------------
def test_algebra():
    by, m = Algebra(), n + 1
    assert by((γ + λ) ** 2, γ**2 + 2 * γ * λ + λ**2) == 0
    assert by(1 / (1 - γ) - 1, γ / (1 - γ)) == 0
    assert by(r[t] + γ * V(s[t]) - V(s[t]), r[t] - (1 - γ) * V(s[t])) == 0
    assert by(r[i] - (n * α - r[i]) / (n - 1), n / (n - 1) * (r[i] - α)) == 0
    assert by(log(γ) ** 2 - 1, (log(γ) - 1) * (log(γ) + 1)) == 0
    assert by(m**2 - n**2, 2 * n + 1) == 0
    assert Algebra(given=[(V(s[t]), r[t] + γ * r[t + 1])])(V(s[l + 1]) - r[l + 1], γ * r[l + 2]) == 0
    assert by.level == "P"


@pytest.mark.parametrize(
    "lhs, rhs",
    [
        ((γ + λ) ** 2, γ**2 + λ**2),
        (1 / (1 - γ), 1 + γ),
        (r[t], r[t + 1]),
        (V(s[t]), V(s[t + 1])),
        (γ**2, γ**3),
        (γ - λ, λ - γ),
        (log(γ * λ), log(γ) * log(λ)),
        (exp(γ), 1 + γ),
        (sp.sqrt(γ), γ),
        (log(γ), log(λ)),
    ],
    ids=str,
)
def test_algebra_refutes(lhs, rhs):
    assert isinstance(Algebra()(lhs, rhs), Counterexample)


def test_algebra_uses_no_rule_about_atoms():
    for lhs, rhs in ((log(2 * γ), log(γ) + log(2)), (sp.sqrt(γ**2 + 2 * γ + 1), 1 + γ)):
        with pytest.raises(Undecided):
            Algebra()(lhs, rhs)


@pytest.mark.parametrize(
    "tree", [Σ(r[t], (t, 0, T)), E[r[t]], log(Σ(r[t], (t, 0, T))), 1 / ((γ + 1) ** 2 - γ**2 - 2 * γ - 1)], ids=str
)
def test_algebra_refuses(tree):
    with pytest.raises(IllFormed):
        Algebra()(tree + γ, 0)
