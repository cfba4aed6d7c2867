"""Near misses of values, baselines and reward-to-go: part of `near_misses`."""
import sympy as sp

from rlbook.derive.carriers import Point
from rlbook.derive.decide import any_size, softmax
from rlbook.derive.horizon import Horizon
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A,
    A_old,
    A_old_togo,
    A_togo,
    AtOld,
    Cov,
    Covariance,
    D_togo,
    E,
    ExpectOld,
    G_advantage,
    G_baseline,
    G_future,
    G_togo,
    G_value,
    Gt,
    J,
    P,
    Q,
    Q_old,
    Q_togo,
    R,
    T,
    V,
    V_old,
    V_old_togo,
    V_togo,
    Var,
    Vhat,
    a,
    a_,
    at,
    b,
    b_,
    b_star,
    b_togo,
    f,
    g_past,
    g_return,
    g_togo,
    grad,
    h,
    l,
    log,
    norm2,
    r,
    s,
    s_,
    s_new,
    t,
    u,
    γ,
    δ,
    δπ,
    θ,
    θ_old,
    π,
    π_old,
    ρ0,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On

from . import near_misses_ppo
from .catalogue import no_score, paths

law, old, other = π(a_, s_), π_old(a_, s_), π(b_, s_)
score = grad(log(law))
size = norm2(score)
mdp = On(FiniteMDP(2, 2, 1, carrier=Point), FiniteMDP(2, 2, 1))
to_go = Σ(γ**(l - t) * r[l], (l, t, T))


def mean(x):
    """E over a ~ π(. | s)."""
    return E(law)[x]


def sums(*pairs):
    return [(any_size, x, y) for x, y in pairs]


def soft(*pairs):
    return [(softmax, x, y) for x, y in pairs]


def on(*pairs):
    return [(mdp, x, y) for x, y in pairs]


def induction(*pairs, given=()):
    return [(Horizon(given=given), x, y) for x, y in pairs]


NEAR_MISSES = {
    "a sum in a denominator": sums(
        (mean(f(a_)) / mean(size), mean(f(a_) / size)), (1 / mean(size), 1 / mean(size)**2),
        (mean(size)**2 / mean(size), mean(size**2) / mean(size)), (mean(f(a_)) / mean(size) + 1 / mean(size)**2, 0),
        (mean(f(a_)) / mean(size) + 1 / mean(size)**2, (mean(f(a_)) + 1) / mean(size)**2), (b_star(s_), b(s_)),
        (1 / (1 + mean(size)) + 1 / mean(size), 1 / (mean(size) * (1 + mean(size)))),
        (1 / Σ(f(a_), a_) - 1 / Σ(f(a_)**2, a_), 0), (1 / mean(size), sp.sqrt(mean(size)) / mean(size)),
        (1 / mean(size) + sp.sqrt(mean(size)), 1 / mean(size) + mean(size)), (mean(f(a_)**2) / mean(f(a_)), mean(f(a_))),
    ),
    "the best baseline": sums(
        (b_star(s_), mean(f(a_))), (b_star(s_) * mean(size), mean(size * f(a_)**2)), (b_star(s_), b_star(s_new)),
        (mean(size * (f(a_) - b(s_))**2), mean(size * (f(a_) - b_star(s_))**2) + mean(size) * (b(s_) + b_star(s_))**2),
        (mean(size * (f(a_) - b(s_))**2), mean(size * (f(a_) - b_star(s_))**2)),
        (mean(size * f(a_)**2) - mean(size * (f(a_) - b_star(s_))**2), mean(size) * b_star(s_)),
    ) + soft((b_star(s_), mean(f(a_))), (mean(size) * b_star(s_), 0)),
    "the length of a score": soft(
        (size, 1 - 2 * law + law**2), (size, 2 * (1 - law)**2), (size, 1 - law), (size, norm2(grad(log(other)))),
        (size, Σ(grad(log(law), θ[b_]), b_)**2), (mean(size), 0), (size, 1 - 2 * law + Σ(π(b_, s_new)**2, b_)),
    ) + sums((size, score**2), (size, norm2(grad(log(other)))), (mean(size), mean(score**2)), (size, 0)),
    "functions at h": induction(
        (V_togo(h, s_), Σ(old * Q_togo(h, s_, a_), a_)), (V_togo(h, s_), Σ(Q_togo(h, s_, a_), a_)),
        (G_value(h, s_), Σ(law * score * Q_togo(h, s_, a_), a_)), (grad(V_togo(h, s_)), G_baseline(h, s_) + G_value(h, s_)),
        (mean(A_togo(h, s_, a_)), V_togo(h, s_)), (mean(Q_togo(h, s_, a_)), 0), (E(old)[A_togo(h, s_, a_)], 0),
        (mean(A_old_togo(h, s_, a_)), 0), (mean(Q_togo(h, s_, a_)), V_togo(h, s_new)), (G_advantage(h, s_), 0),
        (Q_togo(h, s_, a_), V_togo(h, s_)), (Σ(A_togo(h, s_, a_), a_), 0), (mean(A_togo(h, s_, b_)), 0),
        (V_togo(h, s_), V_old_togo(h, s_)), (V_togo(h, s_), V_old_togo(h, s_) - D_togo(h, s_)), (D_togo(h, s_), 0),
        (V_old_togo(h, s_), V_togo(h, s_) + D_togo(h, s_)), (b_togo(h, s_), 0), (b_togo(h, s_), b_togo(h, s_new)),
        (G_baseline(h, s_), b_togo(h, s_)), (mean(Q_togo(h - 1, s_, a_)), V_togo(h, s_)),
    ),
    "the past": induction(
        (G_togo(h, s_), G_future(h, s_) + V_togo(h, s_)), (G_future(h, s_), V_togo(h, s_)),
        (V_togo(h, s_), G_future(h, s_)),
    ) + on(
        (E[u[t] * Σ(γ**l * r[l], (l, 0, t))], 0), (E[u[t] * Σ(γ**l * r[l], (l, t, T))], 0), (g_return(τ), g_togo(τ)),
        (g_past(τ), 0), (E[g_past(τ)**2], 0), (Cov[g_togo(τ), g_past(τ)], 0), (Var[g_return(τ)], Var[g_togo(τ)]),
        (Var[g_return(τ)], Var[g_togo(τ)] + Var[g_past(τ)]), (E[u[0] * u[1] * r[1]], 0),
        (Var[g_return(τ)], Var[g_togo(τ)] + Var[g_past(τ)] + Cov[g_togo(τ), g_past(τ)]),
    ),
    "total variance": on(
        (Var[u[t] * Gt[t]], Var[u[t] * Q(s[t], a[t])]), (Var[r[0]], E[Var[r[0], s[0]]]), (Var[Gt[t]], Var[Q(s[t], a[t])]),
        (Var[r[0]] - Var[r[1]], E[r[0]]**2 - E[r[1]]**2), (Var[r[0]] - Var[r[1]], 0), (2 * Var[r[0]], Var[2 * r[0]]),
        (Var[r[0]] + Var[r[1]], Var[r[0] + r[1]]), (-Var[r[0]], Var[-r[0]]), (Var[r[0]], E[r[0]**2]),
        (Var[u[0] * r[0]], E[u[0] * r[0]]**2), (Var[r[0]] + E[r[0]]**2, E[r[0]]**2), (Var[r[0], s[0]], Var[r[0]]),
    ),
    "covariance": on(
        (Cov[r[0], r[1]], 0), (Cov[r[0], r[1]], E[r[0] * r[1]]), (Cov[r[0], r[0]], E[r[0]**2]), (Cov[u[0], r[0]], 0),
        (Cov[r[0], r[1]], -Cov[r[1], r[0]]), (Cov[r[0], r[1]], Cov[r[1], r[1]]),
    ),
    "π_old": on(
        (J(θ), J(θ_old)), (J(θ_old), E[R(τ)]), (E(π_old)[R(τ)], J(θ)), (grad(J(θ) + J(θ_old)), 0), (V_old(s[t]), V(s[t])),
        (Q_old(s[t], a[t]), Q(s[t], a[t])), (J(θ) - J(θ_old), E(π_old)[Σ(γ**t * A_old(s[t], a[t]), (t, 0, T))]),
        (J(θ) - J(θ_old), E[Σ(A_old(s[t], a[t]), (t, 0, T))]), (J(θ) - J(θ_old), E[Σ(γ**t * A(s[t], a[t]), (t, 0, T))]),
        (J(θ_old) - J(θ), E[Σ(γ**t * A_old(s[t], a[t]), (t, 0, T))]), (E[A_old(s[t], a[t]), s[t]], 0),
        (E(π_old)[A(s[t], a[t]), s[t]], 0), (E(π_old)[P(τ)], E[P(τ)]), (E(π_old)[u[0]], 0), (π_old(a[t], s[t]), π(a[t], s[t])),
        (E(π_old)[r[1], s[1], a[1]], E(π_old)[r[1], s[1]]), (E(π_old)[r[1], s[0], a[0]], E[r[1], s[0], a[0]]),
        (grad(E(π_old)[log(π(a[0], s[0]))]), 0), (Σ(ρ0(s_) * V_old_togo(T + 1, s_), s_), J(θ)),
    ),
    "names for one time": on(
        (u[t], grad(log(π(a[0], s[0])))), (Gt[t], R(τ)), (Gt[0], γ * R(τ)), (δ[t], r[t]), (δ[t], δπ[t]), (δ[0], δ[1]),
        (E[δ[t]], δ[t]), (E[δ[t], s[t]], δ[t]), (E[δ[t]], 0), (Â[t], δ[t]), (at(Â[t], λ=1), Â[t]), (at(Â[t], λ=0), Â[t]),
        (at(Â[t], λ=1), Gt[t] - Vhat(s[t])), (at(Gt[t], γ=1), Gt[t]), (at(V(s[t]), γ=1), V(s[t])),
        (at(J(θ), γ=1), J(θ)), (grad(E[δπ[0] * r[0]]), 0), (grad(E[u[0] * r[1]]), E[u[0]**2 * r[1]]),
    ) + sums((Σ(P(τ) * δ[t], τ), δ[t]), (grad(δπ[t] * law), δπ[t] * grad(law)), (grad(u[t] * law), u[t] * grad(law)),
             (Σ(P(τ) * Gt[t], τ), Gt[t]),
    ) + [(paths, x, y) for x, y in (
        (E[u[t]], u[t]), (E[Σ(u[t] * u[l], (t, 0, T), (l, 0, T)) * R(τ)], E[Σ(u[t]**2, (t, 0, T)) * R(τ)]),
        (grad(J(θ)), E[Σ(u[t], (t, 0, T))]), (grad(J(θ)), E[Σ(u[0] * R(τ), (t, 0, T))]),
        (grad(E[Σ(u[t] * R(τ), (t, 0, T))]), 0), (E[δ[0]], δ[0]),
    )],
}

ring = On(FiniteMDP(1, 2, 1))
MEANINGLESS = sums(
    (E(π_old)[R(τ)], 0), (Cov[R(τ), R(τ)], 0), (norm2(grad(J(θ))), 0), (norm2(grad(log(π_old(a_, s_)))), 0),
    (norm2(grad(law)), 0), (grad(size), 0), (AtOld(V_old(s_)), V(s_)), (AtOld(grad(old * J(θ_old))), 0),
    (Σ(P(τ) * u[t], τ), u[t]), (1 / (mean(2 * size) - 2 * mean(size)), 0), (grad(b_star(s_) * 0 + g_togo(τ)), 0),
) + soft((norm2(grad(log(law), θ[b_])), 0)) + on(
    (g_togo(s[0]), 0), (g_return(θ_old), 0), (Gt[T + 2] + r[T + 1], 0), (δ[T + 1], 0), (u[T + 1], 0), (δ[-1], 0), (u[γ], 0),
    (b_togo(0, s[0]), 0), (b_togo(T + 2, s[0]), 0), (b_togo(h, s[0]), 0), (E(π_old)[r[0], a[0]], 0), (Q_togo(-1, s[0], a[0]), 0),
    (Q_togo(1, a[0], s[0]), 0), (V_togo(1, a[0]), 0), (A_old(a[0], s[0]), 0), (J(θ_old + 1), 0), (at(u[t], α=0), 0),
    (π_old(s[0], a[0]), 0), (sp.Function("g")(u[t]), 0), (Cov[s[0], r[0]], 0), (Π(δ[t], (t, 0, T + 1)), 0),
) + induction(
    (mean(Q_togo(h + 1, s_, a_)), 0), (mean(f(a_)), mean(f(a_))), (Q_togo(h, s_, s_), 0), (Q_togo(h, s_, 1), 0),
    (A_togo(h, s_, a_) + 1, 1), (Q_togo(h + 1, s_, a_), 0), (grad(b_togo(h, s_)), 0),
    (mean(Σ(A_togo(h, s_new, b_), s_new)) * 2, 0),
    given=[no_score],
) + [(paths, ExpectOld(R(τ), s[0]), 0), (paths, Covariance(R(τ), R(τ)), 0), (paths, E[E(π_old)[R(τ)] * R(τ)], 0),
     (ring, 1 / u[t], 0)]

NEAR_MISSES |= near_misses_ppo.NEAR_MISSES
MEANINGLESS += near_misses_ppo.MEANINGLESS
