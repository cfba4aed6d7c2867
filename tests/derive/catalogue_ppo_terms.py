"""The claims of PPO's other terms: entropy, critic, objective, normal policies, preferences, logits, completions.

They exercise the rules of `Calculus`, `Objective`, `NormalPolicy`, `Logits` and `Completions`, and indicators in `Induction`.
"""
import sympy as sp

from rlbook.derive.calculus import Calculus
from rlbook.derive.claims import Claim
from rlbook.derive.gaussian import standard_normal
from rlbook.derive.induction import Induction
from rlbook.derive.language import (
    Σ,
    AtOld,
    Clip,
    E,
    P,
    T,
    Vhat,
    a,
    a_,
    exp,
    f,
    grad,
    indicator,
    l,
    log,
    p,
    r,
    s,
    s_,
    sg,
    t,
    x,
    x_,
    z,
    β,
    γ,
    ε,
    θ,
    π,
    π_old,
    π_ref,
    ρ0,
    τ,
    φ,
)
from rlbook.derive.logits import Completions, Logits
from rlbook.derive.normal import NormalPolicy
from rlbook.derive.objective import Objective
from rlbook.derive.ratios import KL, minimum, μ
from rlbook.derive.terms import (
    LRM,
    LV,
    Δ,
    Ahat,
    H,
    Hp,
    Lppo,
    Rhat,
    Vφ,
    Zβ,
    best,
    d_old,
    g_μ,
    g_ς,
    log_normal,
    p_,
    prefers,
    rφ,
    v_,
    v_new,
    w1,
    w2,
    w3,
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

CLAIMS = {}


def claim(id, lhs, rhs, by):
    CLAIMS[f"terms/{id}"] = Claim(f"terms/{id}", sp.sympify(lhs), sp.sympify(rhs), by)


calculus, objective, logits, normal, completions = Calculus(), Objective(), Logits(), NormalPolicy(), Completions()
law, old, ref, batch = π(a_, s_), π_old(a_, s_), π_ref(a_, s_), d_old(s_)
score, ratio = grad(log(law)), law / old
clipped = minimum(ratio * Ahat(s_, a_), Clip(ratio, 1 - ε, 1 + ε) * Ahat(s_, a_))
slope = grad(Vφ(s_), φ)

# -- formulas ----------------------------------------------------------------------------------------------
claim("product-rule", grad(v_new * exp(Δ * v_new), v_new), (1 + Δ * v_new) * exp(Δ * v_new), calculus)
claim("soft-plus", grad(log(1 + exp(Δ)), Δ), σ(Δ), calculus)
claim("logarithms", log(6 * ς**2 * exp(Δ) / κ), log(2) + log(3) + 2 * log(ς) + Δ - log(κ), calculus)
claim("log-of-a-sum", log(κ + κ * ς), log(κ) + log(1 + ς), calculus)
claim("log-odds", log(σ(Δ)) - log(σ(-Δ)), Δ, calculus)
claim("powers-of-e", exp(Δ) * exp(2 * Δ + v_new), exp(3 * Δ) * exp(v_new), calculus)
claim("half-stopped", grad(sg[Vφ(s_)] * Vφ(s_), φ), Vφ(s_) * slope, calculus)
claim("second-derivative", grad(grad(Vφ(s_)**2, φ), φ), 2 * slope**2 + 2 * Vφ(s_) * grad(slope, φ), calculus)
claim("quotient", grad(rφ(y1) / rφ(y2), φ), (grad(rφ(y1), φ) * rφ(y2) - rφ(y1) * grad(rφ(y2), φ)) / rφ(y2)**2, calculus)
claim("value-of-a-stop", sg[Vφ(s_)] + Vφ(s_), 2 * Vφ(s_), calculus)
claim("critic", grad(LV(s_), φ), (Vφ(s_) - Rhat(s_)) * slope, calculus)
claim("preference", grad(LRM(y1, y2), φ), -prefers(y2, y1) * (grad(rφ(y1), φ) - grad(rφ(y2), φ)), calculus)
claim("score-of-the-mean", grad(log_normal(a_, μ, ς), μ), g_μ(a_), calculus)
claim("curvature-of-the-mean", grad(grad(log_normal(a_, μ, ς), μ), μ), -1 / ς**2, calculus)

# -- the objective -----------------------------------------------------------------------------------------
claim("objective-at-old", AtOld(grad(Lppo(θ, φ))),
      E(batch)[E(law)[score * (Ahat(s_, a_) - w1 * log(law / ref) - w2 * log(law))]], objective)
claim("objective-critic", grad(Lppo(θ, φ), φ), -w3 * E(batch)[(Vφ(s_) - Rhat(s_)) * slope], objective)
claim("objective-linear", Lppo(θ, φ) - E(batch)[E(old)[clipped]],
      w1 * grad(Lppo(θ, φ), w1) + w2 * grad(Lppo(θ, φ), w2) + w3 * grad(Lppo(θ, φ), w3), objective)
claim("objective-weight", grad(w1**2 * KL(s_) + w2 * H(s_), w1), 2 * w1 * KL(s_), objective)
claim("clip-at-old", AtOld(grad(grad(E(old)[clipped]))), AtOld(grad(grad(E(old)[ratio * Ahat(s_, a_)]))), objective)
claim("entropy", grad(H(s_)), -E(law)[score * log(law)], objective)
claim("value-at-old", AtOld(E(old)[clipped]), E(law)[Ahat(s_, a_)], objective)
claim("two-networks", grad(law * Vφ(s_)), Vφ(s_) * grad(law), objective)
claim("two-networks-critic", grad(law * Vφ(s_)**2, φ), 2 * law * Vφ(s_) * slope, objective)
claim("stopped-weight", grad(sg[ratio] * log(law)), ratio * score, objective)

# -- softmax, written out ----------------------------------------------------------------------------------
other = sp.Symbol("v2")
claim("sum-of-exponentials", grad(Σ(exp(z[v_]), v_), z[y_]), exp(z[y_]), logits)
claim("log-sum-exp", grad(log(Σ(exp(z[v_] / κ), v_)), z[y_]), p_(y_) / κ, logits)
claim("softmax-total", Σ(p_(v_), v_), 1, logits)
claim("softmax-hessian", grad(grad(log(p_(y_)), z[v_]), z[other]), -p_(v_) * (indicator(v_, other) - p_(other)) / κ**2, logits)
claim("softmax-mean", grad(Σ(p_(v_) * f(v_), v_), z[y_]), p_(y_) * (f(y_) - Σ(p_(v_) * f(v_), v_)) / κ, logits)
claim("token-entropy", grad(Hp(), z[v_]), -p_(v_) * (log(p_(v_)) + Hp()) / κ, logits)
claim("log-of-exp", log(exp(f(a_)) * law), f(a_) + log(law), logits)
claim("best-policy", E(law)[f(a_)] - β * KL(s_), β * log(Zβ(s_)) - β * E(law)[log(law / best(a_, s_))], logits)

# -- normal policies ---------------------------------------------------------------------------------------
noise, action = standard_normal(x_), μ + ς * x_
claim("reinforce-mean", E(noise)[g_μ(action) * action**2], 2 * μ, normal)
claim("reinforce-deviation", E(noise)[g_ς(action) * action**2], 2 * ς**2, normal)
claim("normal-entropy", -E(noise)[log_normal(action, μ, ς)], log(2 * sp.pi * sp.E * ς**2) / 2, normal)
claim("normal-kl", E(noise)[log_normal(action, μ, ς) - log_normal(action, μ_old, ς_old)],
      log(ς_old / ς) + (ς**2 + (μ - μ_old)**2) / (2 * ς_old**2) - sp.Rational(1, 2), normal)
claim("normal-logarithms", E(noise)[x_**2 * log(12 * ς**3)], 2 * log(2) + log(3) + 3 * log(ς), normal)

# -- completions -------------------------------------------------------------------------------------------
token = log(π(a[t], s[t]))
claim("completion", log(πo(τ)), Σ(token, (t, 0, T)), completions)
claim("completion-score", grad(log(πo(τ) / πo_ref(τ))), Σ(grad(token), (t, 0, T)), completions)
claim("completion-ratio", log(πo(τ) / πo_ref(τ)), Σ(token - log(π_ref(a[t], s[t])), (t, 0, T)), completions)
claim("completion-trajectory", log(P(τ)), log(ρ0(s[0])) + Σ(log(p(s[t + 1], s[t], a[t])), (t, 0, T)) + log(πo(τ)), completions)

# -- indicators in sums over time --------------------------------------------------------------------------
claim("last-only", Σ(indicator(l, T) * x[l], (l, t, T)), x[T], Induction(T, base=t))
claim("never", Σ(indicator(l, T + 1) * x[l], (l, t, T)), 0, Induction(T, base=t))
claim("paid-at-the-end", Σ(γ**(l - t) * (indicator(l, T) * r[T] + γ * Vhat(s[l + 1]) - Vhat(s[l])), (l, t, T)),
      γ**(T - t) * r[T] + γ**(T - t + 1) * Vhat(s[T + 1]) - Vhat(s[t]), Induction(T, base=t))
