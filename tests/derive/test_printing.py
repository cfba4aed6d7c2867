"""The printer: LaTeX of the trees of the book, committed so that a change is seen; what differs prints differently."""

import json
import re
from pathlib import Path

import pytest
import sympy as sp

from rlbook.derive import latex
from rlbook.derive.cases import Less
from rlbook.derive.definitions import STANDARD
from rlbook.derive.gaussian import standard_normal
from rlbook.derive.language import (
    Π,
    Σ,
    A,
    A_old,
    AtOld,
    Clip,
    Cov,
    D,
    D_togo,
    E,
    G,
    Gt,
    J,
    N,
    P,
    Q,
    R,
    Slope,
    T,
    V,
    Var,
    Vhat,
    a,
    a_,
    b,
    b_star,
    exp,
    f,
    g_past,
    g_togo,
    grad,
    i,
    j,
    l,
    log,
    n,
    norm2,
    now,
    p,
    r,
    s,
    s_,
    s_new,
    sg,
    t,
    u,
    x_,
    α,
    β,
    γ,
    ε,
    θ,
    θ_next,
    θ_old,
    λ,
    π,
    π_old,
    π_ref,
    ρ0,
    τ,
)
from rlbook.derive.mutate import mutants
from rlbook.derive.plain import text

SNAPSHOT = Path(__file__).with_name("printing.json")
δ, ratio, advantage = sp.IndexedBase("delta"), sp.IndexedBase("rho"), sp.IndexedBase(r"\hat A")
law, old, ref = π(a_, s_), π_old(a_, s_), π_ref(a_, s_)
score, k3 = grad(log(law)), π_ref(a_, s_) / π(a_, s_)
token = sp.Min(ratio[i, t] * advantage[i, t], Clip(ratio[i, t], 1 - ε, 1 + ε) * advantage[i, t], evaluate=False)

TREES = {
    "return": R(τ),
    "return, written out": STANDARD[R].body,
    "objective": J(θ),
    "gradient of the objective": grad(J(θ)),
    "trajectory probability": ρ0(s[0]) * Π(p(s[t + 1], s[t], a[t]) * π(a[t], s[t]), (t, 0, T)),
    "log-derivative": P(τ) * grad(log(P(τ))),
    "policy gradient": E[Σ(now, (t, 0, T)) * R(τ)],
    "reward to go": E[Σ(now * Σ(γ**l * r[l], (l, t, T)), (t, 0, T))],
    "baseline": E[Σ(γ**t * now * (Σ(γ ** (l - t) * r[l], (l, t, T)) - b(s[t])), (t, 0, T))],
    "with an advantage": E[Σ(γ**t * now * A(s[t], a[t]), (t, 0, T))],
    "estimator": Σ(Σ(now * R(τ), (t, 0, T)), D) / N,
    "ascent": θ_next,
    "slope": Slope(J(θ_next), α),
    "norm": norm2(grad(J(θ))),
    "action value": STANDARD[Q].body,
    "score and reward-to-go": E[Σ(γ**t * u[t] * (Gt[t] - b(s[t])), (t, 0, T))],
    "two scores": (u[0] + u[1]) * (r[0] + γ * r[1]),
    "covariance": 2 * Cov[g_togo(τ), g_past(τ)],
    "another policy": J(θ) - J(θ_old) - E(π_old)[A_old(s[t], a[t]), s[t]],
    "steps to go": STANDARD[D_togo].body,
    "the best baseline": STANDARD[b_star].body,
    "conditional mean": E[r[t] + γ * V(s[t + 1]), s[t], a[t]],
    "variance of a mean": Var[Σ(now * R(τ), (t, 0, T))] / N,
    "score mean": E(law)[score],
    "second moment": E(law)[score**2 * Q(s_, a_) ** 2],
    "optimal baseline": E(law)[score**2 * Q(s_, a_)] / E(law)[score**2],
    "bellman": Σ(law * Σ(p(s_new, s_, a_) * (f(s_new) + γ * V(s_new)), s_new), a_),
    "td error": r[t] + γ * Vhat(s[t + 1]) - Vhat(s[t]),
    "gae": Σ((γ * λ) ** l * δ[t + l], (l, 0, T - t)),
    "gae as an average": (1 - λ) * Σ(λ ** (n - 1) * advantage[t, n], (n, 1, T - t))
    + λ ** (T - t) * advantage[t, T - t + 1],
    "eligibility traces": Σ(δ[t] * Σ((γ * λ) ** (t - l) * grad(Vhat(s[l])), (l, 0, t)), (t, 0, T)),
    "clipped surrogate": token,
    "gate": advantage[t] * (Less(0, advantage[t]) * Less(ratio[t], 1 + ε) + Less(advantage[t], 0)),
    "importance": Σ(old * (law / old) * A(s_, a_), a_),
    "surrogate at old": AtOld(grad(Σ(old * (law / old) * A(s_, a_), a_))),
    "k3": k3 - log(k3) - 1,
    "entropy": -E(law)[log(law)],
    "critic": (Vhat(s[t]) - sg[R(τ)]) ** 2 / 2,
    "clipped weight": sg[Clip(law / old, 1 - ε, 1 + ε)] * score,
    "group": (r[i] - Σ(r[j], (j, 1, G)) / G) / sp.sqrt(Σ((r[j] - Σ(r[l], (l, 1, G)) / G) ** 2, (j, 1, G)) / G),
    "grpo": Σ(Σ(token - β * (k3 - log(k3) - 1), (t, 1, T)) / T, (i, 1, G)) / G,
    "softmax score": sp.KroneckerDelta(a_, sp.Symbol("b")) - π(sp.Symbol("b"), s_),
    "component": grad(log(law), θ[sp.Symbol("b")]),
    "gaussian": Var(standard_normal(x_))[exp(α * x_) - 1 - α * x_],
    "nested bounds": Σ(r[t] * r[l], (t, 0, T), (l, t, T)),
    "products of differences": (1 - γ) * (1 - λ) / (1 + γ * λ),
    "powers": γ ** (T - t + 1) * λ**2 / 2 - sp.Rational(3, 4) * γ,
}


def test_snapshot():
    """Read the difference; if it is wanted, run this file as a script to write the snapshot anew."""
    assert {name: latex(tree) for name, tree in TREES.items()} == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TREES)
def test_mutants_print_differently(name):
    tree = TREES[name]
    page, line = latex(tree), text(tree)
    for kind, mutant in mutants(tree):
        assert latex(mutant) != page, (kind, text(mutant))
        assert text(mutant) != line, (kind, text(mutant))


def test_trees_print_differently_from_each_other():
    """All trees and all their mutants: what prints alike is equal."""
    pages, lines = {}, {}
    for tree in TREES.values():
        for e in [tree, *(mutant for _, mutant in mutants(tree))]:
            assert pages.setdefault(latex(e), e) == e, (latex(e), text(e), text(pages[latex(e)]))
            assert lines.setdefault(text(e), e) == e, text(e)


@pytest.mark.parametrize(
    "same",
    [
        lambda: (1 - ε, 1 - ε),
        lambda: (γ * λ * V(s[t]), V(s[t]) * λ * γ),
        lambda: (r[t] + γ * V(s[t + 1]), γ * V(s[1 + t]) + r[t]),
    ],
)
def test_equal_trees_print_alike(same):
    x, y = same()
    assert latex(x) == latex(y) and text(x) == text(y)


def test_the_outer_sum_is_printed_first():
    assert latex(TREES["nested bounds"]).startswith(r"\sum_{t=0}^{T} \sum_{l=t}^{T} ")
    assert text(TREES["nested bounds"]) == "Σ(r[l]*r[t], (t, 0, T), (l, t, T))"
    assert latex(Π(Π(γ, (l, t, T)), (t, 0, T))) == r"\prod_{t=0}^{T} \prod_{l=t}^{T} \gamma"


def test_no_letter_has_two_exponents():
    for tree in TREES.values():
        for e in [tree, *(mutant for _, mutant in mutants(tree))]:
            assert not re.search(r"\^\{[^{}]*\}\^", latex(e)), text(e)


def test_braces_match():
    for name, tree in TREES.items():
        depth = 0
        for character in latex(tree).replace(r"\{", "").replace(r"\}", ""):
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0, name
        assert depth == 0 and latex(tree).count(r"\left") == latex(tree).count(r"\right"), name


if __name__ == "__main__":
    SNAPSHOT.write_text(
        json.dumps({name: latex(tree) for name, tree in TREES.items()}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
