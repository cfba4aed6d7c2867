"""Near misses of entropy, critic, objective, normal policies, preferences and logits: what these provers must not prove.

`NEAR_MISSES` are false; `MEANINGLESS` has no meaning for its prover, which says so.
"""
import sympy as sp

from rlbook.derive.gaussian import standard_normal
from rlbook.derive.induction import Induction
from rlbook.derive.language import (
    Σ,
    AtOld,
    Clip,
    E,
    T,
    a,
    a_,
    b_,
    exp,
    f,
    grad,
    indicator,
    l,
    log,
    s,
    s_,
    s_new,
    sg,
    t,
    x,
    x_,
    z,
    γ,
    ε,
    θ,
    π,
    π_ref,
    τ,
    φ,
)
from rlbook.derive.ratios import KL, maximum, minimum, μ
from rlbook.derive.terms import (
    LRM,
    LV,
    Δ,
    Ahat,
    H,
    Lppo,
    Rhat,
    Vφ,
    g_μ,
    g_ς,
    log_normal,
    p_,
    prefers,
    rφ,
    v_,
    v_new,
    v_old,
    w1,
    w2,
    y1,
    y2,
    y_,
    κ,
    μ_old,
    πo,
    πo_ref,
    ς,
    ς_old,
    σ,
)

from .catalogue_ppo_terms import (
    action,
    calculus,
    clipped,
    completions,
    law,
    logits,
    noise,
    normal,
    objective,
    old,
    ratio,
    score,
    slope,
)

far = minimum(ratio * Ahat(s_, a_), Clip(ratio, 1 + ε, 2 + ε) * Ahat(s_, a_))
wrong = minimum(ratio * Ahat(s_, a_), Clip(law / π_ref(a_, s_), 1 - ε, 1 + ε) * Ahat(s_, a_))
inverse = minimum(Ahat(s_, a_) / ratio, Clip(1 / ratio, 1 - ε, 1 + ε) * Ahat(s_, a_))
mixed = minimum(ratio * Ahat(s_, a_), Clip(π(a_, s_new) / old, 1 - ε, 1 + ε) * Ahat(s_, a_))
other = sp.Symbol("v2")

NEAR_MISSES = {
    "log of a product": (calculus, [
        (log(v_new**2), 2 * log(v_new)), (log(v_new * v_old), log(v_new) + log(v_old)), (log(κ + ς), log(κ) + log(ς)),
        (log(κ) * log(ς), log(κ * ς)), (log(2 * κ), log(2) * log(κ))]),
    "powers of e": (calculus, [
        (exp(Δ) * exp(v_new), exp(Δ * v_new)), (exp(2 * Δ), 2 * exp(Δ)), (exp(Δ + 1), exp(Δ) + sp.E),
        (exp(Δ * v_new), exp(Δ)**2)]),
    "derivatives": (calculus, [
        (grad(log_normal(Δ, μ, ς), ς), g_ς(Δ)), (grad(exp(2 * Δ), Δ), exp(2 * Δ)),
        (grad(log(σ(Δ)), Δ), 1 / σ(Δ)), (grad(Δ * v_new, Δ), Δ),
        (grad(1 / Δ, Δ), 1 / Δ**2), (grad(σ(Δ), Δ), σ(Δ)**2), (grad(v_new, Δ), 1)]),
    "the critic": (calculus, [
        (grad((Vφ(s_) - Rhat(s_))**2 / 2, φ), (Vφ(s_) - Rhat(s_)) * slope), (grad(LV(s_), φ), 2 * (Vφ(s_) - Rhat(s_)) * slope),
        (grad(sg[Vφ(s_)] * Vφ(s_), φ), 2 * Vφ(s_) * slope), (grad(sg[Vφ(s_)], φ), slope),
        (grad(Vφ(s_) * Vφ(s_new), φ), slope * Vφ(s_new)), (slope, grad(Vφ(s_new), φ)), (slope**2, grad(slope, φ))]),
    "preferences": (calculus, [
        (prefers(y1, y2), prefers(y2, y1)), (prefers(y1, y2), σ(rφ(y1)) - σ(rφ(y2))), (σ(Δ), σ(-Δ)), (σ(2 * Δ), σ(Δ)),
        (grad(LRM(y1, y2), φ), -prefers(y1, y2) * (grad(rφ(y1), φ) - grad(rφ(y2), φ))), (LRM(y1, y2), log(prefers(y2, y1)))]),
    "the clip near θ_old": (objective, [
        (AtOld(grad(E(old)[far])), E(law)[score * Ahat(s_, a_)]), (AtOld(grad(E(old)[wrong])), E(law)[score * Ahat(s_, a_)]),
        (AtOld(grad(E(old)[mixed])), E(law)[score * Ahat(s_, a_)]),
        (AtOld(grad(E(old)[inverse])), E(law)[score * Ahat(s_, a_)]),
        (grad(E(old)[clipped]), grad(E(old)[ratio * Ahat(s_, a_)])),
        (E(old)[clipped], E(old)[ratio * Ahat(s_, a_)]), (AtOld(grad(E(old)[clipped])), 0),
        (clipped, maximum(ratio * Ahat(s_, a_), Clip(ratio, 1 - ε, 1 + ε) * Ahat(s_, a_)))]),
    "two networks": (objective, [
        (grad(Vφ(s_) * law), grad(law)), (grad(law * Vφ(s_), φ), slope), (grad(w1 * w2 * H(s_), w1), H(s_)),
        (grad(w1**2 * KL(s_), w1), w1 * KL(s_)), (grad(LV(s_), φ), -(Vφ(s_) - Rhat(s_)) * slope),
        (grad(Lppo(θ, φ), w1), E(law)[KL(s_)]), (grad(sg[ratio] * log(law)), grad(ratio * log(law)))]),
    "a softmax, written out": (logits, [
        (grad(log(p_(y_)), z[v_]), indicator(v_, y_) - p_(v_)), (grad(p_(y_), z[v_]), indicator(v_, y_) - p_(v_)),
        (grad(log(p_(y_)), z[v_]), (1 - p_(v_)) / κ), (Σ(p_(v_)**2, v_), 1), (grad(Σ(exp(z[v_]), v_), z[y_]), Σ(exp(z[v_]), v_)),
        (grad(z[y_], z[v_]), 1), (log(Σ(exp(z[v_]), v_)), Σ(z[v_], v_)), (log(exp(f(a_)) + law), f(a_) + log(law)),
        (grad(grad(log(p_(y_)), z[v_]), z[other]), -p_(v_) * p_(other) / κ**2)]),
    "the normal law": (normal, [
        (E(noise)[log_normal(action, μ, ς) - log_normal(action, μ_old, ς_old)],
         log(ς / ς_old) + (ς_old**2 + (μ - μ_old)**2) / (2 * ς**2) - sp.Rational(1, 2)),
        (E(noise)[g_μ(action)**2], 1), (E(noise)[g_μ(action)**2], 1 / ς),
        (-E(noise)[log_normal(action, μ, ς)], log(2 * sp.pi * sp.E * ς) / 2), (E(noise)[g_ς(action)**2], 1),
        (-E(noise)[log_normal(action, μ, ς)], log(ς)),
        (E(noise)[g_μ(action) * action], 0), (log(2 * ς), 2 * log(ς)), (log(ς**2), log(ς)**2), (E(noise)[x_ * log(ς)], log(ς))]),
    "completions": (completions, [
        (log(πo(τ)), log(π(a[0], s[0]))), (log(πo(τ)), log(πo_ref(τ))), (grad(log(πo_ref(τ))), grad(log(πo(τ)))),
        (log(πo(τ)), Σ(log(π(a[t], s[t])), (t, 1, T)))]),
    "indicators in time": (Induction(T, base=t), [
        (Σ(indicator(l, T) * x[l], (l, t, T)), x[t]), (Σ(indicator(l, T) * x[l], (l, t, T)), Σ(x[l], (l, t, T))),
        (Σ(indicator(l, T + 1) * x[l], (l, t, T + 1)), 0), (Σ(indicator(l, t + 1) * x[l], (l, t, T + 1)), 0)]),
}

MEANINGLESS = [
    (calculus, grad(f(x_), x_), 0), (calculus, grad(Vφ(s_)), 0), (calculus, Σ(f(a_), a_), 0), (calculus, Clip(Δ, 0, 1), 0),
    (calculus, 1 / (Δ - Δ * exp(v_new) * exp(-v_new)), 0), (calculus, exp(Δ / 2), exp(Δ / 2)), (calculus, grad(Δ, θ[b_]), 0),
    (objective, grad(H(s_), θ[b_]), 0), (objective, grad(law, l), 0), (objective, grad(AtOld(law), w1), 0),
    (objective, AtOld(grad(E(old)[far])), AtOld(grad(E(old)[far]))), (objective, grad(exp(w1) * law, w1), 0),
    (objective, grad(E(old)[clipped]), grad(E(old)[clipped])), (objective, grad(log(1 + Vφ(s_)**2) * law, φ), 0),
    (logits, grad(log(law), z[v_]), 0), (logits, grad(H(s_), z[v_]), 0), (calculus, grad(log(law), κ), 0),
    (normal, E(standard_normal(ς))[log(ς)], log(ς)), (normal, E(standard_normal(ς))[ς**2 * log(ς)], log(ς)),
    (logits, grad(law, z[b_]), 0), (logits, grad(law, θ[b_]), 0), (logits, grad(exp(law)), 0), (logits, grad(z[x_], z[v_]), 0),
    (normal, E(noise)[log(x_)], 0), (normal, exp(log(2) * x_), 0), (normal, log(v_new), 0), (normal, log(-ς), 0),
    (Induction(T), indicator(γ, 1), 0),
]
