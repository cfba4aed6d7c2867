"""`Gaussian`: Schulman's table of the KL estimators, what must not be proved, and Gauss-Hermite quadrature."""

import functools
import operator

import numpy as np
import pytest
import sympy as sp

from rlbook.derive import IllFormed, latex
from rlbook.derive.gaussian import Gaussian, double_factorial, standard_normal
from rlbook.derive.language import Σ, E, T, V, Var, a_, exp, f, head, log, q, r, s_, t, x_, α, π
from rlbook.derive.mutate import mutants

μ, ν, y = sp.Symbol("mu", positive=True), sp.Symbol("nu", real=True), sp.Symbol("y")
N, N_y = standard_normal(x_), standard_normal(y)
ratio = head("ratio", "r")  # p(x) / q(x), for q = N(0, 1) and p = N(μ, 1)
RATIO = (ratio(x_), exp(μ * x_ - μ**2 / 2))
by = Gaussian(given=[RATIO])
k1, k2, k3 = -log(ratio(x_)), log(ratio(x_)) ** 2 / 2, ratio(x_) - 1 - log(ratio(x_))
KL = μ**2 / 2

TRUE = {
    "the ratio is a density": (E(N)[ratio(x_)], 1),
    "k1 mean": (E(N)[k1], KL),
    "k1 variance": (Var(N)[k1], μ**2),
    "k2 bias": (E(N)[k2] - KL, μ**4 / 8),
    "k2 variance": (Var(N)[k2], μ**4 * (2 + μ**2) / 4),
    "k3 mean": (E(N)[k3], E(N)[k1]),
    "k3 variance": (Var(N)[k3], exp(μ**2) - 1 - μ**2),
    "the other KL": (E(N)[ratio(x_) * log(ratio(x_))], KL),
    "chi squared": (E(N)[(ratio(x_) - 1) ** 2], exp(μ**2) - 1),
    "sixth moment": (E(N)[x_**6 + x_**5], 15),
    "mean of an exponential": (E(N)[exp(ν * x_ + α)], exp(α + ν**2 / 2)),
    "variance of an exponential": (Var(N)[exp(ν * x_)], exp(2 * ν**2) - exp(ν**2)),
    "tilted moments": (E(N)[x_**3 * exp(ν * x_)], (ν**3 + 3 * ν) * exp(ν**2 / 2)),
    "two variables": (E(N)[E(N_y)[(x_ + μ * y) ** 4]], 3 * (1 + μ**2) ** 2),
    "the same name inside": (E(N)[x_**2 * E(N)[x_**4]], 3),
    "quotients": (E(N)[(x_**2 + μ) / μ], (1 + μ) / μ),
    "a product of exponentials": (exp(μ) * exp(-μ) * E(N)[x_**2], 1),
}


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def value(e, at, depth=0):
    """The value by quadrature, `at` giving the parameters; an expectation inside another has an axis of its own."""
    e = sp.sympify(e)
    if isinstance(e, type(E(N)[x_])):
        body, law = e.args
        nodes, weights = (z.reshape((-1,) + (1,) * depth) for z in (NODES, WEIGHTS))
        return np.sum(weights * value(body, {**at, law.args[0]: nodes}, depth + 1), axis=0) / np.sqrt(2 * np.pi)
    if isinstance(e, type(Var(N)[x_])):
        body, law = e.args
        return value(E(law)[body**2], at, depth) - value(E(law)[body], at, depth) ** 2
    if isinstance(e, ratio):
        return value(RATIO[1].xreplace({x_: e.args[0]}), at, depth)
    if e in at or not e.args:
        return at[e] if e in at else float(e)
    args = [value(z, at, depth) for z in e.args]
    if e.is_Add or e.is_Mul:
        return functools.reduce(operator.add if e.is_Add else operator.mul, args)
    return args[0] ** args[1] if e.is_Pow else {sp.exp: np.exp, sp.log: np.log}[e.func](*args)


PLACES = [{μ: 0.1, ν: -0.3, α: 0.2}, {μ: 1.0, ν: 0.8, α: 1.1}]


@pytest.mark.parametrize("name", TRUE)
def test_proved(name):
    assert by(*TRUE[name]) == 0


@pytest.mark.parametrize("name", TRUE)
def test_true_by_quadrature(name):
    lhs, rhs = map(sp.sympify, TRUE[name])
    for at in PLACES:
        assert value(lhs, at) == pytest.approx(value(rhs, at), rel=1e-9, abs=1e-9)


def test_schulmans_table():
    """http://joschu.net/blog/kl-approx.html: bias / true and standard deviation / true, at μ = 0.1 and μ = 1."""
    published = {0.1: [(0, 20), (0.002, 1.42), (0, 1.42)], 1.0: [(0, 2), (0.25, 1.73), (0, 1.7)]}
    for mu, row in published.items():
        for k, (bias, deviation) in zip(("k1", "k2", "k3"), row, strict=True):
            variance = TRUE[f"{k} variance"][1].xreplace({μ: sp.Float(mu)})
            true = mu**2 / 2
            assert float(sp.sqrt(variance)) / true == pytest.approx(deviation, rel=0.01)
            assert (mu**4 / 8 / true if k == "k2" else 0) == pytest.approx(bias, abs=0.001)


FALSE = {
    "odd moments are not even": (E(N)[x_**3], 1),
    "fourth moment": (E(N)[x_**4], 4),
    "square not completed": (E(N)[exp(μ * x_)], 1),
    "square completed twice": (E(N)[exp(μ * x_)], exp(μ**2)),
    "shift forgotten": (E(N)[x_ * exp(μ * x_)], exp(μ**2 / 2)),
    "shift of the other sign": (E(N)[x_ * exp(μ * x_)], -μ * exp(μ**2 / 2)),
    "variance without the square of the mean": (Var(N)[x_ + μ], 1 + μ**2),
    "variance of a multiple": (Var(N)[μ * x_], μ),
    "k2 unbiased": (E(N)[k2], KL),
    "k3 variance, one term less": (Var(N)[k3], exp(μ**2) - 1),
    "equal to first order only": (exp(μ), 1 + μ),
    "equal at one point only": (exp(μ - 1), μ),
    "a number in the exponent": (exp(μ + 1), exp(μ) * 2),
    "a free variable is not averaged": (x_ * E(N)[x_], E(N)[x_**2]),
    "two variables are not one": (E(N)[E(N_y)[x_ * y]], 1),
}


@pytest.mark.parametrize("name", FALSE)
def test_refuted(name):
    lhs, rhs = FALSE[name]
    found = by(lhs, rhs)
    assert found != 0 and found.describe() and found.latex()


OUTSIDE = {
    "a quadratic exponent": E(N)[exp(x_**2)],
    "an exponential of an exponential": E(N)[exp(exp(x_))],
    "a quotient": E(N)[1 / x_],
    "a quotient in the exponent": E(N)[exp(1 / x_)],
    "a sum below": E(N)[1 / (1 + exp(x_))],
    "a root": E(N)[sp.sqrt(x_)],
    "a logarithm": E(N)[log(x_)],
    "a logarithm of a sum": E(N)[log(1 + exp(x_))],
    "the logarithm of a multiple": E(N)[log(2 * exp(x_))],
    "an absolute value": E(N)[sp.Abs(x_)],
    "a function": E(N)[f(x_)],
    "another law": E(q(x_))[x_],
    "a policy": E(π(a_, s_))[a_],
    "an index": E(N)[r[t]],
    "trajectories": E[x_],
    "a sum": Σ(x_, (t, 0, T)) + V(s_),
    "division by zero": 1 / (exp(x_) - exp(x_) * exp(μ) * exp(-μ)),
    "a law of a number": E(standard_normal(sp.Integer(1)))[x_],
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_the_class(name):
    with pytest.raises(IllFormed):
        by(OUTSIDE[name], 0)


@pytest.mark.parametrize("name", TRUE)
def test_no_mutant_is_proved_and_false(name):
    lhs, rhs = map(sp.sympify, TRUE[name])
    counted = 0
    for side, other in ((lhs, rhs), (rhs, lhs)):
        for kind, mutant in mutants(side):
            try:
                proved = by(mutant, other) == 0
            except (IllFormed, TypeError, ZeroDivisionError):
                continue
            counted += 1
            if proved:
                for at in PLACES:
                    assert value(mutant, at) == pytest.approx(value(other, at), rel=1e-8, abs=1e-8), (kind, mutant)
    assert counted > 2


def test_words():
    assert [int(double_factorial(n)) for n in (-1, 1, 3, 5, 7)] == [1, 1, 3, 15, 105]
    assert latex(E(N)[x_**2]) == r"\mathbb{E}_{x\sim \mathcal{N}(0, 1)}\!\left[ x^{2} \right]"
    assert by.level == "P" and "normal" in by.describe()
