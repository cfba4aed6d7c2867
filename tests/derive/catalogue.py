"""True statements that exercise every rule of every prover, in the book's conventions.

They are more than the chapters need today: later chapters take theirs from here. Each is a `Claim`, so it is mutated and
cross-examined like an equation of the book. `CLAIMS` maps ids to claims; `claims_by(prover)` selects.
"""
import sympy as sp

from rlbook.derive.carriers import Point
from rlbook.derive.claims import Claim
from rlbook.derive.decide import any_sample, any_size, softmax
from rlbook.derive.horizon import Horizon
from rlbook.derive.language import (
    Π,
    Σ,
    A,
    AtOld,
    Clip,
    D,
    E,
    Estimate,
    G,
    G_togo,
    J,
    N,
    N_togo,
    P,
    Q,
    R,
    Slope,
    T,
    U_togo,
    V,
    V_togo,
    Var,
    VarianceUnder,
    Vhat,
    a,
    a_,
    b,
    b_,
    f,
    grad,
    h,
    head,
    i,
    j,
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
    β,
    γ,
    ε,
    θ,
    θ_next,
    λ,
    π,
    π_old,
    π_ref,
    ρ0,
    τ,
)
from rlbook.derive.mdp import FiniteMDP, On
from rlbook.derive.paths import Paths
from rlbook.derive.samples import IID, Moment
from rlbook.derive.sums import Sums

from . import catalogue_gae, catalogue_grpo, catalogue_passk, catalogue_ppo, catalogue_ppo_terms, catalogue_rewards

CLAIMS = {}


def claim(id, lhs, rhs, by, where=None):
    values = {x: [sp.sympify(v) for v in choices] for x, choices in (where or {}).items()}
    CLAIMS[id] = Claim(id, sp.sympify(lhs), sp.sympify(rhs), by, where=values)
    return CLAIMS[id]


def claims_by(kind):
    """The claims that a kind of prover decides (not those of its subclasses)."""
    return [c for c in CLAIMS.values() if type(c.by) is kind]


mdp, paths, U = On(FiniteMDP(2, 3, 1, carrier=Point), FiniteMDP(2, 2, 1)), Paths(), sp.IndexedBase("u")
law, old, ref = π(a_, s_), π_old(a_, s_), π_ref(a_, s_)
score = grad(log(law))
total = Σ(now, (t, 0, T))
to_go = Σ(γ**(l - t) * r[l], (l, t, T))                # the discounted reward from t on
later = Σ(γ**l * r[l], (l, t, T))                      # the same, with the discount counted from the start
one = sp.Integer(1)


def mean(x):
    """E over a ~ π(. | s)."""
    return E(law)[x]


# -- 1. one outcome, one state: sums over finite sets of every size -----------------------------------
u = grad(log(q(x_)))
claim("sums/probabilities", Σ(q(x_), x_), 1, any_size)
claim("sums/log-derivative", grad(q(x_)), q(x_) * grad(log(q(x_))), any_size)
claim("sums/log-derivative-path", grad(P(τ)), P(τ) * grad(log(P(τ))), any_size)
claim("sums/gradient-of-mean", grad(E(q(x_))[f(x_)]), E(q(x_))[u * f(x_)], any_size)
claim("sums/score-mean-zero", mean(score), 0, any_size)
claim("sums/path-score-mean-zero", Σ(P(τ) * grad(log(P(τ))), τ), 0, any_size)
claim("sums/policy-gradient-paths", grad(Σ(P(τ) * R(τ), τ)), Σ(P(τ) * grad(log(P(τ))) * R(τ), τ), any_size)
claim("sums/paths-and-samples", Σ(P(τ) * U[i] * R(τ), τ), U[i] * Σ(P(τ) * R(τ), τ), any_size)
claim("sums/baseline", mean(score * (f(a_) - b(s_))), mean(score * f(a_)), any_size)
claim("sums/second-moment-baseline", mean((score * (f(a_) - b(s_)))**2),
      mean(score**2 * f(a_)**2) - 2 * b(s_) * mean(score**2 * f(a_)) + b(s_)**2 * mean(score**2), any_size)
claim("sums/variance", VarianceUnder(score * f(a_), law), mean(score**2 * f(a_)**2) - mean(score * f(a_))**2, any_size)
claim("sums/fisher-two-forms", mean(grad(grad(log(law)))), -mean(score**2), any_size)
claim("sums/size", Σ(Σ(one, a_) * b(s_), s_) / Σ(one, a_), Σ(b(s_), s_), any_size)
claim("sums/dynamics", Σ(ρ0(s_) * Σ(law * Σ(p(s_new, s_, a_), s_new), a_), s_), 1, any_size)
claim("sums/indicator", Σ(sp.KroneckerDelta(a_, b_) * law * f(a_), a_), π(b_, s_) * f(b_), any_size)
claim("sums/importance", Σ(old * (law / old) * f(a_), a_), mean(f(a_)), any_size)
claim("sums/surrogate", AtOld(grad(Σ(old * (law / old) * f(a_), a_))), mean(score * f(a_)), any_size)
claim("sums/surrogate-advantage", AtOld(grad(Σ(old * (law / old) * sg[A(s_, a_)], a_))), mean(score * sg[A(s_, a_)]), any_size)
other = π(b_, s_)
H = -Σ(other * log(other), b_)
claim("sums/entropy-gradient", grad(H), -mean(score * (log(law) + H)), any_size)
KL, reverse = mean(log(law / ref)), Σ(ref * log(ref / law), a_)
ratio = ref / law
k1, k2, k3 = -log(ratio), log(ratio)**2 / 2, ratio - log(ratio) - 1
claim("sums/k1-unbiased", mean(k1), KL, any_size)
claim("sums/k3-unbiased", mean(k3), KL, any_size)
claim("sums/kl-gradient", grad(KL), mean(score * log(law / ref)), any_size)
claim("sums/reverse-kl-gradient", grad(reverse), -Σ(ref * score, a_), any_size)
claim("sums/k1-loss", mean(grad(k1)), 0, any_size)
claim("sums/k2-loss", mean(grad(k2)), grad(KL), any_size)
claim("sums/k3-loss", mean(grad(k3)), grad(reverse), any_size)
claim("sums/k3-with-score", mean(score * k3 + grad(k3)), grad(KL), any_size)
claim("sums/k3-ratio", AtOld(grad(Σ(old * (law / old) * k3, a_))), grad(KL), any_size)
moving = Σ(old * log(old / law), a_)
claim("sums/kl-hessian-fisher", AtOld(grad(grad(moving))), mean(score**2), any_size)
claim("sums/kl-gradient-at-old", AtOld(grad(moving)), 0, any_size)
weight = sg[Clip(law / old, 1 - ε, 1 + ε)]
claim("sums/clipped-weight", grad(weight * f(a_) * log(law)), weight * f(a_) * score, any_size)
claim("sums/log-of-a-sum", (b(s_) + 1) * log(Σ(f(a_), a_)), b(s_) * log(Σ(f(a_), a_)) + log(Σ(f(a_), a_)), any_size)
Vθ, dVθ = head("V_theta", r"V_\theta"), head("dV_theta", r"\nabla V_\theta")
target, dtarget = head("target", r"\hat R"), head("dtarget", r"\nabla \hat R")
critic = Sums(variable={Vθ: dVθ, target: dtarget})
claim("sums/critic-loss", grad((Vθ(s_) - sg[target(s_)])**2 / 2), (Vθ(s_) - sg[target(s_)]) * grad(Vθ(s_)), critic)
claim("sums/critic-loss-no-stop", grad((Vθ(s_) - target(s_))**2 / 2),
      (Vθ(s_) - target(s_)) * (grad(Vθ(s_)) - grad(target(s_))), critic)
claim("sums/ppo-at-old", AtOld(grad(Σ(old * (law / old * f(a_) - α * (Vθ(s_) - sg[target(s_)])**2), a_) + β * H)),
      mean(score * (f(a_) - β * log(law))) - 2 * α * (Vθ(s_) - sg[target(s_)]) * grad(Vθ(s_)), critic)
centred = r[i] - Σ(r[j], (j, 1, G)) / G
claim("sums/grpo-zero-sum", Σ(centred, (i, 1, G)), 0, any_size)
claim("sums/grpo-second-moment", Σ(centred**2, (i, 1, G)) / G, Σ(r[i]**2, (i, 1, G)) / G - (Σ(r[i], (i, 1, G)) / G)**2, any_size)
claim("sums/rloo-rescaled", r[i] - (Σ(r[j], (j, 1, G)) - r[i]) / (G - 1), G / (G - 1) * centred, any_size)
claim("sums/index-indicator", Σ(sp.KroneckerDelta(i, j) * r[i] * U[j], (i, 1, G), (j, 1, G)), Σ(r[i] * U[i], (i, 1, G)), any_size)
claim("sums/double-sum", Σ(r[i] * U[j], (i, 1, G), (j, 1, N)), Σ(r[i], (i, 1, G)) * Σ(U[i], (i, 1, N)), any_size)
pair = head("w")                                       # any function of two things
claim("sums/renaming", Σ(pair(a_, b_)**2 * f(a_), a_, b_), Σ(pair(b_, a_)**2 * f(b_), a_, b_), any_size)
claim("sums/two-sums", Σ(pair(a_, b_) * pair(b_, a_)**2, a_, b_), Σ(pair(a_, b_)**2 * pair(b_, a_), a_, b_), any_size)
claim("sums/indicator-ratio", Σ(sp.KroneckerDelta(a_, b_) * f(a_) / f(b_), a_), 1, any_size)
claim("sums/root", sp.sqrt(Σ(f(a_)**2, a_)), sp.sqrt(Σ(f(b_)**2, b_)), any_size)
claim("sums/index-at-old", AtOld(Σ(old * U[i], (i, 1, G))), law * Σ(U[j], (j, 1, G)), any_size)
claim("sums/critic-gradient", grad(Vθ(s_)**2), 2 * Vθ(s_) * dVθ(s_), critic)
claim("sums/discount", Σ(γ**t, (t, 0, T)) * f(x_), Σ(γ**l * f(x_), (l, 0, T)), any_size)

# -- 2. softmax policies, one component at a time -----------------------------------------------------
same = sp.KroneckerDelta
soft = π(a_)
claim("softmax/score", grad(log(soft), θ[b_]), same(a_, b_) - π(b_), softmax)
claim("softmax/gradient", grad(soft, θ[b_]), soft * (same(a_, b_) - π(b_)), softmax)
claim("softmax/mean", grad(E(soft)[f(a_)], θ[b_]), π(b_) * (f(b_) - E(soft)[f(a_)]), softmax)
c_ = sp.Symbol("a0")
claim("softmax/hessian", grad(grad(log(soft), θ[b_]), θ[c_]), -π(b_) * (same(b_, c_) - π(c_)), softmax)
claim("softmax/fisher", E(soft)[grad(log(soft), θ[b_]) * grad(log(soft), θ[c_])], π(c_) * same(b_, c_) - π(b_) * π(c_), softmax)
claim("softmax/natural-gradient",
      Σ(E(soft)[grad(log(soft), θ[b_]) * grad(log(soft), θ[c_])] * (f(c_) - E(soft)[f(a_)]), c_),
      grad(E(soft)[f(a_)], θ[b_]), softmax)
claim("softmax/entropy", grad(-E(soft)[log(soft)], θ[b_]), -π(b_) * (log(π(b_)) - E(soft)[log(soft)]), softmax)
claim("softmax/with-state", grad(log(law), θ[b_]), same(a_, b_) - π(b_, s_), softmax)
claim("softmax/mean-zero", E(law)[grad(log(law), θ[b_])], 0, softmax)

# -- 3. independent samples ---------------------------------------------------------------------------
estimator = Σ(now * R(τ), (t, 0, T))
claim("iid/unbiased", E[Estimate()], E[estimator], any_sample)
claim("iid/variance", Var[Estimate()], Var[estimator] / N, any_sample)
claim("iid/second-moment", E[Estimate()**2], E[estimator**2] / N + (1 - 1 / N) * E[estimator]**2, any_sample)
claim("iid/linear", E[γ * R(τ) + β], γ * E[R(τ)] + β, any_sample)
claim("iid/weight", E[Σ(γ * R(τ), D) / N], γ * E[R(τ)], any_sample)
claim("iid/nested", E[E[R(τ)] * R(τ)], E[R(τ)]**2, any_sample)
claim("iid/no-sample", grad(E(law)[f(a_)]), E(law)[score * f(a_)], any_sample)
first = log(π(a[0], s[0]))
claim("iid/product-of-sums", E[Σ(first, D) * Σ(R(τ), D)], N * E[first * R(τ)] + N * (N - 1) * E[first] * E[R(τ)], any_sample)
claim("iid/covariance", E[Σ(first, D) * Σ(R(τ), D)] - E[Σ(first, D)] * E[Σ(R(τ), D)],
      N * (E[first * R(τ)] - E[first] * E[R(τ)]), any_sample)
ρs, us = sp.symbols("r u")
group = IID(zero=[us], samples=G)


def M(x):
    return Moment(x)


def over(x, index=i):
    return Σ(x, (index, 1, G)) / G


rloo = r[i] - (Σ(r[j], (j, 1, G)) - r[i]) / (G - 1)
rloo2 = ((M(ρs**2 * us**2) - 2 * M(ρs) * M(ρs * us**2) + M(ρs)**2 * M(us**2)) / G
         + (M(ρs**2) - M(ρs)**2) * M(us**2) / (G * (G - 1)) + M(ρs * us)**2 * ((G - 1) / G + 1 / (G * (G - 1))))
claim("iid/sample-mean", E[over(r[i])], M(ρs), group)
claim("iid/sample-variance", Var[over(r[i])], (M(ρs**2) - M(ρs)**2) / G, group)
claim("iid/unbiased-variance", E[Σ(centred**2, (i, 1, G)) / (G - 1)], M(ρs**2) - M(ρs)**2, group)
claim("iid/group-mean-bias", E[over(centred * U[i])], (G - 1) / G * M(ρs * us), group)
claim("iid/rloo-mean", E[over(rloo * U[i])], M(ρs * us), group)
claim("iid/rloo-second-moment", E[over(rloo * U[i])**2], rloo2, group)
claim("iid/third-moment", E[over(r[i])**3],
      M(ρs**3) / G**2 + 3 * (G - 1) * M(ρs) * M(ρs**2) / G**2 + (G - 1) * (G - 2) * M(ρs)**3 / G**2, group)

# -- 4. every horizon ---------------------------------------------------------------------------------
step = Σ(law * Σ(p(s_new, s_, a_) * (reward(s_, a_, s_new) + γ * V_togo(h - 1, s_new)), s_new), a_)
total_one = claim("horizon/total-probability", N_togo(h, s_), 1, Horizon())
no_score = claim("horizon/score-mean-zero", U_togo(h, s_), 0, Horizon())
still = claim("horizon/total-gradient", grad(N_togo(h, s_)), 0, Horizon(given=[total_one]))
claim("horizon/policy-gradient", grad(V_togo(h, s_)), G_togo(h, s_), Horizon(given=[no_score]))
claim("horizon/other-lemmas", U_togo(h, s_), 0, Horizon(given=[total_one, still]))
claim("horizon/policy-gradient-other-lemmas", grad(V_togo(h, s_)), G_togo(h, s_), Horizon(given=[still, total_one, no_score]))

# -- 5. whole trajectories, every horizon ---------------------------------------------------------------
draws = Σ(log(p(s[t + 1], s[t], a[t])) + log(π(a[t], s[t])), (t, 0, T))
claim("paths/total-probability", Σ(P(τ), τ), 1, paths)
claim("paths/expected-return", J(θ), Σ(P(τ) * R(τ), τ), paths)
claim("paths/log-probability", log(P(τ)), log(ρ0(s[0])) + draws, paths)
claim("paths/log-of-the-product", log(ρ0(s[0]) * Π(π(a[t], s[t]) * p(s[t + 1], s[t], a[t]), (t, 0, T))), log(P(τ)), paths)
claim("paths/log-derivative", grad(P(τ)), P(τ) * grad(log(P(τ))), paths)
claim("paths/trajectory-score", grad(log(P(τ))), total, paths)
claim("paths/policy-gradient", grad(J(θ)), E[total * R(τ)], paths)
claim("paths/inner-sum", E[Σ(π(a_, s[1]) * r[0], a_)], E[r[0]], paths)
claim("paths/second-derivative", grad(grad(J(θ))), E[(Σ(grad(now), (t, 0, T)) + total**2) * R(τ)], paths)

# -- 6. finite MDPs -----------------------------------------------------------------------------------
claim("mdp/trajectory-probability", P(τ), ρ0(s[0]) * Π(π(a[t], s[t]) * p(s[t + 1], s[t], a[t]), (t, 0, T)), mdp)
claim("mdp/total-probability", Σ(P(τ), τ), 1, mdp)
claim("mdp/total-probability-recursion", Σ(P(τ), τ), Σ(ρ0(s_) * N_togo(T + 1, s_), s_), mdp)
claim("mdp/expected-return", J(θ), Σ(P(τ) * R(τ), τ), mdp)
claim("mdp/return-recursion", J(θ), Σ(ρ0(s_) * V_togo(T + 1, s_), s_), mdp)
claim("mdp/gradient-recursion", E[total * R(τ)], Σ(ρ0(s_) * G_togo(T + 1, s_), s_), mdp)
claim("mdp/score-recursion", E[total], Σ(ρ0(s_) * U_togo(T + 1, s_), s_), mdp)
claim("mdp/log-derivative", grad(P(τ)), P(τ) * grad(log(P(τ))), mdp)
claim("mdp/trajectory-score", grad(log(P(τ))), total, mdp)
claim("mdp/score-mean-zero", E[now], 0, mdp)
claim("mdp/score-mean-zero-given", E[now, s[t]], 0, mdp)
claim("mdp/past-rewards", E[now * Σ(r[l], (l, 0, t - 1))], 0, mdp)
claim("mdp/policy-gradient", grad(J(θ)), E[total * R(τ)], mdp)
Φ_ = sp.Symbol("Phi")
claim("mdp/general-form", grad(J(θ)), E[Σ(now * Φ_, (t, 0, T))], mdp,
      where={Φ_: [R(τ), later, later - b(s[t]), γ**t * Q(s[t], a[t]), γ**t * A(s[t], a[t])]})
claim("mdp/bellman-q", Q(s[t], a[t]), E[r[t] + γ * V(s[t + 1]), s[t], a[t]], mdp)
claim("mdp/bellman-v", V(s[t]), Σ(π(a_, s[t]) * Q(s[t], a_), a_), mdp)
claim("mdp/q-expectation", Q(s[t], a[t]), E[to_go, s[t], a[t]], mdp)
claim("mdp/value-at-the-end", V(s[T + 1]), 0, mdp)
claim("mdp/advantage-mean-zero", Σ(π(a_, s[t]) * A(s[t], a_), a_), 0, mdp)
claim("mdp/advantage-given", E[A(s[t], a[t]), s[t]], 0, mdp)
claim("mdp/td-error", A(s[t], a[t]), E[r[t] + γ * V(s[t + 1]) - V(s[t]), s[t], a[t]], mdp)
delta = r[l] + γ * V(s[l + 1]) - V(s[l])
claim("mdp/gae-unbiased", E[Σ((γ * λ)**(l - t) * delta, (l, t, T)), s[t], a[t]], A(s[t], a[t]), mdp)
claim("mdp/gae-1-any-critic", E[to_go - Vhat(s[t]), s[t], a[t]], A(s[t], a[t]) + V(s[t]) - Vhat(s[t]), mdp)
claim("mdp/return-is-value", J(θ), E[V(s[0])], mdp)
claim("mdp/variance-of-return", Var[R(τ)], E[R(τ)**2] - J(θ)**2, mdp)
claim("mdp/variance-of-reward", Var[r[0], s[0]], E[r[0]**2, s[0]] - E[r[0], s[0]]**2, mdp)
claim("mdp/variance-of-one-reward", Var[r[0]], E[(r[0] - E[r[0]])**2], mdp)
claim("mdp/score-of-the-product", grad(log(ρ0(s[0])) + draws), total, mdp)
claim("mdp/score-ratio", grad(P(τ)) / P(τ), total, mdp)
claim("mdp/fractions", 1 / (T + 1) + 1 / (T + 1)**3 + γ, ((T + 1)**2 + 1 + γ * (T + 1)**3) / (T + 1)**3, mdp)
claim("mdp/double-product", Π(Π(r[t], (t, 0, T)), (l, 0, T)), Π(r[t]**(T + 1), (t, 0, T)), mdp)
claim("mdp/mean-over-actions", E(π(a_, s[t]))[Q(s[t], a_)], V(s[t]), mdp)
claim("mdp/half", grad(J(θ) / 2 + sp.Rational(2, 3)), E[total * R(τ)] / 2, mdp)
claim("mdp/no-step", Slope(J(θ), α), 0, mdp)
begin = log(π(a[0], s[0]))
claim("mdp/entropy-gradient", grad(E[begin]), E[grad(begin) * begin], mdp)
claim("mdp/double-sum", Σ(γ**t * r[l], (t, 0, T), (l, 0, T)), Σ(γ**l, (l, 0, T)) * Σ(r[t], (t, 0, T)), mdp)
claim("mdp/sum-of-sums", Σ(Σ(r[l], (l, t, T)), (t, 0, T)), Σ((l + 1) * r[l], (l, 0, T)), mdp)
claim("mdp/variance-of-score", Var[now, s[t]], E[now**2, s[t]], mdp)
claim("mdp/first-order-improvement", Slope(J(θ_next), α), norm2(grad(J(θ))), mdp)

from . import catalogue_values  # noqa: E402, F401  (more of them: values, baselines, reward-to-go)

CLAIMS.update(catalogue_gae.CLAIMS)
CLAIMS.update(catalogue_ppo.CLAIMS)
CLAIMS.update(catalogue_ppo_terms.CLAIMS)
CLAIMS.update(catalogue_grpo.CLAIMS)
CLAIMS.update(catalogue_passk.CLAIMS)
CLAIMS.update(catalogue_rewards.CLAIMS)
