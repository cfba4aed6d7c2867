"""The claims of `Rewards`, about what a group of rewards says of each: part of the catalogue. They exercise each of its rules."""
import sympy as sp

from rlbook.derive.advantages import (
    E_o,
    Âg,
    Âloo,
    Âs,
    Âε,
    asin,
    binomial,
    c_,
    e1,
    e2,
    go,
    mean,
    o_,
    q_,
    r1,
    r2,
    r3,
    rate,
    ro,
    sqrt,
    std,
    std_sample,
    tokens,
    uo,
    wG,
)
from rlbook.derive.calculus import Calculus
from rlbook.derive.claims import Claim
from rlbook.derive.decide import any_group, any_size, pass_fail
from rlbook.derive.grpo import length
from rlbook.derive.language import Σ, E, G, grad, i, indicator, j, k, log, r, x, α, ε, π
from rlbook.derive.rewards import Rewards

CLAIMS = {}


def claim(id, lhs, rhs, by=any_group):
    CLAIMS[f"rewards/{id}"] = Claim(f"rewards/{id}", sp.sympify(lhs), sp.sympify(rhs), by)


def over(what, index=i):
    """The mean over a group."""
    return Σ(what, (index, 1, G)) / G


units, equal = Rewards(given=[(x[i], α * r[i] + c_)]), Rewards(given=[(x[i], c_)])
zero_one, two, three = Rewards(binary=True), Rewards(size=2), Rewards(size=3, p=rate)
shift, law = r[i] - mean(r), π(o_, q_)
slope = grad(rate) / (rate * (1 - rate))

# -- every group ---------------------------------------------------------------------------------------
claim("mean", Σ(Âg(i), (i, 1, G)), 0)
claim("mean-square", over(Âg(i)**2), 1)
claim("variance", std(r)**2, over(r[i]**2) - mean(r)**2)
claim("with-rewards", over(Âg(i) * r[i]), std(r))
claim("units", (x[i] - mean(x)) / std(x), Âg(i), units)
claim("units-std", std(x), α * std(r), units)
claim("units-mean", mean(x), α * mean(r) + c_, units)
claim("equal", x[i] - mean(x), 0, equal)
claim("equal-eps", (x[i] - mean(x)) / (std(x) + ε), 0, equal)
claim("bessel", Âs(i), sqrt((G - 1) / G) * Âg(i))
claim("bessel-std", std_sample(r), sqrt(G / (G - 1)) * std(r))
claim("eps-square", over(Âε(i)**2), (std(r) / (std(r) + ε))**2)
claim("eps-factor", Âε(i) * (std(r) + ε), shift)
claim("two", Âg(1)**2, 1, two)
claim("two-other", Âg(2), -Âg(1), two)
claim("two-stds", std(r) * std_sample(r), sqrt(G / (G - 1)) * std(r)**2)
claim("odds", sqrt(G * rate / (G - G * rate)), sqrt(rate) / sqrt(1 - rate))
claim("roots", sqrt(4 * std(r)**2 / 9), sp.Rational(2, 3) * std(r))

# -- rewards 0 or 1 ------------------------------------------------------------------------------------
claim("binary-std", std(r), sqrt(mean(r) * (1 - mean(r))), zero_one)
claim("binary-right", r[i] * Âg(i)**2, r[i] * (1 - mean(r)) / mean(r), zero_one)
claim("binary-wrong", (1 - r[i]) * Âg(i)**2, (1 - r[i]) * mean(r) / (1 - mean(r)), zero_one)
claim("binary-power", over(r[i]**3 * r[j]**2, i), mean(r) * r[j], zero_one)

# -- means over groups ---------------------------------------------------------------------------------
claim("own-sample", E_o[over(shift * uo[i])], (G - 1) / G * E_o[r[i] * uo[i]])
claim("rloo-rescaled", Âloo(i), G / (G - 1) * shift)
claim("rloo-mean", E_o[over(Âloo(i) * uo[i])], E_o[r[i] * uo[i]])
claim("rloo-square", E_o[over(Âloo(i)**2)], G / (G - 1) * (E_o[r[i]**2] - E_o[r[i]]**2))
claim("unbiased-variance", E_o[std_sample(r)**2], E_o[r[i]**2] - E_o[r[i]]**2)
claim("length", E_o[over(shift * uo[i] / length(i))],
      (G - 1) / G * (E_o[r[i] * uo[i] / length(i)] - E_o[r[i]] * E_o[uo[i] / length(i)]))
claim("two-samples", E_o[r[i] * uo[j]], indicator(i, j) * E_o[r[i] * uo[i]])
claim("nested", E_o[E_o[r[i]] * r[j] * mean(r)], E_o[r[i]] * E_o[r[i] * mean(r)])
claim("letters", E_o[over(Âg(i) * uo[i])] - E_o[over(r[i] * uo[i] / std(r))], -E_o[mean(r) * over(uo[i]) / std(r)])
claim("renamed-means", E_o[over(Âg(i) * uo[i])], over(E_o[Âg(j) * uo[j]], j))

# -- means over groups of right and wrong answers ------------------------------------------------------
claim("success", grad(rate), E_o[r[i] * uo[i]], pass_fail)
claim("tower", E_o[over(Âg(i) * uo[i])], E_o[over(Âg(i) * (r[i] - rate))] * slope, pass_fail)
claim("tower-square", E_o[std(r) * uo[i]**2],
      E_o[std(r) * (r[i] * E_o[r[j] * uo[j]**2] / rate + (1 - r[i]) * E_o[(1 - r[j]) * uo[j]**2] / (1 - rate))], pass_fail)
claim("tower-lengths", E_o[over(std(r) / length(i))],
      E_o[std(r) * over(r[i] * E_o[r[j] / length(j)] / rate + (1 - r[i]) * E_o[(1 - r[j]) / length(j)] / (1 - rate))], pass_fail)
claim("centred", E_o[over(Âg(i) * (r[i] - rate))], E_o[std(r)], pass_fail)
claim("binomial", E_o[std(r)], rate * (1 - rate) * wG(G, rate), pass_fail)
claim("binomial-power", E_o[mean(r) * std(r)],
      Σ(binomial(G, k) * rate**k * (1 - rate)**(G - k) * k / G * sqrt(k / G * (1 - k / G)), (k, 0, G)), pass_fail)
claim("binomial-eps", E_o[mean(r) / (std(r) + ε)],
      Σ(binomial(G, k) * rate**k * (1 - rate)**(G - k) * k / G / (sqrt(k / G * (1 - k / G)) + ε), (k, 0, G)), pass_fail)
claim("utility", E_o[over(Âg(i) * uo[i])], wG(G, rate) * grad(rate), pass_fail)
claim("utility-eps", E_o[over(Âε(i) * uo[i])], E_o[std(r)**2 / (std(r) + ε)] * slope, pass_fail)
claim("no-std", E_o[over(shift * uo[i])], (G - 1) / G * grad(rate), pass_fail)
claim("binary-variance", E_o[std(r)**2], (G - 1) / G * rate * (1 - rate), pass_fail)
claim("square-of-a-mean", E_o[std(r)]**2, rate**2 * (1 - rate)**2 * wG(G, rate)**2, pass_fail)
claim("weight-2", wG(2, rate), 1)
claim("weight-3", wG(3, rate), sqrt(2))
claim("weight-of-three", wG(G, rate), sqrt(2), three)
claim("chain-rule", grad(rate**2 * (1 - rate)), (2 * rate - 3 * rate**2) * grad(rate), pass_fail)
claim("chain-rule-arcsin", grad(2 * asin(sqrt(rate))), grad(rate) / sqrt(rate * (1 - rate)), pass_fail)

# -- other provers, about the same ---------------------------------------------------------------------
calculus, score = Calculus(), grad(log(law))
claim("arcsin", grad(2 * asin(sqrt(rate)), rate), 1 / sqrt(rate * (1 - rate)), calculus)
claim("length-bias", E(law)[ro(o_) / tokens(o_) * score], grad(E(law)[ro(o_) / tokens(o_)]), any_size)
claim("length-push", go * (1 - go) * grad(-log(1 - go) * (1 - go) / go, go), (1 - go) * (1 + log(1 - go) / go), calculus)
claim("length-tree", c_ * (e1 * (1 - e1) - (1 - e1) * e2 * e1 / 2 - (1 - e1) * (1 - e2) * e1 / 3),
      c_ * e1 * (1 - e1) * (4 - e2) / 6, calculus)
claim("length-tree-sum", r1 * e1 * (1 - e1) - r2 * (1 - e1) * e2 * e1 - r3 * (1 - e1) * (1 - e2) * e1,
      e1 * (1 - e1) * grad(r1 * e1 + r2 * (1 - e1) * e2 + r3 * (1 - e1) * (1 - e2), e1), calculus)
