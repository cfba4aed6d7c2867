"""The claims of generalised advantage estimation, TD(λ) and scans: most hold at every horizon."""
import sympy as sp

from rlbook.derive.algebra import Algebra
from rlbook.derive.claims import Claim
from rlbook.derive.decide import exact
from rlbook.derive.induction import Induction
from rlbook.derive.language import (
    Â,
    Π,
    Σ,
    A,
    E,
    G_n,
    J,
    Rλ,
    T,
    V,
    Var,
    Vhat,
    Y,
    Z,
    Â_n,
    a,
    at,
    c,
    d,
    e,
    grad,
    k,
    l,
    m,
    n,
    now,
    r,
    s,
    t,
    w,
    x,
    y,
    γ,
    δ,
    δπ,
    θ,
    λ,
)

CLAIMS = {}


def claim(id, lhs, rhs, by=None):
    CLAIMS[id] = Claim(id, sp.sympify(lhs), sp.sympify(rhs), exact() if by is None else by)


from_t = Induction(T, base=t)
given = s[t], a[t]
decay = γ * λ
later = (1 - λ) * Σ(decay**l * e(s[t + l + 1]), (l, 0, T - t - 1)) + decay**(T - t) * e(s[T + 1])
gae_true = Σ(decay**l * δπ[t + l], (l, 0, T - t))
trace = Σ(decay**(t - k) * w[k], (k, 0, t))

# -- every horizon -------------------------------------------------------------------------------------
claim("induction/td-error-split", δ[t], δπ[t] + γ * e(s[t + 1]) - e(s[t]), Induction(t))
claim("induction/n-step-telescoping", Â_n(n, t), Σ(γ**l * δ[t + l], (l, 0, n - 1)), Induction(n))
claim("induction/gae-recursion", Â[t], δ[t] + decay * Â[t + 1], from_t)
claim("induction/gae-end", Â[T], δ[T], Induction(T))
claim("induction/gae-average", Â[t],
      (1 - λ) * Σ(λ**(n - 1) * Â_n(n, t), (n, 1, T - t)) + λ**(T - t) * Â_n(T - t + 1, t), from_t)
claim("induction/gae-lambda-0", at(Â[t], λ=0), δ[t], from_t)
claim("induction/gae-lambda-1", at(Â[t], λ=1),
      Σ(γ**l * r[t + l], (l, 0, T - t)) + γ**(T - t + 1) * Vhat(s[T + 1]) - Vhat(s[t]), from_t)
claim("induction/gae-errors", Â[t], gae_true - e(s[t]) + γ * later, from_t)
claim("induction/lambda-return-recursion", Rλ[t],
      r[t] + γ * ((1 - λ) * Vhat(s[t + 1]) + λ * Rλ[t + 1]), Induction(T, base=t + 1))
claim("induction/lambda-return-end", Rλ[T], r[T] + γ * Vhat(s[T + 1]), Induction(T))
claim("induction/lambda-return-gae", Rλ[t], Â[t] + Vhat(s[t]), from_t)
claim("induction/lambda-return-one", at(Rλ[t], λ=1), G_n(T - t + 1, t), from_t)
claim("induction/td-lambda", Σ(w[t] * (Rλ[t] - Vhat(s[t])), (t, 0, T)), Σ(δ[t] * trace, (t, 0, T)), Induction(T))
claim("induction/trace-recursion", trace.xreplace({t: t + 1}), decay * trace + w[t + 1], Induction(t))

# -- products over an index --------------------------------------------------------------------------------
head = Σ(Π(c[k], (k, t, l - 1)) * x[l], (l, t, t + m - 1))
claim("induction/scan-recursion", Y[t], x[t] + c[t] * Y[t + 1], from_t)
claim("induction/scan-end", Y[T], x[T], Induction(T))
claim("induction/scan-chunk", Y[t], head + Π(c[k], (k, t, t + m - 1)) * Y[t + m], Induction(T, base=t + m))
claim("induction/scan-unrolled",
      y[t], Σ(Π(c[k], (k, t, l - 1)) * x[l], (l, t, t + n - 1)) + Π(c[k], (k, t, t + n - 1)) * y[t + n],
      Induction(n, given=[(x[t], y[t] - c[t] * y[t + 1])]))
claim("induction/scan-two-lengths", Π(c[k], (k, t, t + m + n - 1)),
      Π(c[k], (k, t, t + m - 1)) * Π(c[t + m + k], (k, 0, n - 1)), Induction(n))
claim("induction/scan-adjoint-recursion", Z[t + 1], w[t + 1] + c[t] * Z[t], Induction(t))
claim("induction/scan-gradient", Σ(w[t] * Y[t], (t, 0, T)), Σ(Z[t] * x[t], (t, 0, T)), Induction(T))
claim("induction/product-of-powers", Π(γ * c[k]**2, (k, 0, n)), γ**(n + 1) * Π(c[k], (k, 0, n))**2, Induction(n))
claim("induction/product-of-ratios", Π(c[k + 1] / c[k], (k, 0, n)), c[n + 1] / c[0], Induction(n))
claim("induction/product-of-factors", Π(1 - d[k], (k, 0, n)) * (1 - d[n + 1]), Π(1 - d[l], (l, 0, n + 1)), Induction(n))


def stopped(t):
    """GAE of any x where the episode may end at a step k, with d_k = 1."""
    return Σ(decay**l * Π(1 - d[t + k], (k, 0, l - 1)) * x[t + l], (l, 0, T - t))


claim("induction/gae-termination", stopped(t), x[t] + decay * (1 - d[t]) * stopped(t + 1), from_t)
claim("algebra/scan-associative", (x[1] + c[1] * x[2]) + c[1] * c[2] * x[3], x[1] + c[1] * (x[2] + c[2] * x[3]), Algebra())

# -- finite MDPs ---------------------------------------------------------------------------------------------
claim("gae/td-error-mean", E[δ[t], *given], A(*given) + γ * E[e(s[t + 1]), *given] - e(s[t]))
claim("gae/td-error-advantage", E[δπ[t], *given], A(*given))
claim("gae/bias", E[Â[t], *given], A(*given) - e(s[t]) + γ * E[later, *given])
claim("gae/gradient-bias", E[Σ(γ**t * now * Â[t], (t, 0, T))], grad(J(θ)) + E[Σ(γ**(t + 1) * now * later, (t, 0, T))])
claim("gae/unbiased", E[Σ(γ**t * now * gae_true, (t, 0, T))], grad(J(θ)))
claim("gae/lambda-1-unbiased", at(E[Σ(γ**t * now * (Â[t] - γ**(T - t + 1) * Vhat(s[T + 1])), (t, 0, T))], λ=1), grad(J(θ)))
claim("gae/td-error-mean-zero", E[δπ[t], s[t]], 0)
claim("gae/variance", Var[gae_true, *given], Σ(decay**(2 * l) * Var[δπ[t + l], *given], (l, 0, T - t)))
claim("gae/true-value", e(s[t]) + V(s[t]), Vhat(s[t]))
