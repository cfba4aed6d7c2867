"""Near misses of ratios, surrogates and divergences: false statements that must not be proved, and what has no meaning.

Merged into `near_misses`, which says what the tables are.
"""
from rlbook.derive.cases import Cases, oo
from rlbook.derive.decide import any_size, whole_trajectory
from rlbook.derive.definitions import STANDARD
from rlbook.derive.horizon import Horizon
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A_old,
    AtOld,
    Clip,
    E,
    J,
    Lclip,
    P,
    Q_old,
    R,
    T,
    a,
    a_,
    b,
    grad,
    h,
    k,
    l,
    log,
    r,
    rθ,
    s,
    s_,
    s_new,
    t,
    u,
    β,
    γ,
    ε,
    θ,
    θ_old,
    π,
    π_old,
    π_ref,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On
from rlbook.derive.ratios import (
    KL,
    LCLIP,
    KL_path,
    KL_reverse,
    Lold,
    P_old,
    P_ref,
    k1,
    k2,
    k3,
    maximum,
    minimum,
    χ2_old,
    χ2_ref,
)
from rlbook.derive.sums import Sums

ring = On(FiniteMDP(2, 2, 1))
six = Cases({ε: [0, 1], rθ[t]: [0, 1 - ε, 1 + ε, oo], Â[t]: [-oo, 0, oo]}, given=[STANDARD[Lclip]])
new, old, ref = π(a_, s_), π_old(a_, s_), π_ref(a_, s_)
ratio, here = ref / new, π_ref(a[t], s[t]) / π(a[t], s[t])
product, scores = Π(rθ[t], (t, 0, T)), Σ(u[t], (t, 0, T))
later = log(π(a[l], s[l]) / π_ref(a[l], s[l]))


def sums(*pairs):
    return [(any_size, *pair) for pair in pairs]


def whole(*pairs):
    return [(whole_trajectory, *pair) for pair in pairs]


def on(*pairs):
    return [(ring, *pair) for pair in pairs]


NEAR_MISSES = {
    "1/π_old is a number": on(
        (rθ[t], 1), (rθ[t], 1 / rθ[t]), (rθ[0], rθ[1]), (E(π_old)[rθ[t]], 0), (E[rθ[t], s[t]], 1),
        (E(π_old)[rθ[t]**2, s[t]], 1),
        (E(π_old)[1 / rθ[t]], 1), (P(τ) / P_old(τ), rθ[0]), (P_old(τ), P(τ)), (P_ref(τ), P_old(τ)), (E(π_old)[product], R(τ)),
        (E(π_old)[rθ[0] * R(τ)], J(θ)), (E(π_old)[R(τ)], J(θ)), (E[product * R(τ)], J(θ)), (E(π_old)[product * R(τ)], J(θ_old)),
        (1 / π_old(a[t], s[t]) - 1 / π(a[t], s[t]), 0), (rθ[t] * π_old(a[t], s[t]), π_old(a[t], s[t])),
        (1 / rθ[0] + 1 / rθ[1], 2),
        (E(π_old)[product**2], (1 + χ2_old(s[0]))**(T + 1)), (E(π_old)[rθ[t]**2, s[t]], χ2_old(s[t])),
    ),
    "the derivative of a ratio": on(
        (grad(rθ[t]), u[t]), (grad(1 / rθ[t]), u[t] / rθ[t]), (grad(1 / π_old(a[t], s[t])), 1), (grad(rθ[0]), rθ[0] * u[1]),
        (grad(log(rθ[t])), rθ[t] * u[t]), (grad(1 / π(a[t], s[t])), 0), (grad(1 / π(a[t], s[t])), 1 / π(a[t], s[t])),
    ) + whole((grad(product), scores), (grad(product), product), (grad(P_old(τ)), P_old(τ) * scores),
              (grad(1 / product), product * scores)),
    "logarithms of policies": on(
        (log(rθ[t]), log(π(a[t], s[t]))), (log(π_old(a[t], s[t])), log(π_ref(a[t], s[t]))), (log(here), -log(here)),
        (log(here**2), log(here)), (grad(log(π_ref(a[t], s[t]))), u[t]), (grad(log(here)), u[t]), (log(here) + log(rθ[t]), 0),
    ),
    "θ_old = θ comes last": on(
        (AtOld(grad(E(π_old)[R(τ)])), grad(J(θ))), (AtOld(grad(J(θ_old))), grad(J(θ))), (AtOld(grad(Lold(θ))), 0),
        (AtOld(Lold(θ)), J(θ)), (AtOld(A_old(s[t], a[t])), Q_old(s[t], a[t])), (AtOld(rθ[t]), 0), (AtOld(grad(rθ[t])), 0),
        (Lold(θ), J(θ) - J(θ_old)), (Lold(θ), 0), (grad(Lold(θ)), grad(J(θ))), (AtOld(grad(LCLIP(θ))), grad(J(θ))),
        (AtOld(grad(LCLIP(θ))), 0), (AtOld(grad(E(π_old)[minimum(rθ[t], Clip(rθ[t], 1 - ε, 1 + ε))])), 1),
    ) + whole((AtOld(grad(P_old(τ))), grad(P(τ))), (AtOld(grad(E(π_old)[R(τ)])), E[scores * R(τ)]), (AtOld(P_old(τ)), P_ref(τ)),
              (AtOld(grad(E(π_old)[product])), E[scores * scores])),
    "KL, and the other KL": sums(
        (KL(s_), KL_reverse(s_)), (grad(KL(s_)), grad(KL_reverse(s_))), (KL(s_), KL(s_new)), (grad(KL(s_)), 0),
        (grad(χ2_old(s_)), 0),
        (χ2_old(s_), χ2_ref(s_)), (χ2_ref(s_), KL(s_)), (E(new)[k2(ratio)], KL(s_)), (E(ref)[k1(ratio)], KL(s_)),
        (E(old)[k3(ratio)], KL(s_)), (E(new)[k3(new / ref)], KL_reverse(s_)), (AtOld(χ2_old(s_)), χ2_ref(s_)),
    ),
    "estimators as losses": sums(
        (E(new)[grad(k1(ratio))], grad(KL(s_))), (E(new)[grad(k2(ratio))], grad(KL_reverse(s_))), (E(new)[grad(k2(ratio))], 0),
        (E(new)[grad(k3(ratio))], grad(KL(s_))), (E(new)[grad(k3(new / ref))], grad(χ2_ref(s_))),
        (E(old)[grad(k2(ratio))], grad(KL(s_))),
        (E(old)[grad(new / old * k3(ratio))], grad(KL_reverse(s_))), (E(new)[grad(k3(new / ref))], grad(KL(s_))),
    ) + on(
        (E[Σ(grad(k2(here)), (t, 0, T))], grad(KL_path(θ))), (E[Σ(grad(k3(here)), (t, 0, T))], E[Σ(grad(KL(s[t])), (t, 0, T))]),
        (E[Σ(grad(k1(here)), (t, 0, T))], grad(KL_path(θ))),
        (grad(KL_path(θ)), E[Σ(u[t] * Σ(later, (l, t + 1, T)), (t, 0, T))]),
        (grad(J(θ) - β * KL_path(θ)), E[Σ(u[t] * Σ(γ**l * r[l], (l, t, T)), (t, 0, T))]), (KL_path(θ), KL(s[0])),
        (KL_path(θ), 0),
    ),
    "trajectories of two policies": whole(
        (P(τ) / P_old(τ), Π(rθ[t], (t, 0, T - 1))), (P(τ) / P_old(τ), Π(rθ[t], (t, 1, T))), (P(τ) / P_old(τ), 1 / product),
        (P(τ) / P_ref(τ), product), (E(π_old)[product], E[product]), (E(π_old)[R(τ)], J(θ)), (E(π_old)[product**2], 1),
        (E(π_old)[Π(rθ[t], (t, 0, T)) * R(τ)], R(τ)), (Σ(P_old(τ) * P(τ), τ), 1), (E(π_old)[1 / product], 1),
        (Σ(P_old(τ)**2, τ), 1),
        (KL_path(θ), 0), (grad(KL_path(θ)), 0), (E[log(P(τ) / P_ref(τ))], E[log(P(τ) / P_old(τ))]),
        (E[log(P_ref(τ) / P(τ))], KL_path(θ)),
        (Π(γ * rθ[t], (t, 0, T)), γ**T * product), (Π(rθ[t]**2, (t, 0, T)), product), (Π(rθ[0], (t, 0, T)), rθ[0]**T),
    ),
    "the mean of a score is 0": whole(
        (E[Σ(u[t] * b(s[t + 1]), (t, 0, T))], 0), (E[Σ(u[t] * r[t], (t, 0, T))], 0), (E[Σ(u[t]**2, (t, 0, T))], 0),
        (E[scores * R(τ)], 0), (E(π_old)[scores], 0), (E[Σ(u[t] * π(a[t], s[t]), (t, 0, T))], 0),
        (E[Σ(u[t] / P(τ), (t, 0, T))], 0),
        (E[Σ(u[t] * b(s[t]), (t, 0, T)) * product], 0), (E[Σ(u[t] * P(τ), (t, 0, T))], 0),
        (E[Σ(u[t] * later, (t, 0, T), (l, 0, T))], 0),
    ),
    "the clipped surrogate": [(six, x, y) for x, y in (
        (Lclip[t], rθ[t] * Â[t]), (grad(Lclip[t], rθ[t]), Â[t]), (grad(Lclip[t], rθ[t]), 0),
        (Lclip[t], Clip(rθ[t], 1 - ε, 1 + ε) * Â[t]),
        (maximum(Clip(rθ[t], 1 - ε, 1 + ε) * Â[t], rθ[t] * Â[t]), rθ[t] * Â[t]), (maximum(Lclip[t], rθ[t] * Â[t]), Lclip[t]),
    )],
}

MEANINGLESS = on(
    (Lold(θ_old), 0), (LCLIP(θ), 0), (grad(LCLIP(θ)), 0), (Lclip[t], 0), (AtOld(Clip(rθ[t], 1, 1 + ε)), 1),
    (grad(AtOld(rθ[t])), 0),
    (AtOld(Clip(2 * rθ[t], 1 - ε, 1 + ε)), 1), (AtOld(grad(minimum(rθ[t], 1))), 0), (minimum(rθ[t], rθ[t] + 0 * γ, 1), 0),
    (rθ[T + 1], 0),
    (log(1 + rθ[t]), 0), (log(P_old(τ)), 0), (P_old(s[0]), 0), (KL(a[0]), 0), (k1(s[0]), 0), (1 / (rθ[t] - rθ[t]), 0),
    (1 / (π_old(a[t], s[t]) * rθ[t] - π(a[t], s[t])), 0), (1 / (1 + rθ[t]), 0), (AtOld(Clip(rθ[t], 1 - γ, 1 + γ)), 1),
) + whole(
    (E(π_old)[R(τ), s[0]], 0), (Π(rθ[t] + 1, (t, 0, T)), 0), (Π(Π(rθ[t], (t, 0, T)), (k, 0, T)), 0), (E[KL_path(θ) * R(τ)], 0),
    (AtOld(Lold(θ)), 0), (grad(Lold(θ)), 0), (Π(rθ[t]**t, (t, 0, T)), 0), (E(π_old)[E[R(τ)]], 0),
) + [(Sums(), grad(x), 0) for x in (KL(s_), χ2_old(s_), KL_path(θ), Lold(θ), rθ[t], Lclip[t])] + [
    (Sums(), AtOld(x), x) for x in (χ2_old(s_), Lold(θ), LCLIP(θ), rθ[t])] + [(Horizon(), grad(KL(s_)) + h * 0, 0)]
