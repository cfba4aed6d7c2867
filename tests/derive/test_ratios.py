"""Quotients of policies on finite MDPs, θ_old = θ, counterexamples with logarithms, and how inequalities are displayed."""
import pytest
import sympy as sp

from rlbook.derive import (
    KL,
    LCLIP,
    Â,
    Π,
    Cases,
    Clip,
    E,
    FiniteMDP,
    IllFormed,
    J,
    KL_reverse,
    Lclip,
    Lold,
    Nonnegative,
    On,
    P,
    P_old,
    Refuted,
    T,
    a,
    a_,
    any_trajectory,
    claim,
    grad,
    k3,
    log,
    maximum,
    minimum,
    oo,
    rθ,
    s,
    s_,
    t,
    z_,
    ε,
    θ,
    π,
    π_old,
    π_ref,
    τ,
    χ2_old,
)
from rlbook.derive.carriers import Point, Symbolic
from rlbook.derive.claims import Claim
from rlbook.derive.decide import exact
from rlbook.derive.definitions import STANDARD, holders
from rlbook.derive.hypotheses import table
from rlbook.derive.language import AtOld, R
from rlbook.derive.mutate import quick, under
from rlbook.derive.witness import Witness, shrink


def numbers():
    """Symbols x, y and the inverses of x, of y and of 1 - x."""
    K = Symbolic(["x", "y", "ix", "iy", "iz", "lx", "ly", "lz"])
    x, y, *inverses = (K.generator(name) for name in ("x", "y", "ix", "iy", "iz"))
    for name, logarithm, value in (("ix", "lx", x), ("iy", "ly", y), ("iz", "lz", 1 - x)):
        K.invert(name, logarithm, value)
    return K, x, y, *inverses


def test_inverses():
    K, x, y, ix, iy, iz = numbers()
    assert K.difference(x * ix, K.one) == 0 and K.difference(ix * iz, ix + iz) == 0 and K.difference(x * iz, iz - 1) == 0
    assert K.difference(ix, iy) != 0 and K.difference(ix * ix, ix) != 0 and K.difference(x * iy, K.one) != 0
    assert K.difference(K.divide(y, x * (1 - x)), y * ix + y * iz) == 0
    assert K.difference(K.divide(K.one, x * iy), y * ix) == 0 and K.difference(K.divide(y**3, x**2 * y), y**2 * ix**2) == 0
    assert K.cleared(ix**2 * iy + 1) == (1 + x**2 * y, x**2 * y) and K.cleared(x) == (x, 1)


def test_what_is_zero_in_disguise_divides_nothing():
    K, x, y, ix, iy, iz = numbers()
    for zero in (x * ix - 1, ix * iz - ix - iz, K.zero, x * y * iy - x):
        with pytest.raises(IllFormed, match="division by zero"):
            K.divide(zero, zero)
    for below in (1 + x, x + y, ix + iy):
        with pytest.raises(IllFormed, match="not a polynomial"):
            K.divide(K.one, below)
    for value in (ix, x * iy, K.zero):
        with pytest.raises(ValueError, match="cannot be the inverse"):
            K.invert("iz", "lz", value)


def test_generators_get_other_names():
    K, x, y, ix, iy, _ = numbers()
    assert K.renamed(x**2 * y + 3 * x * ix, {"x": "y", "ix": "iy"}) == y**3 + 3 * y * iy
    assert K.renamed(x, {}) == x


def test_a_counterexample_counts_what_stands_below():
    K = Symbolic(["p00", "o00", "io", "lo"])
    p, o, io = (K.generator(name) for name in ("p00", "o00", "io"))
    K.invert("io", "lo", o)
    above, below = K.cleared(p * io**2 - 1)
    value, where = shrink(above, below=below)
    at = {name: sp.Rational(str(v)) for name, v in where.items()}
    assert value == at["p00"] / at["o00"]**2 - 1 != 0


def test_a_logarithm_has_the_value_of_its_probability():
    mdp = FiniteMDP(1, 2, 0, ratios=True)
    difference = mdp.difference(log(π(a[0], s[0]) / π_ref(a[0], s[0])), sp.Integer(0), next(iter(mdp.everywhere(True, False))))
    assert isinstance(difference, Witness)
    value, where = difference.found()
    at = {name: sp.Rational(str(v)) for name, v in where.items()}
    assert abs(value - sp.log(at["p00"] / at["q00"])) < 1e-3 and value != 0


def test_the_larger_world_is_used_where_it_is_needed():
    mdp = FiniteMDP(1, 2, 0)
    for tree in (J(θ), grad(J(θ)), P(τ), P_old(τ), log(π(a[0], s[0])), E(π_old)[R(τ)], AtOld(grad(J(θ)))):
        assert mdp.able(tree) is mdp
    for tree in (rθ[t], Lold(θ), KL(s[0]), 1 / π(a[0], s[0]), log(π_old(a[0], s[0])), π_ref(a[0], s[0]), LCLIP(θ), χ2_old(s[0])):
        assert mdp.able(tree).ratios and mdp.able(tree) is mdp.able(J(θ), tree) and mdp.able(tree).able(J(θ)).ratios
    assert holders(lambda body: body.has(π_ref)) >= {KL, KL_reverse} and Lold not in holders(lambda body: body.has(π_ref))


def test_clip_and_min_at_the_old_policy_only():
    point, ring = FiniteMDP(2, 2, 0, carrier=Point, ratios=True), FiniteMDP(2, 2, 0, ratios=True)
    clipped = Clip(rθ[0], 1 - ε, 1 + ε)
    for mdp in (point, ring):
        by = On(mdp)
        assert by(AtOld(clipped), 1) == 0 and by(AtOld(grad(clipped)), AtOld(grad(rθ[0]))) == 0
        assert by(AtOld(minimum(clipped * Â[0], rθ[0] * Â[0])), Â[0]) == 0 and by(AtOld(clipped), 0) != 0
        for tree in (clipped, minimum(rθ[0], clipped), AtOld(Clip(rθ[0], 1, 1 + ε)), AtOld(minimum(rθ[0], 1)),
                     AtOld(Clip(rθ[0] + ε, 1 - ε, 1 + ε)), AtOld(grad(AtOld(rθ[0]))), AtOld(Clip(rθ[0], 1 - ε, 1))):
            with pytest.raises(IllFormed):
                by(tree, 0)
    assert ring.difference(E(π_old)[AtOld(clipped)], sp.Integer(1), dict(ring.env)) == 0
    with pytest.raises(IllFormed):                     # nothing that was read at θ_old = θ is remembered elsewhere
        ring.difference(E(π_old)[clipped], sp.Integer(1), dict(ring.env))


def test_a_statement_about_one_state_stays_there():
    lhs, rhs = E(π_old)[Π(rθ[t], (t, 0, T))**2], (1 + χ2_old(s[0]))**(T + 1)
    bandit = On(FiniteMDP(1, 3, 1, carrier=Point), FiniteMDP(1, 2, 1))
    assert not bandit.general and exact().general and quick(bandit) is bandit
    made = claim("growth", lhs, rhs, by=bandit)
    assert made.level == "F" and table([made]) == []
    assert under(STANDARD, bandit)(lhs, rhs) == 0 and not under(STANDARD, bandit).general
    with pytest.raises(Refuted):
        claim("growth everywhere", lhs, rhs)


def test_an_inequality_is_displayed_as_one():
    six = Cases({ε: [0, 1], rθ[t]: [0, 1 - ε, 1 + ε, oo], Â[t]: [-oo, 0, oo]}, given=[STANDARD[Lclip]])
    below, gain = r"L^{\mathrm{CLIP}}_{t}(\theta) \le r_{t}(\theta)", rθ[t] * Â[t]
    assert claim("le", maximum(Lclip[t], gain), gain, by=six).latex().startswith(below)
    above = claim("ge", maximum(k3(z_), 0), k3(z_), by=Nonnegative(z_, 1, given=[STANDARD[k3]]))
    assert above.latex().endswith(r"\ge 0")
    assert claim("min", minimum(Lclip[t], gain), Lclip[t], by=six).latex().startswith(below)
    assert Claim("eq", minimum(k3(z_), 0), sp.Integer(1), six).relation()[1] == "="
    assert six.condition() is None and Cases({rθ[t]: [0, oo]}).condition() == r"0 < r_{t}(\theta)"
    part = Cases({ε: [0, 1], rθ[t]: [0, 1 - ε], Â[t]: [-oo, 0]})
    assert part.condition() == r"r_{t}(\theta) < 1 - \varepsilon,\;\, \hat A_{t} < 0"
    assert claim("where", rθ[t] * Â[t], Â[t] * rθ[t], by=part).latex().endswith(part.condition())


def test_a_prover_reads_another_definition():
    """A mutant of a definition must reach the provers that were given it."""
    from dataclasses import replace
    other = {**STANDARD, k3: replace(STANDARD[k3], body=z_ - log(z_)), Lclip: replace(STANDARD[Lclip], body=rθ[t])}
    by = Nonnegative(z_, 1, given=[STANDARD[k3]])
    assert by(maximum(k3(z_), 0), k3(z_)) == 0
    with pytest.raises(Exception, match="neither proved nor refuted"):
        by.under(other)(maximum(k3(z_), 0), k3(z_))
    inside = Cases({ε: [0, 1], rθ[t]: [1 - ε, 1 + ε], Â[t]: [-oo, oo]}, given=[STANDARD[Lclip]])
    assert inside(Lclip[t], rθ[t] * Â[t]) == 0 and inside.under(other)(Lclip[t], rθ[t] * Â[t]) != 0
    paths = any_trajectory().provers[1]
    turned = {**STANDARD, rθ: replace(STANDARD[rθ], body=1 / STANDARD[rθ].body)}
    assert paths(P(τ) / P_old(τ), Π(rθ[t], (t, 0, T))) == 0
    assert under(turned, paths)(P(τ) / P_old(τ), Π(rθ[t], (t, 0, T))) != 0


def test_a_divergence_is_of_a_state():
    with pytest.raises(IllFormed):
        On(FiniteMDP(1, 2, 0))(KL(a_), KL(s_))
