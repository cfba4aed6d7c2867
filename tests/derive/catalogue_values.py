"""The claims of reward-to-go, baselines, values and the performance difference: part of the catalogue."""
import sympy as sp

from rlbook.derive.decide import any_size, softmax
from rlbook.derive.horizon import Horizon
from rlbook.derive.language import (
    Σ,
    A,
    A_old,
    A_old_togo,
    A_togo,
    Cov,
    D_togo,
    E,
    G_advantage,
    G_baseline,
    G_future,
    G_togo,
    G_value,
    Gt,
    J,
    Q,
    Q_old,
    Q_old_togo,
    Q_togo,
    R,
    T,
    V,
    V_old,
    V_old_togo,
    V_togo,
    Var,
    VarianceUnder,
    a,
    a_,
    b,
    b_,
    b_star,
    f,
    g_past,
    g_return,
    g_togo,
    grad,
    h,
    l,
    log,
    norm2,
    now,
    p,
    r,
    reward,
    s,
    s_,
    s_new,
    t,
    u,
    γ,
    δ,
    θ,
    θ_old,
    π,
    π_old,
    ρ0,
    τ,
)

from . import catalogue
from .catalogue import claim, mdp, no_score, paths

law, score = π(a_, s_), grad(log(π(a_, s_)))
size, to_go = norm2(score), Σ(γ**(l - t) * r[l], (l, t, T))
past, offset = Σ(γ**l * r[l], (l, 0, t - 1)), Σ(γ**t * u[t] * b(s[t]), (t, 0, T))
mean = catalogue.mean

# -- one state ---------------------------------------------------------------------------------------------
claim("sums/best-baseline", mean(size * (f(a_) - b(s_))**2),
      mean(size * (f(a_) - b_star(s_))**2) + mean(size) * (b(s_) - b_star(s_))**2, any_size)
claim("sums/best-baseline-saves", mean(size * f(a_)**2) - mean(size * (f(a_) - b_star(s_))**2),
      mean(size * f(a_))**2 / mean(size), any_size)
claim("sums/fractions", mean(f(a_)) / mean(size) + 1 / mean(size)**2, (mean(f(a_)) * mean(size) + 1) / mean(size)**2, any_size)
claim("softmax/score-length", size, 1 - 2 * law + Σ(π(b_, s_)**2, b_), softmax)
claim("softmax/total-variance", Σ(VarianceUnder(grad(log(law), θ[b_]) * (f(a_) - b(s_)), law), b_),
      Σ(VarianceUnder(grad(log(law), θ[b_]) * f(a_), law), b_) + mean(size) * b(s_) * (b(s_) - 2 * b_star(s_)), softmax)

# -- every horizon -----------------------------------------------------------------------------------------
claim("horizon/past-rewards", G_togo(h, s_), G_future(h, s_), Horizon(given=[no_score]))
claim("horizon/baseline", G_baseline(h, s_), G_future(h, s_), Horizon())
claim("horizon/reward-to-go", grad(V_togo(h, s_)), G_future(h, s_), Horizon())
claim("horizon/tower", G_future(h, s_), G_value(h, s_), Horizon())
claim("horizon/policy-gradient-q", grad(V_togo(h, s_)), G_value(h, s_), Horizon())
claim("horizon/policy-gradient-a", grad(V_togo(h, s_)), G_advantage(h, s_), Horizon())
claim("horizon/bellman", V_togo(h, s_), Σ(law * Q_togo(h, s_, a_), a_), Horizon())
claim("horizon/advantage-mean-zero", mean(A_togo(h, s_, a_)), 0, Horizon())
claim("horizon/performance-difference", V_togo(h, s_), V_old_togo(h, s_) + D_togo(h, s_), Horizon())
claim("horizon/old-advantage-mean-zero", E(π_old(a_, s_))[A_old_togo(h, s_, a_)], 0, Horizon())

claim("horizon/old-values-stay", grad(V_old_togo(h, s_)), 0, Horizon())

# -- whole trajectories ------------------------------------------------------------------------------------
claim("paths/score-named", grad(J(θ)), E[Σ(u[t] * R(τ), (t, 0, T))], paths)
claim("paths/scores-at-two-times", E[Σ(u[t] * u[l], (t, 0, T), (l, 0, T))], E[Σ(now, (t, 0, T))**2], paths)

# -- finite MDPs -------------------------------------------------------------------------------------------
claim("mdp/future-recursion", E[Σ(γ**t * u[t] * Gt[t], (t, 0, T))], Σ(ρ0(s_) * G_future(T + 1, s_), s_), mdp)
claim("mdp/baseline-recursion", E[Σ(γ**t * u[t] * (to_go - b(s[t])), (t, 0, T))], Σ(ρ0(s_) * G_baseline(T + 1, s_), s_), mdp)
claim("mdp/gradient-q-recursion", E[Σ(γ**t * now * Q(s[t], a[t]), (t, 0, T))], Σ(ρ0(s_) * G_value(T + 1, s_), s_), mdp)
claim("mdp/gradient-a-recursion", E[Σ(γ**t * now * A(s[t], a[t]), (t, 0, T))], Σ(ρ0(s_) * G_advantage(T + 1, s_), s_), mdp)
claim("mdp/value-recursion", V(s[t]), V_togo(T + 1 - t, s[t]), mdp)
claim("mdp/action-value-recursion", Q(s[t], a[t]), Q_togo(T + 1 - t, s[t], a[t]), mdp)
claim("mdp/advantage-recursion", A(s[t], a[t]), A_togo(T + 1 - t, s[t], a[t]), mdp)
claim("mdp/old-recursion", Q_old(s[t], a[t]) - V_old(s[t]), A_old_togo(T + 1 - t, s[t], a[t]), mdp)
claim("mdp/old-action-value-recursion", Q_old(s[t], a[t]), Q_old_togo(T + 1 - t, s[t], a[t]), mdp)
claim("mdp/difference-recursion", E[Σ(γ**t * A_old(s[t], a[t]), (t, 0, T))], Σ(ρ0(s_) * D_togo(T + 1, s_), s_), mdp)
claim("mdp/performance-difference", J(θ) - J(θ_old), E[Σ(γ**t * A_old(s[t], a[t]), (t, 0, T))], mdp)
claim("mdp/performance-difference-swapped", J(θ_old) - J(θ), E(π_old)[Σ(γ**t * A(s[t], a[t]), (t, 0, T))], mdp)
claim("mdp/old-return", J(θ_old), Σ(ρ0(s_) * V_old_togo(T + 1, s_), s_), mdp)
claim("mdp/old-mean", E(π_old)[r[0], s[0]],
      Σ(π_old(a_, s[0]) * Σ(p(s_new, s[0], a_) * reward(s[0], a_, s_new), s_new), a_), mdp)
claim("mdp/return-splits", g_return(τ), g_togo(τ) + g_past(τ), mdp)
claim("mdp/return-variance", Var[g_return(τ)], Var[g_togo(τ)] + Var[g_past(τ)] + 2 * Cov[g_togo(τ), g_past(τ)], mdp)
claim("mdp/covariance", Cov[r[0], u[1] + r[1]], E[r[0] * r[1]] - E[r[0]] * E[r[1]] + E[r[0] * u[1]], mdp)
claim("mdp/baselines-do-not-mix", E[offset**2], E[Σ(γ**(2 * t) * u[t]**2 * b(s[t])**2, (t, 0, T))], mdp)
claim("mdp/tower", E[u[t] * Gt[t]], E[u[t] * E[Gt[t], s[t], a[t]]], mdp)
claim("mdp/two-steps", Var[(u[0] + u[1]) * (r[0] + γ * r[1])] - Var[u[0] * (r[0] + γ * r[1]) + γ * u[1] * r[1]],
      E[u[1]**2 * r[0]**2] + 2 * γ * E[u[1] * (u[0] + u[1]) * r[0] * r[1]], mdp)
claim("mdp/last-term", Var[u[T] * r[T]], Var[u[T] * Q(s[T], a[T])] + E[u[T]**2 * Var[r[T], s[T], a[T]]], mdp)
claim("mdp/td-errors-add-up", Σ(γ**t * δ[t], (t, 0, T)), R(τ) - catalogue.Vhat(s[0]) + γ**(T + 1) * catalogue.Vhat(s[T + 1]), mdp)
claim("mdp/scores-have-no-memory", E[u[T] * past.xreplace({t: T})], sp.Integer(0), mdp)
