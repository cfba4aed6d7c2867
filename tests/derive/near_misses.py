"""Statements that are almost an instance of a prover's rule and are false, or mean nothing: none may be proved.

`NEAR_MISSES` maps a rule, in the words of the provers' docstrings, to (prover, left, right). At least two a rule.
"""
import sympy as sp

from rlbook.derive.carriers import Point
from rlbook.derive.decide import any_sample, any_size, softmax
from rlbook.derive.errors import IllFormed, Undecided
from rlbook.derive.horizon import Horizon
from rlbook.derive.language import (
    Π,
    Σ,
    A,
    AtOld,
    D,
    E,
    Estimate,
    Expect,
    G,
    G_togo,
    J,
    N,
    N_togo,
    P,
    Q,
    R,
    Shifted,
    Slope,
    T,
    U_togo,
    V,
    V_togo,
    Var,
    Vhat,
    a,
    a_,
    b,
    b_,
    f,
    grad,
    h,
    i,
    j,
    k,
    l,
    log,
    norm2,
    now,
    p,
    q,
    r,
    reward,
    s,
    s_,
    s_new,
    sg,
    t,
    x_,
    α,
    γ,
    θ,
    θ_next,
    π,
    π_old,
    π_ref,
    ρ0,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On

from . import near_misses_values
from .catalogue import CLAIMS, M, U, group, paths, us, ρs

law, old, ref, other = π(a_, s_), π_old(a_, s_), π_ref(a_, s_), π(a_, s_new)
score, old_score, curve = grad(log(law)), grad(log(old)), grad(grad(log(law)))
same, one, c_ = sp.KroneckerDelta, sp.Integer(1), sp.Symbol("a0")
mdp = On(FiniteMDP(2, 2, 1, carrier=Point), FiniteMDP(2, 2, 1))
point = On(FiniteMDP(2, 2, 1, carrier=Point))
total = Σ(now, (t, 0, T))
to_go = Σ(γ**(l - t) * r[l], (l, t, T))
mean = E(law)
f2 = type("f2", (type(b(s_)),), {"tex": "f"})          # a second free function
u = sp.IndexedBase("u")


def sums(*pairs):
    return [(any_size, x, y) for x, y in pairs]


def on(*pairs):
    return [(mdp, x, y) for x, y in pairs]


def group_of(*pairs):
    return [(group, x, y) for x, y in pairs]


def induction(*pairs, given=()):
    return [(Horizon(given=given), x, y) for x, y in pairs]


mean_r = Σ(r[i], (i, 1, G)) / G
NEAR_MISSES = {
    # -- sums -----------------------------------------------------------------------------------------
    "linearity": sums(
        (mean[f(a_) + b(s_)], mean[f(a_)]), (mean[2 * f(a_)], mean[f(a_)]),
        (mean[f(a_) - b(s_)], mean[f(a_)] + b(s_)),
    ),
    "Leibniz": sums(
        (grad(law**2), 2 * grad(law)), (grad(1 / law), grad(law) / law**2), (grad(law * other), law * grad(other)),
        (grad(log(law)**2), 2 * score), (grad(grad(law)), score * grad(law)), (grad(law**2), law * grad(law)),
        (grad(law / other), grad(law) / grad(other)), (grad(f(a_) * law), grad(law)),
    ),
    "fresh names": sums(
        (Σ(f(a_), a_)**2, Σ(f(a_)**2, a_)), (Σ(Σ(f(a_) * f(b_), a_), b_), Σ(f(a_)**2, a_)),
        (Σ(f(a_) * f(b_), a_), Σ(f(a_) * f(b_), b_)),
        (Σ(r[i], (i, 1, G)) * Σ(u[j], (j, 1, G)), Σ(r[i] * u[i], (i, 1, G))), (mean[f(a_)]**2, mean[f(a_)**2]),
        (Σ(Q(s_, a_), a_), Σ(Q(s_, a_), s_)),
        (Σ(f2(a_, b_) * f2(b_, a_), a_, b_), Σ(f2(a_, b_) * f2(a_, b_), a_, b_)),
        (Σ(f2(a_, b_), a_), Σ(f2(b_, a_), a_)), (1 / Σ(f2(a_, b_), a_), 1 / Σ(f2(b_, a_), a_)),
    ),
    "any order of sums": sums(
        (Σ(Σ(f2(a_, s_), a_), s_), Σ(Σ(f2(s_, a_), a_), s_)),
        (Σ(γ**t * f(a_), (t, 0, T)), Σ(γ**l * f(b_), (l, 0, T))),
        (Σ(f(a_) * Σ(b(s_), s_), a_), Σ(f(a_) * b(s_), a_)), (Σ(r[i], (i, 1, N)), Σ(r[i], (i, 1, G - 1))),
        (Σ(r[i], (i, 1, N)), Σ(r[i], (i, 2, N))), (Σ(u[t], (t, 0, T)), Σ(u[t], (t, 1, T))),
        (Σ(Σ(u[l], (l, t, T)), (t, 0, T)), (T + 1) * Σ(u[l], (l, 0, T))),
        (Σ(u[i] * u[j], (j, 1, N), (i, 1, j)), Σ(u[i], (i, 1, N))**2),
    ),
    "a constant": sums(
        (Σ(b(s_), a_), b(s_)), (Σ(f(a_), a_), Σ(one, a_) * f(a_)), (Σ(one, (i, 1, N)), N + 1),
        (Σ(one, (t, 0, T)), T), (Σ(one, a_), Σ(one, s_)), (Σ(one, (t, 1, T)), T + 1),
        (Σ(γ**t * f(a_), (t, 0, T)), (T + 1) * γ**t * f(a_)), (Σ(one, (i, 3, N)), N - 2),
        (Σ(one, (t, 0, T - 2)), T - 1),
    ),
    "an indicator": sums(
        (Σ(same(a_, b_) * f(a_), a_), Σ(f(a_), a_)), (Σ(same(a_, b_) * f(a_), a_), f(b_) * Σ(one, a_)),
        (Σ(same(a_, b_) * same(a_, c_) * f(a_), a_), f(b_)), (Σ(same(i, j) * u[i], (i, 1, G - 1)), u[j]),
        (Σ(same(i, j) * u[i], (i, 2, G)), u[j]), (Σ((1 - same(a_, b_)) * f(a_), a_), Σ(f(a_), a_)),
        (Σ(same(a_, b_) * f2(a_, b_), a_), f2(c_, b_)), (Σ(f(a_) / same(a_, b_), a_), f(b_)),
        (Σ(same(a_, b_) * γ**i * f(a_), a_), γ**j * f(b_)), (Σ(same(i, 2) * u[i], (i, 1, 1)), u[2]),
        (Σ(same(t, l) * γ**t, (t, 0, T)), γ**t),
    ),
    "a distribution sums to one": sums(
        (Σ(law, s_), 1), (Σ(p(s_new, s_, a_), s_), 1), (Σ(p(s_new, s_, a_), a_), 1), (Σ(law**2, a_), 1),
        (Σ(1 / law, a_), 1), (Σ(law * other, a_), 1), (Σ(law * f(a_), a_), f(a_)),
        (Σ(p(s_new, s_new, a_), s_new), 1), (Σ(b(s_), s_), 1), (Σ(old * law, a_), 1), (Σ(law * ref / old, a_), 1),
        (Σ(reward(s_, a_, s_new), s_), 1), (Σ(law * p(s_new, s_, a_), a_), p(s_new, s_, a_)),
        (Σ(sp.sqrt(law), a_), 1), (Σ(log(law), a_), 1),
    ),
    "∇ π = π u": sums(
        (grad(old), old * score), (grad(law), law * grad(log(π(b_, s_)))), (grad(law), law * grad(log(other))),
        (grad(law), score), (grad(ref), grad(law)),
        (grad(p(s_new, s_, a_)), p(s_new, s_, a_) * grad(log(p(s_new, s_, a_))) + law - other),
        (grad(f(a_)), f(a_) * score), (grad(V_togo(h, s_)), 0), (grad(J(θ)), 0), (grad(P(τ)), 0), (grad(2**law), 0),
        (grad(sp.exp(law)), 0), (grad(γ**law), 0), (grad(sp.Max(law, ref)), 0),
    ),
    "∇ u = w": sums(
        (grad(score), score**2), (grad(score), 0), (curve, grad(grad(log(other)))), (grad(score**2), 2 * score),
        (grad(curve), 0),
    ),
    "∇ log X": sums(
        (grad(log(ref)), score), (grad(log(law * f(a_))), score * f(a_)), (grad(log(2 * law)), 2 * score),
        (grad(log(law / other)), score), (grad(log(Σ(f(a_) * law, a_))), Σ(f(a_) * grad(law), a_)),
        (grad(log(Σ(f(a_) * law, a_))), 0), (log(law + ref), log(law) + log(ref)),
        (log(law + ref), log(law)), (log(law + ref), log(ref)), (log(f(a_) + b(s_)), log(b(s_))),
        (log(law * ref), log(law) * log(ref)), (log(law**2), log(law)), (log(2 * law), log(law)),
        (log(1 / law), log(law)), (log(log(law)), 2 * log(law)), (log(Σ(law * f(a_), a_)), Σ(log(law * f(a_)), a_)),
    ),
    "the score has mean zero": sums(
        (Σ(law * grad(log(other)), a_), 0), (Σ(old * score, a_), 0), (Σ(law * grad(log(π(b_, s_))), a_), 0),
        (Σ(law * score**2, a_), 0), (mean[score * f(a_)], 0), (Σ(law * score, s_), 0), (Σ(law**2 * score, a_), 0),
        (Σ(score, a_), 0), (Σ(law / score, a_), 0), (mean[score * log(law)], 0), (Σ(q(x_) * score, x_), 0),
        (mean[score * f2(a_, s_)], 0), (mean[score * (f(a_) - b(s_))], 0), (Σ(law * other * score, a_), 0),
        (Σ(Σ(law * score * f2(s_, a_), a_), s_), 0), (mean[score * same(a_, b_)], 0), (Σ(ref * score, a_), 0),
    ),
    "the mean of w": sums(
        (mean[curve], mean[score**2]), (mean[curve], 0), (Σ(old * curve, a_), -Σ(old * score**2, a_)),
        (Σ(curve, a_), -Σ(score**2, a_)), (Σ(law * grad(grad(log(other))), a_), -Σ(law * grad(log(other))**2, a_)),
        (mean[curve * f(a_)], -mean[score**2 * f(a_)]), (mean[curve**2], mean[score**4]),
        (mean[curve], -mean[score]**2), (mean[score * curve], 0), (mean[curve], -2 * mean[score**2]),
    ),
    "θ_old = θ": sums(
        (AtOld(ref), law), (AtOld(old), old), (AtOld(grad(old)), AtOld(grad(law))), (grad(log(AtOld(law))), 0),
        (AtOld(grad(Σ(old * log(old), a_))), -AtOld(grad(Σ(law * log(old), a_)))), (AtOld(grad(log(law / old))), 0),
        (AtOld(Σ(old * score * f(a_), a_)), 0), (AtOld(grad(law / old)), AtOld(grad(law))),
    ),
    "stop-gradient": sums(
        (grad(sg[law]), grad(law)), (grad(sg[law] * law), 2 * law * grad(law)), (sg[law], 1),
        (grad(sg[law] * law), 0), (mean[sg[score] * f(a_)], 0),
    ),
    "division": sums(
        (1 / Σ(f(a_), a_), Σ(1 / f(a_), a_)), (1 / (f(a_) + b(s_)), 1 / f(a_) + 1 / b(s_)),
        ((f(a_) + b(s_)) / b(s_), f(a_)), (1 / (mean[one] - 1), 0), ((law - law**2) / (1 - law), 1),
        (sp.sqrt(law), law),
    ),
    # -- softmax ---------------------------------------------------------------------------------------
    "∂ log π(a) / ∂θ_b": [(softmax, x, y) for x, y in (
        (grad(log(π(a_)), θ[b_]), same(a_, b_) - π(a_)), (grad(log(π(a_)), θ[b_]), 1 - π(b_)),
        (grad(log(π(a_)), θ[a_]), same(a_, b_) - π(a_)), (grad(log(law), θ[b_]), same(a_, b_) - π(b_, s_new)),
        (grad(log(law), θ[b_]), same(a_, b_) - π(b_)), (grad(log(old), θ[b_]), same(a_, b_) - π(b_)),
        (grad(π(a_), θ[b_]), same(a_, b_) - π(b_)), (grad(π(a_), θ[b_]), -π(a_) * π(b_)),
        (grad(E(π(a_))[f(a_)], θ[b_]), π(b_) * f(b_)), (grad(grad(log(π(a_)), θ[b_]), θ[c_]), 0),
        (grad(grad(log(π(a_)), θ[b_]), θ[c_]), -π(b_) * (1 - π(c_))),
        (grad(log(π(a_)), θ[b_]), grad(log(π(a_)), θ[c_])), (grad(log(π(a_))), 0),
        (E(π(a_))[grad(log(π(b_)), θ[a_])], 0), (Σ(grad(log(π(a_)), θ[b_]), b_), 1),
    )],
    # -- independent samples ----------------------------------------------------------------------------
    "indices may coincide": group_of(
        (E[mean_r**2], M(ρs)**2), (E[mean_r**2], M(ρs**2)), (E[mean_r**2], M(ρs**2) / G),
        (E[Σ(r[i] * U[i], (i, 1, G))], G * M(ρs) * M(us)),
        (E[Σ(r[i], (i, 1, G)) * Σ(r[j], (j, 1, G))], G**2 * M(ρs)**2),
        (E[Σ(r[i], (i, 1, G)) * Σ(U[j], (j, 1, G))], 0), (E[mean_r**3], M(ρs**3) / G**2),
        (E[Σ(r[i] * r[j], (i, 1, G), (j, 1, G))], G**2 * M(ρs)**2),
        (E[Σ(r[i] * r[j], (i, 1, G), (j, 1, G))], G * M(ρs**2) + G**2 * M(ρs)**2),
        (Var[mean_r], (M(ρs**2) - M(ρs)**2) / (G - 1)), (Var[mean_r], M(ρs**2) / G),
        (Var[Σ(r[i], (i, 1, G))], M(ρs**2) - M(ρs)**2), (E[r[i] * r[j]], M(ρs)**2), (E[r[i] * r[j]], M(ρs**2)),
        (E[Σ(r[i], (i, 1, G)) * Σ(r[j], (j, 1, G)) * Σ(r[k], (k, 1, G))], G**3 * M(ρs)**3),
    ),
    "moments": group_of(
        (M(ρs**2), M(ρs)**2), (E[Σ(r[i]**2, (i, 1, G))], G * M(ρs)**2), (E[mean_r], M(us)), (E[mean_r], mean_r),
        (E[r[i]], r[i]), (E[Σ(U[i]**2, (i, 1, G))], 0), (E[r[1]], M(ρs)),
        (E[Σ(log(u[i]), (i, 1, G))], Σ(log(u[i]), (i, 1, G))),
        (E[Σ(1 / (u[i] - 2), (i, 1, G))], Σ(1 / (u[i] - 2), (i, 1, G))), (grad(E[mean_r]), 0),
        (grad(M(ρs) * law), M(ρs) * grad(law)), (E[sg[u[i]]], sg[u[i]]), (E[sg[u[i]] * U[i]], 0),
        (E[Σ(r[i], (i, 1, G - 1)) * Σ(r[j], (j, 1, G))], (G - 1) * G * M(ρs)**2), (E[mean_r, r[1]], M(ρs)),
        (E[1 / (1 + mean_r)], 1 / (1 + M(ρs))),
    ),
    "a sum over the data": [(any_sample, x, y) for x, y in (
        (E[Estimate()**2], E[Estimate()]**2), (Var[Estimate()], Var[Σ(now * R(τ), (t, 0, T))]),
        (E[Σ(R(τ), D)], E[R(τ)]), (E[Σ(R(τ), D)**2], N * E[R(τ)**2]), (E[Σ(R(τ), D)**2], N**2 * E[R(τ)]**2),
        (E[Σ(total, D) * Σ(R(τ), D)], N**2 * E[total] * E[R(τ)]), (E[R(τ)**2], E[R(τ)]**2),
        (E[R(τ) * Σ(R(τ), D)], N * E[R(τ)]**2), (E[Σ(R(τ) * Σ(R(τ), D), D)], N**2 * E[R(τ)]**2), (grad(E[R(τ)]), 0),
        (grad(E[Estimate()]), 0), (E[total], 1), (Var[Σ(R(τ), D)], Var[R(τ)]), (E[Estimate()], E[total] * E[R(τ)]),
        (Estimate(), E[Estimate()]),
    )],
    # -- every horizon ---------------------------------------------------------------------------------
    "base": induction(
        (N_togo(h, s_), 0), (N_togo(h, s_), 2), (N_togo(h, s_), b(s_)),
        (grad(V_togo(h, s_)), grad(V_togo(h, s_)) + γ**h), (V_togo(h, s_), V_togo(h, s_) + N_togo(h, s_)),
    ),
    "step": induction(
        (N_togo(h, s_), 1 + h), (V_togo(h, s_), 0), (V_togo(h, s_), h),
        (G_togo(h, s_), U_togo(h, s_) * V_togo(h, s_)), (grad(V_togo(h, s_)), 0), (V_togo(h, s_), G_togo(h, s_)),
        (U_togo(h, s_), V_togo(h, s_)), (G_togo(h, s_), 0), (V_togo(h, s_), γ * V_togo(h, s_)),
        (N_togo(h, s_), 1 + U_togo(h, s_) * V_togo(h, s_) + h), (grad(V_togo(h, s_)), -G_togo(h, s_)),
        (grad(V_togo(h, s_)), γ * G_togo(h, s_)),
    ),
    "the assumption is at h - 1": induction(
        (V_togo(h, s_), V_togo(h - 1, s_)), (V_togo(h, s_), V_togo(h + 1, s_)), (V_togo(h - 1, s_), 0),
        (V_togo(h + 1, s_), V_togo(h + 1, s_) + h), (N_togo(h + 1, s_), 2), (N_togo(h, s_), N_togo(h, s_)**2 + h),
        (V_togo(h, s_), V_togo(h, s_new)), (U_togo(h, s_), Σ(U_togo(h - 1, s_new), s_new)), (2 * N_togo(h, s_), 1),
    ),
    "lemmas": induction(
        (V_togo(h, s_), 0), (grad(V_togo(h, s_)), U_togo(h, s_)), (G_togo(h, s_), 0),
        (grad(V_togo(h, s_)), 2 * G_togo(h, s_)), given=[CLAIMS["horizon/score-mean-zero"]],
    ) + induction(
        (V_togo(h, s_), G_togo(h, s_)), (grad(N_togo(h, s_)), 1),
        given=[CLAIMS["horizon/policy-gradient"], CLAIMS["horizon/total-probability"]],
    ),
    "a state keeps its name": induction(
        (V_togo(h, s_new),
         Σ(π(a_, s_new) * Σ(p(s_new, s_new, a_) * (reward(s_new, a_, s_new) + γ * V_togo(h - 1, s_new)), s_new), a_)),
        (N_togo(h, s_new), 2),
        (V_togo(h, s_), Σ(law * Σ(p(s_new, s_, a_) * (reward(s_, a_, s_new) + γ * V_togo(h - 1, s_)), s_new), a_)),
    ),
    # -- whole trajectories -----------------------------------------------------------------------------
    "J and E": [(paths, x, y) for x, y in (
        (J(θ), R(τ)), (E[R(τ)]**2, E[R(τ)**2]), (E[r[0]], E[r[1]]), (E[r[t]], r[t]), (Σ(R(τ), τ), J(θ)),
        (E[total * R(τ)], E[total] * E[R(τ)]), (Σ(P(τ)**2, τ), 1), (E[b(s[0])], b(s[0])),
        (E[r[0] * r[1]], E[r[0]] * E[r[1]]), (Σ(P(τ) * r[t], τ), r[t]), (J(θ_next), J(θ)),
    )],
    "log P": [(paths, x, y) for x, y in (
        (log(P(τ)), Σ(log(π(a[t], s[t])), (t, 0, T))),
        (log(P(τ)), log(ρ0(s[1])) + Σ(log(p(s[t + 1], s[t], a[t])) + log(π(a[t], s[t])), (t, 0, T))),
        (log(P(τ)), log(ρ0(s[0])) + Σ(log(p(s[t + 1], s[t], a[t])) + log(π(a[t], s[t])), (t, 1, T))),
        (log(P(τ)), log(ρ0(s[0])) + Σ(log(p(s[t], s[t], a[t])) + log(π(a[t], s[t])), (t, 0, T))),
        (E[log(P(τ))], log(P(τ))),
    )],
    "∇ P": [(paths, x, y) for x, y in (
        (grad(P(τ)), total), (grad(P(τ)), P(τ) * Σ(now, (t, 1, T))), (grad(P(τ)), P(τ) * Σ(now, (t, 0, T - 1))),
        (grad(log(P(τ))), now), (grad(J(θ)), 0), (grad(log(P(τ))), Σ(grad(log(π(a[t], s[t + 1]))), (t, 0, T))),
        (grad(J(θ)), E[total]), (grad(J(θ)), E[Σ(now * r[t], (t, 0, T))]), (grad(J(θ)), E[-total * R(τ)]),
        (grad(log(P(τ))), Σ(grad(log(π_ref(a[t], s[t]))), (t, 0, T))), (grad(E[V(s[0])]), E[total * V(s[0])]),
        (grad(grad(J(θ))), E[total**2 * R(τ)]),
    )],
    "log of a product": [(paths, x, y) for x, y in (
        (log(1 + Π(f2(s[t]), (t, 0, T))), Σ(log(f2(s[t])), (t, 0, T))),
        (log(Π(f2(s[t]), (t, 0, T))), Σ(log(f2(s[t])), (t, 1, T))),
        (log(Π(π(a[t], s[t]), (t, 0, T))), Π(log(π(a[t], s[t])), (t, 0, T))),
        (log(Π(π(a[t], s[t]), (t, 0, T))), log(P(τ))),
        (log(2 * Π(π(a[t], s[t]), (t, 0, T))), Σ(log(2 * π(a[t], s[t])), (t, 0, T))),
    )],
    # -- finite MDPs -----------------------------------------------------------------------------------
    "the process": on(
        (P(τ), ρ0(s[0]) * Π(π(a[t], s[t]), (t, 0, T))), (Σ(P(τ), τ), 2),
        (P(τ), ρ0(s[0]) * Π(π(a[t], s[t]) * p(s[t], s[t + 1], a[t]), (t, 0, T))),
        (P(τ), ρ0(s[1]) * Π(π(a[t], s[t]) * p(s[t + 1], s[t], a[t]), (t, 0, T))), (E[r[0]], E[r[1]]),
        (r[t], reward(s[t + 1], a[t], s[t])), (Σ(P(τ) * π(a[0], s[0]), τ), E[one]), (E[R(τ)], R(τ)),
    ),
    "conditions": on(
        (E[r[t], s[t]], E[r[t]]), (E[r[t], s[t], a[t]], E[r[t], s[t]]), (E[r[t], s[t], a[t]], r[t]),
        (E[now * r[t], s[t], a[t]], 0), (E[r[t + 1], s[t]], E[r[t], s[t]]), (E[r[t], a[t]], E[r[t]]),
        (E[r[t - 1], s[t]], E[r[t]]), (E[R(τ), s[t]], V(s[t])), (E[r[t], r[t]], r[t]),
        (Expect(V(s[t + 1]), s[t], a[t]), V(s[t])), (Var[r[t], s[t]], Var[r[t]]),
    ),
    "nested expectations": on(
        (E[E[R(τ)] * R(τ)], E[R(τ)**2]), (E[V(s[t]) * r[t]], E[V(s[t])] * E[r[t]]), (Var[E[r[t], s[t]]], Var[r[t]]),
        (E[now * E[r[t], s[t], a[t]]], 0), (E[E[r[t], s[t]]**2], E[r[t]]**2),
    ),
    "on the trajectory": on(
        (a[T + 1], a[T]), (r[T + 1], 0), (E[r[t + 1]], 0), (E[r[-1]], 0), (s[T + 2], s[0]), (E[r[l]], 0),
        (R(s[0]), R(τ)), (Q(s[T], a[T]), 0), (E[s[0]], 0), (Σ(r[t], (t, 0, T + 1)), Σ(r[t], (t, 0, T))),
        (b(s_), b(s[0])), (V(a_), V(s[0])), (r[γ], r[0]),
    ),
    "the gradient": on(
        (grad(J(θ)), 0), (grad(P(τ)), grad(log(P(τ)))), (grad(log(P(τ))), Σ(now, (t, 1, T))),
        (grad(log(P(τ))), -total), (grad(R(τ)), total), (grad(J(θ)), E[total]),
        (grad(J(θ)), E[Σ(now * r[t], (t, 0, T))]), (grad(grad(J(θ))), grad(J(θ))), (grad(V(s[0])), 0),
        (grad(J(θ)), E[Σ(now * A(s[t], a[t]), (t, 0, T))]), (grad(J(θ)), E[Σ(now * to_go, (t, 0, T))]),
        (grad(E[total]), total), (grad(grad(log(P(τ)))), 0), (grad(E[log(π(a[t], s[t]))]), 0), (E[now**2], 0),
        (grad(J(θ)), E[Σ(γ**t * now * (to_go - b(s[t + 1])), (t, 0, T))]),
    ),
    "second derivatives at a point": [
        (point, grad(grad(J(θ))), 0), (point, grad(grad(P(τ))), grad(P(τ))), (point, norm2(grad(J(θ))), 0),
    ],
    "division is exact": on(
        (P(τ) / π(a[0], s[0]), P(τ)), (J(θ) / R(τ), 1), (1 / (1 + P(τ)), 1 - P(τ)), (P(τ) / (r[0] - r[0]), 0),
        (grad(log(1 + P(τ))), grad(P(τ))), (grad(log(J(θ))), grad(J(θ))),
    ),
    "the step": on(
        (J(θ_next), J(θ)), (J(θ[k + 1]), J(θ)), (Slope(J(θ_next), α), norm2(grad(J(θ))) / 2),
        (Slope(α * J(θ_next), α), α * norm2(grad(J(θ)))), (Slope(J(θ), α), J(θ)), (Slope(α * J(θ), α), 0),
        (Slope(J(Shifted(θ[k], α**2, grad(J(θ)))), α), 2 * α * norm2(grad(J(θ)))),
        (Slope(J(Shifted(θ[k], α**2, grad(J(θ)))), α), 2 * norm2(grad(J(θ)))),
        (Slope(J(θ_next), α), norm2(J(θ_next) and grad(E[r[0]]))),
        (Slope(J(Shifted(θ[k], 1 + α, grad(J(θ)))), α), norm2(grad(J(θ)))),
        (Slope(J(Shifted(θ[k], 2 * α, grad(J(θ)))), α), norm2(grad(J(θ)))),
        (Slope(J(Shifted(θ[k + 1], α, grad(J(θ)))), α), norm2(grad(J(θ)))), (norm2(grad(J(θ))), grad(J(θ))**2),
        (norm2(grad(total)), 0), (norm2(grad(grad(J(θ)))), 0),
    ),
    "definitions": on(
        (Q(s[t], a[t]), V(s[t])), (A(s[t], a[t]), Q(s[t], a[t])), (V(s[t]), Vhat(s[t])), (V(s[t + 1]), V(s[t])),
        (b(s[t]), b(s[0])), (b(s[t]), Vhat(s[t])), (J(θ), Σ(ρ0(s_) * V_togo(T, s_), s_)), (J(θ), V(s[0])),
        (Σ(ρ0(s_) * N_togo(T + 1, s_), s_), 2), (V_togo(-1, s[0]), 0), (V(s[T]), 0),
    ),
}

# What has no meaning, or none that this prover knows: it must refuse, and in these words.
REFUSALS = (IllFormed, Undecided)
ring = On(FiniteMDP(1, 2, 1))                          # no random point, where every quotient exists
MEANINGLESS = [(ring, sp.Symbol("y"), 0), (ring, Σ(V_togo(-1, s_), s_), 0), (ring, Σ(V_togo(γ, s_), s_), 0),
    (ring, 1 / (1 + P(τ)), 0), (ring, grad(log(1 + P(τ))), 0), (ring, J(θ) / R(τ), 1)] + sums(
    (Σ(same(s_, a_) * f(a_), a_), f(s_)), (Σ(same(i, a_) * f(a_), a_), f(a_)),
    (Σ(same(t, i) * u[i], (i, 1, G)), u[t]), (grad(V(s_)), 0), (grad(Q(s_, a_)), 0),
    (grad(A(s_, a_) * law), A(s_, a_) * grad(law)), (grad(AtOld(old)), law * score), (grad(AtOld(law)), law * score),
    (Σ(sp.Symbol("w"), sp.Symbol("w")), 0), (E[R(τ)], 0), (2**law, 0), (1 / (mean[one] - 1), 0),
    (1 / (Σ(f(a_), a_) - Σ(f(b_), b_)), 0), (Σ(P(τ) * r[t], τ), r[t]),
    (Σ(P(τ) * now, τ), 0), (Σ(P(τ) * b(s[0]), τ), b(s[0])), (grad(log(AtOld(old))), score),
    (Σ(same(i, j) * u[i], (i, 0, N)), u[j]), (Σ(same(i, j) * u[i], (i, 1, N)), u[j]), (grad(law, θ[b_]), 0),
    (Σ(Σ(f(a_), a_) * f(a_), a_), Σ(f(a_), a_)**2),
    (Slope(J(θ_next), α), 0), (Σ(u[i], (j, 1, N), (i, 1, j)), 0),
) + [
    (softmax, grad(law), 0), (any_sample, E[R(τ), s[t]], 0), (softmax, grad(AtOld(π_old(a_)), θ[b_]), 0),
     (softmax, grad(log(π(a_)), u[b_]), 0), (softmax, grad(log(π(a_)), θ[b_, a_]), 0), (softmax, grad(log(q(x_)), θ[b_]), 0),
     (softmax, grad(log(π(a_)), θ[s_]), 0), (softmax, grad(log(π(a_)), θ[1]), 0), (any_size, Σ(same(a_, 1) * f(a_), a_), f(b_)),
     (any_size, Σ(same(a_, b_) * log(Σ(f2(a_, b_), b_)), a_), 0),
     (any_size, Σ(same(a_, b_) * sg[E(π(b_, s_))[f2(a_, b_)]], a_), 0), (any_sample, E[Σ(R(τ), D) * R(τ)], 0),
    (any_sample, E[Σ(R(τ) * Σ(R(τ), D), D)], 0), (any_sample, E[Σ(r[t] * Σ(R(τ), D), (t, 0, T))], 0),
    (any_sample, grad(E[R(τ)]), 0), (paths, E[r[0], s[0]], 0), (paths, E[R(τ) * E[R(τ)]], 0),
    (paths, Σ(P(τ) * Σ(P(τ) * R(τ), τ), τ), 0),
     (paths, E[u[t]], 0),
    (paths, J(θ_next), 0), (paths, E[Σ(R(τ), D)], 0), (group, grad(E[mean_r]), 0), (group, E[U[1]], U[1]),
    (group, E[Σ(log(u[i]), (i, 1, G))], 0), (any_sample, grad(γ * E[R(τ)]), 0),
] + on(
    (s[T + 2], s[0]), (a[T + 1], a[T]), (E[r[-1]], 0), (E[r[t - 1]], 0), (r[T + 1], 0), (r[γ], 0), (u[t], 0),
    (E[P(τ), s[t]], 0),
    (P(s[0]), 0), (norm2(grad(R(τ))), 0), (Σ(V(a_), a_), 0), (norm2(grad(total)), 0), (norm2(grad(grad(J(θ)))), 0),
    (E[r[t], s[t], a[t + 1]], 0),
    (E[r[t], s[t], s[t]], 0), (E[r[t], s[t], a[t], a[t]], 0), (Slope(α * J(θ_next), α), 0), (Slope(α * J(θ), α), 0),
    (Slope(J(Shifted(θ[k], α, α * grad(J(θ)))), α), 0), (Slope(J(Shifted(θ[k], 1 + α, grad(J(θ)))), α), 0),
    (Slope(J(Shifted(θ[k + 1], α, grad(J(θ)))), α), 0), (J(θ_next), 0), (J(θ[k + 1]), 0), (R(s[0]), 0), (b(s_), 0),
    (1 / (r[0] - r[0] * E[P(τ) / P(τ)]), 0),
    (f(x_), f(x_)), (log(P(τ)), 0), (Σ(q(x_), x_), 1), (E[r[t], a[t]], 0), (E[r[t], t], 0), (γ**r[0], γ**r[0]),
    (Σ(r[t], (t, 0, α)), 0), (sp.sqrt(R(τ)), sp.sqrt(R(τ))), (Σ(b(s_), s_), 0), (grad(J(θ), θ[b_]), 0), (J(τ), J(θ)),
    (r[t, t], r[t]), (V_togo(h, s[0]), 0),
) + induction(
    (J(θ), 0), (V_togo(h, s_) + 1, 1), (grad(J(θ)), 0), (V_togo(h, 1), 0), (N_togo(h - 1, s_), 1), (b(s_), b(s_)),
    (N_togo(h, s_), 1 + h * U_togo(h + 1, s_)), (N_togo(h, s_), 1 + h * grad(G_togo(h, s_))),
    (V_togo(h, s_), V_togo(h, s_) + h * grad(G_togo(h, s_))),
    (N_togo(h, s_new), 1), (V_togo(h, s_), V_togo(h, s_) + h * (V_togo(h + 1, s_) - V_togo(h, s_))),
    given=[CLAIMS["horizon/score-mean-zero"]],
)

NEAR_MISSES |= near_misses_values.NEAR_MISSES
MEANINGLESS += near_misses_values.MEANINGLESS
