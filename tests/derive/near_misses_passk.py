"""Near misses of `Counts`: equations about pass@k that are false, and trees that mean nothing there."""
from rlbook.derive.advantages import binomial, rate
from rlbook.derive.language import Π, Σ, E, G, Var, f, grad, j, k, n, s_, x_, γ, π
from rlbook.derive.passk import Bin, pass_k, right

from .catalogue_passk import chance, counts, estimate, law, plug_in, two, without, wrong

NEAR_MISSES = {
    "the estimate": (counts, [
        (estimate, 1 - binomial(n - right - 1, k) / binomial(n, k)), (estimate, 1 - binomial(n - right, k) / binomial(n + 1, k)),
        (estimate, 1 - binomial(k, n - right) / binomial(k, n)), (estimate, pass_k(n, k, right)), (estimate, without),
        (estimate, binomial(right, k) / binomial(n, k)), (estimate, plug_in),
        (estimate, right / n), (pass_k(2, n, right), right / n),
        (estimate, 1 - binomial(n - k, right) / binomial(n, k))]),
    "the product": (counts, [
        ((n - right) / n, (n - right - j) / (n - j)), ((n - right) / n - (n - right - j) / (n - j), right / (n * (n - j))),
        (estimate, 1 - Π((n - right - j) / (n - j), (j, 0, k))), (estimate, 1 - Π((n - right - j) / (n - j), (j, 1, k - 1))),
        (estimate, 1 - Π((n - right) / (n - j), (j, 0, k - 1))), (estimate, Π((n - right - j) / (n - j), (j, 0, k - 1))),
        (Π(n - j, (j, 0, k - 1)), binomial(n, k)), (Π(n + j, (j, 0, k - 1)), Π(n - j, (j, 0, k - 1)))]),
    "the mean": (counts, [
        (E(law)[estimate], 1 - rate**k), (E(law)[estimate], wrong**k), (E(law)[estimate], 1 - wrong**n), (E(law)[estimate], rate),
        (E(law)[right**2], n**2 * rate**2), (E(law)[estimate], estimate), (E(law)[plug_in], 1 - wrong**k),
        (E(law)[right / n], k * rate),
        (E(law)[1 / (1 + right)], 1 / (1 + n * rate)), (Var(law)[right / n], rate * wrong),
        (E(law)[rate**right], rate**(n * rate)),
        (E(Bin(right, n, wrong))[estimate], 1 - wrong**k), (E(Bin(right, n + 1, rate))[right], n * rate)]),
    "the binomial theorem": (counts, [
        (Σ(chance(n), (right, 0, n - 1)), 1), (Σ(chance(n), (right, 1, n)), 1), (Σ(chance(n) * right, (right, 0, n)), 1),
        (Σ(binomial(n, right), (right, 0, n)), 1), (Σ(chance(n)**2, (right, 0, n)), 1),
        (Σ(binomial(n, right) * rate**n, (right, 0, n)), rate**n), (Σ(chance(n) * without, (right, 0, n)), rate**k),
        (Σ(chance(n - k), (right, 0, n - k - 1)), 1)]),
    "revision": (counts, [
        (binomial(n, right) * binomial(n - right, k), binomial(n, k) * binomial(n, right)),
        (binomial(n - right, k), binomial(n, k)), (binomial(n, k), binomial(n, k + 1)), (binomial(n, k), binomial(k, n))]),
    "powers": (counts, [
        ((rate * wrong)**n, rate**n), (rate**(n + k), rate**n + rate**k), ((2 * rate)**n, 2 * rate**n), (wrong**n, 1 - rate**n),
        (wrong**(n - right), wrong**n * wrong**right)]),
    "two": (two, [
        (E(law)[plug_in], 1 - wrong**k + rate * wrong / n), (E(law)[plug_in], 1 - wrong**k - rate * wrong / n**2),
        (E(law)[plug_in], 1 - wrong**k), (estimate, right * (right - 1) / (n * (n - 1))), (E(law)[estimate], rate**2)]),
}

MEANINGLESS = [(counts, *pair) for pair in (
    (binomial(n - k - right, 2), binomial(n - k - right, 2)), (binomial(right - 1, k), binomial(right - 1, k)),
    (1 / (n - k), 1 / (n - k)),
    (binomial(n / 2, 2), n * (n - 2) / 8), (right / binomial(right, k), right / binomial(right, k)),
    (γ**k, γ**k), (rate**rate, rate**rate),
    (E(Bin(right, n, right))[right], n * right), (E(π(x_, s_))[right], right), (grad(rate), 0), (f(right), f(right)),
    (G * rate, G * rate),
    (Π(right - n, (j, 0, k - 1)) / 0**k, 1), (Σ(binomial(n, j) / right, (j, 0, n)), 2**n / right),
    (1 / j, 1 / j), (1 / (k - j - 1), 1 / (k - j - 1)),
    (Π(n - j - right, (j, 0, k)) / Π(n - j, (j, 0, k)), Π((n - j - right) / (n - j), (j, 0, k))))]
