"""The claims of ratios, surrogates and divergences: part of the catalogue."""
import sympy as sp

from rlbook.derive.carriers import Point
from rlbook.derive.claims import Claim
from rlbook.derive.decide import any_size, whole_trajectory
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A_old,
    AtOld,
    E,
    J,
    P,
    R,
    T,
    Var,
    a,
    a_,
    b,
    f,
    grad,
    l,
    log,
    r,
    rθ,
    s,
    s_,
    t,
    u,
    β,
    γ,
    θ,
    π,
    π_old,
    π_ref,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On
from rlbook.derive.ratios import KL, LCLIP, KL_path, KL_reverse, Lold, P_old, P_ref, k1, k2, k3, χ2_old, χ2_ref

CLAIMS = {}
mdp = On(FiniteMDP(2, 3, 1, carrier=Point), FiniteMDP(2, 2, 1))
bandit = On(FiniteMDP(1, 3, 1, carrier=Point), FiniteMDP(1, 2, 2))
new, old, ref = π(a_, s_), π_old(a_, s_), π_ref(a_, s_)
ratio, here = ref / new, π_ref(a[t], s[t]) / π(a[t], s[t])
product, scores = Π(rθ[t], (t, 0, T)), Σ(u[t], (t, 0, T))
score, later = grad(log(new)), log(π(a[l], s[l]) / π_ref(a[l], s[l]))
on_the_way = E[Σ(grad(KL(s[t])), (t, 0, T))]


def claim(id, lhs, rhs, by):
    CLAIMS[id] = Claim(id, sp.sympify(lhs), sp.sympify(rhs), by)


# -- one state -----------------------------------------------------------------------------------------------
claim("sums/ratio-second-moment", E(old)[(new / old)**2], 1 + χ2_old(s_), any_size)
claim("sums/ratio-variance", Var(old)[new / old], χ2_old(s_), any_size)
claim("sums/ratio-mean-of-any", E(old)[new / old * f(a_)], E(new)[f(a_)], any_size)
claim("sums/chi-squared-ratio", E(new)[new / ref], 1 + χ2_ref(s_), any_size)
claim("sums/reverse-kl-mean", E(ref)[k1(new / ref)], KL_reverse(s_), any_size)
claim("sums/kl-named-gradient", grad(KL(s_)), E(new)[score * log(new / ref)], any_size)
claim("sums/k1-named", E(new)[k1(ratio)], KL(s_), any_size)
claim("sums/k2-named-loss", E(new)[grad(k2(ratio))], grad(KL(s_)), any_size)
claim("sums/k3-named-loss", E(new)[grad(k3(ratio))], grad(KL_reverse(s_)), any_size)
claim("sums/k3-ratio-everywhere", E(old)[grad(new / old * k3(ratio))], grad(KL(s_)), any_size)
claim("sums/k3-reversed", E(new)[grad(k3(new / ref))], grad(χ2_ref(s_)) / 2, any_size)

# -- whole trajectories ----------------------------------------------------------------------------------------
claim("paths/trajectory-ratio", P(τ) / P_old(τ), product, whole_trajectory)
claim("paths/old-total", E(π_old)[1], 1, whole_trajectory)
claim("paths/importance", E(π_old)[product * R(τ)], J(θ), whole_trajectory)
claim("paths/ratio-mean", Σ(P_old(τ) * product, τ), 1, whole_trajectory)
claim("paths/ratio-gradient", grad(product), product * scores, whole_trajectory)
claim("paths/off-policy-gradient", grad(J(θ)), E(π_old)[product * scores * R(τ)], whole_trajectory)
claim("paths/scores-mean-zero", E[Σ(u[t] * b(s[t]), (t, 0, T))], 0, whole_trajectory)
claim("paths/kl", KL_path(θ), E[log(P(τ) / P_ref(τ))], whole_trajectory)
claim("paths/kl-gradient", grad(KL_path(θ)), E[scores * Σ(later, (l, 0, T))], whole_trajectory)
claim("paths/k2", E[grad(k2(P_ref(τ) / P(τ)))], grad(KL_path(θ)), whole_trajectory)
claim("paths/at-old", AtOld(grad(E(π_old)[Σ(γ**t * rθ[t] * b(s[t + 1]), (t, 0, T))])), E[Σ(γ**t * u[t] * b(s[t + 1]), (t, 0, T))],
      whole_trajectory)
claim("paths/product-of-powers", Π(γ * rθ[t]**2, (t, 0, T)) / product, γ**(T + 1) * product, whole_trajectory)

# -- finite MDPs -----------------------------------------------------------------------------------------------
claim("mdp/ratio-mean", E(π_old)[rθ[t], s[t]], 1, mdp)
claim("mdp/trajectory-ratio", P(τ) / P_old(τ), product, mdp)
claim("mdp/reference-ratio", P_ref(τ) / P(τ), Π(here, (t, 0, T)), mdp)
claim("mdp/importance", E(π_old)[product * R(τ)], J(θ), mdp)
claim("mdp/ratio-gradient", grad(rθ[t]), rθ[t] * u[t], mdp)
claim("mdp/inverse-ratio-gradient", grad(1 / rθ[t]), -u[t] / rθ[t], mdp)
claim("mdp/log-ratio", grad(log(rθ[t])), u[t], mdp)
claim("mdp/log-ratio-value", log(rθ[t]**2), 2 * log(π(a[t], s[t])) - 2 * log(π_old(a[t], s[t])), mdp)
claim("mdp/bandit", E(π_old)[product**2], (1 + χ2_old(s[0]))**(T + 1), bandit)
claim("mdp/surrogate-states", Lold(θ), E(π_old)[Σ(γ**t * E(π(a_, s[t]))[A_old(s[t], a_)], (t, 0, T))], mdp)
claim("mdp/surrogate-value", AtOld(Lold(θ)), 0, mdp)
claim("mdp/surrogate-gradient", AtOld(grad(Lold(θ))), grad(J(θ)), mdp)
claim("mdp/clipped-gradient", AtOld(grad(LCLIP(θ))), E[Σ(u[t] * Â[t], (t, 0, T))], mdp)
claim("mdp/kl-states", KL_path(θ), E[Σ(KL(s[t]), (t, 0, T))], mdp)
claim("mdp/kl-in-reward", grad(J(θ) - β * KL_path(θ)), E[Σ(u[t] * Σ(γ**l * r[l] - β * later, (l, t, T)), (t, 0, T))], mdp)
claim("mdp/kl-in-loss", grad(KL_path(θ)), on_the_way + E[Σ(u[t] * Σ(later, (l, t + 1, T)), (t, 0, T))], mdp)
claim("mdp/k2-sequence", E[Σ(grad(k2(here)), (t, 0, T))], on_the_way, mdp)
claim("mdp/k3-sequence", AtOld(E(π_old)[Σ(grad(rθ[t] * k3(here)), (t, 0, T))]), on_the_way, mdp)
claim("mdp/k2-of-the-sequence", E[grad(k2(Π(here, (t, 0, T))))], grad(KL_path(θ)), mdp)
