"""Near misses of `Rewards`: what it must not prove. `NEAR_MISSES` are false; `MEANINGLESS` has no meaning for its prover."""
import sympy as sp

from rlbook.derive.advantages import E_o, Âg, Âloo, Âs, Âε, binomial, c_, mean, rate, sqrt, std, std_sample, uo, wG
from rlbook.derive.decide import any_group, pass_fail
from rlbook.derive.grpo import length
from rlbook.derive.language import Σ, D, E, G, N, R, grad, i, indicator, j, k, log, r, x, α, γ, ε, τ
from rlbook.derive.rewards import Rewards

from .catalogue_rewards import equal, over, shift, slope, two, units, zero_one

NEAR_MISSES = {
    "roots": (any_group, [
        (over(Âg(i)**2), (G - 1) / G), (over(Âg(i)**2), std(r)), (std(r), over(r[i]**2) - mean(r)**2), (std(r), 1),
        (over(Âg(i)), 1), (over(Âg(i) * r[i]), std(r)**2), (std(r)**2, over(r[i]**2)), (std(r)**3, std(r)),
        (sqrt(std(r)**2 + std_sample(r)**2), std(r) + std_sample(r)), (over(Âg(i)**3), 0),
        (std(r) * std_sample(r), std(r)**2), (std(r) * std_sample(r), sqrt(G / (G - 1))),
        (sqrt(r[i]**2), r[i]), (sqrt(r[i]**2), -r[i]), (sqrt(mean(r)**2), mean(r)), (sqrt(over(r[i]**2)), mean(r))]),
    "constants in roots": (any_group, [
        (Âs(i), Âg(i)), (Âs(i), sqrt(G / (G - 1)) * Âg(i)), (Âs(i), (G - 1) / G * Âg(i)), (std_sample(r)**2, std(r)**2),
        (sqrt(c_**2), c_), (sqrt(c_**2) * std(r), c_ * std(r)), (sqrt((G - 3)**2), G - 3), (sqrt((rate - 1)**2), rate - 1),
        (sqrt(rate), rate), (sqrt(G + rate), sqrt(G) + sqrt(rate))]),
    "ε": (any_group, [
        (over(Âε(i)**2), 1), (over(Âε(i)**2), std(r) / (std(r) + ε)), (Âε(i), Âg(i)), (Âε(i) * std(r), shift),
        (Âε(i), shift / std(r) - shift / ε)]),
    "units": (units, [
        (std(x), α**2 * std(r)), (std(x), std(r)), (mean(x), α * mean(r)), ((x[i] - mean(x)) / std(x), α * Âg(i)),
        ((x[i] - mean(x)) / std(r), Âg(i))]),
    "equal rewards": (equal, [(mean(x), 0), (x[i] / (std(x) + ε), 0), (std(x), c_), (mean(x) - mean(r), 0)]),
    "two completions": (two, [(Âg(1), 1), (Âg(1), Âg(2)), (Âg(1)**2, 2), (std(r), r[1] - r[2]), (std(r), (r[1] - r[2]) / 2)]),
    "the own sample": (any_group, [
        (E_o[over(shift * uo[i])], E_o[r[i] * uo[i]]), (E_o[over(shift * uo[i])], G / (G - 1) * E_o[r[i] * uo[i]]),
        (Âloo(i), shift), (Âloo(i), (G - 1) / G * shift), (E_o[over(Âloo(i) * uo[i])], 0), (E_o[over(Âloo(i) * r[i])], 0),
        (E_o[std_sample(r)**2], E_o[r[i]**2]), (E_o[std(r)**2], E_o[r[i]**2] - E_o[r[i]]**2),
        (E_o[over(shift * uo[i] / length(i))], (G - 1) / G * E_o[r[i] * uo[i]] * E_o[1 / length(i)]),
        (E_o[r[i] * uo[j]], 0), (E_o[r[i] * uo[j]], E_o[r[i] * uo[i]]), (E_o[r[i]**2], E_o[r[i]]**2)]),
    "letters": (any_group, [
        (E_o[over(Âg(i) * uo[i])], E_o[over(shift * uo[i])]), (E_o[over(Âg(i) * uo[i])], 0), (E_o[std(r)]**2, E_o[std(r)**2]),
        (E_o[over(Âg(i)**2)], 1), (E_o[Âg(i) * uo[i]], E_o[Âg(i) * uo[j]]), (E_o[std(r) * uo[i]], 0),
        (E_o[over(Âg(i)) * std(r)], E_o[std(r)]), (E_o[1 / std(r)], 1 / E_o[std(r)]),
        (E_o[std(r) * r[i]], E_o[std(r)] * E_o[r[i]])]),
    "right or wrong": (zero_one, [
        (std(r), mean(r) * (1 - mean(r))), (std(r)**2, mean(r)), (r[i] * Âg(i)**2, r[i] * mean(r) / (1 - mean(r))),
        (over(r[i] * r[j], i), mean(r)), (r[i], 1), (r[i] * r[j], r[i])]),
    "given the rewards": (pass_fail, [
        (E_o[over(Âg(i) * uo[i])], E_o[over(Âg(i) * (r[i] - rate))] * grad(rate) / rate),
        (E_o[over(Âg(i) * uo[i])], E_o[over(Âg(i) * r[i])] * grad(rate)), (E_o[std(r) * uo[i]], 0),
        (E_o[std(r) * uo[i]], E_o[std(r)] * grad(rate)), (E_o[std(r) * uo[i]**2], E_o[std(r)] * E_o[uo[i]**2]),
        (E_o[std(r) * uo[i] * uo[j]], E_o[std(r)] * E_o[uo[i] * uo[j]]), (E_o[std(r) * uo[i] / length(i)], 0),
        (E_o[std(r) * uo[i] * uo[j]], indicator(i, j) * E_o[std(r) * uo[i]**2]), (E_o[std(r) * uo[i] * uo[j]], E_o[std(r)])]),
    "the number of right answers": (pass_fail, [
        (E_o[over(Âg(i) * uo[i])], grad(rate)), (E_o[over(Âg(i) * uo[i])], -wG(G, rate) * grad(rate)),
        (E_o[over(Âg(i) * uo[i])], wG(G + 1, rate) * grad(rate)), (E_o[Σ(Âg(i) * uo[i], (i, 1, G))], wG(G, rate) * grad(rate)),
        (E_o[std(r)], wG(G, rate)), (E_o[std(r)], sqrt(rate * (1 - rate))), (E_o[std(r)]**2, E_o[std(r)**2]),
        (E_o[std(r)], Σ(binomial(G, k) * rate**k * (1 - rate)**(G - k) * k / G * (1 - k / G), (k, 0, G))),
        (E_o[over(Âg(i)**2)], 1), (E_o[std(r) * r[i]], E_o[std(r)] * rate), (E_o[std(r)**2], rate * (1 - rate)),
        (E_o[r[i] * r[j] * std(r)], E_o[mean(r)**2 * std(r)]), (E_o[r[i] * std(r)], E_o[G * mean(r) * std(r)]),
        (E_o[r[i] * r[j] * std(r)], E_o[G**2 * mean(r)**2 * std(r)]), (E_o[sqrt(mean(r) + r[i])], E_o[sqrt((G + 1) * mean(r))]),
        (wG(3, rate), 1), (wG(4, rate), sqrt(2)), (wG(2, rate), sqrt(2)),
        (wG(G, rate), sqrt(2))]),
    "gradients of p": (pass_fail, [
        (grad(rate), E_o[uo[i]]), (grad(rate), 0), (grad(rate**2), 2 * grad(rate)), (grad(1 - rate), grad(rate)),
        (grad(sqrt(rate)), grad(rate) / sqrt(rate)), (grad(1 / rate), grad(rate) / rate**2), (E_o[r[i]**2], rate**2),
        (grad(wG(2, rate)), slope)]),
}

MEANINGLESS = [
    (equal, (x[i] - mean(x)) / std(x), 0), (any_group, 1 / (mean(r) - over(r[j], j)), 0), (any_group, grad(std(r)), 0),
    (any_group, grad(rate), 0), (pass_fail, grad(mean(r)), 0), (pass_fail, grad(E_o[std(r)]), grad(E_o[std(r)])),
    (any_group, E[R(τ)], E[R(τ)]), (any_group, Σ(R(τ), D), Σ(R(τ), D)), (any_group, E_o[1 / mean(r)], E_o[1 / mean(r)]),
    (any_group, E_o[log(r[i])], E_o[log(r[i])]), (any_group, E_o[Σ(r[i], (i, 1, N)) * std(r)], 0),
    (any_group, E_o[Σ(r[i], (i, 0, G)) * std(r)], E_o[Σ(r[i], (i, 0, G)) * std(r)]), (any_group, E_o[r[1]], E_o[r[1]]),
    (any_group, E_o[sqrt(uo[i]**2)], E_o[sqrt(uo[i]**2)]), (any_group, E_o[γ**r[i]], E_o[γ**r[i]]),
    (any_group, Σ(indicator(i, j) * r[j], (j, 1, N)), r[i]), (two, E_o[Âg(1)], 0),
    (Rewards(given=[(x[i], sp.Integer(0))]), mean(r) / std(x), 0),
]
