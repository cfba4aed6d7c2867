"""The claims of `Counts`, about pass@k: part of the catalogue. They exercise each of its rules."""
import sympy as sp

from rlbook.derive.advantages import binomial, rate
from rlbook.derive.claims import Claim
from rlbook.derive.counts import Counts
from rlbook.derive.language import Π, Σ, E, Var, j, k, n
from rlbook.derive.passk import Bin, pass_k, right

CLAIMS = {}
counts, two, three = Counts(), Counts(k=2), Counts(k=3)
law, estimate = Bin(right, n, rate), pass_k(k, n, right)
plug_in = 1 - (1 - right / n)**k
wrong = 1 - rate
without = binomial(n - right, k) / binomial(n, k)


def chance(size, c=right):
    """The probability of c successes among `size`."""
    return binomial(size, c) * rate**c * wrong**(size - c)


def claim(id, lhs, rhs, by=counts):
    CLAIMS[f"passk/{id}"] = Claim(f"passk/{id}", sp.sympify(lhs), sp.sympify(rhs), by)


# -- one sample --------------------------------------------------------------------------------------------------
claim("definition", 1 - estimate, without)
claim("product", estimate, 1 - Π((n - right - j) / (n - j), (j, 0, k - 1)))
claim("product-of-three", estimate, 1 - Π((n - right - j) / (n - j), (j, 0, 2)), three)
claim("falling", Π(2 * (n - right - j) / (j - n), (j, 0, 1)), 4 * without, two)
claim("one", pass_k(1, n, right), right / n)
claim("two", estimate, 1 - (n - right) * (n - right - 1) / (n * (n - 1)), two)
claim("all", pass_k(n, n, right), 1 - binomial(n - right, n))
claim("trinomial-revision", binomial(n, right) * binomial(n - right, k), binomial(n, k) * binomial(n - k, right))
claim("plug-in-factor", (n - right) / n - (n - right - j) / (n - j), right * j / (n * (n - j)))

# -- powers ------------------------------------------------------------------------------------------------------
claim("powers", (rate * wrong)**(2 * n - right), rate**(n - right) * wrong**(2 * n) * rate**n / wrong**right)
claim("powers-of-numbers", (2 * rate / (6 * wrong))**n, rate**n / (3 * wrong)**n)
claim("powers-of-sizes", (n * (n + 1))**k / n**k, (n + 1)**k)

# -- means -------------------------------------------------------------------------------------------------------
claim("binomial-theorem", Σ(chance(n), (right, 0, n)), 1)
claim("beyond", Σ(chance(n), (right, 0, n + 2)), 1)
claim("fewer", Σ(chance(n - k), (right, 0, n)), 1)
claim("other-numbers", Σ(binomial(n, right) * 2**right, (right, 0, n)), 3**n)
claim("revision-in-the-sum", Σ(chance(n) * without, (right, 0, n)), Σ(binomial(n - k, right) * rate**right * wrong**(n - right),
                                                                    (right, 0, n - k)))
claim("mean", E(law)[right], n * rate)
claim("third-power", E(law)[right**3], n * rate * (1 + 3 * (n - 1) * rate + (n - 1) * (n - 2) * rate**2))
claim("variance", Var(law)[right / n], rate * wrong / n)
claim("generating", E(law)[rate**right], (1 - rate + rate**2)**n)
claim("unbiased", E(law)[estimate], 1 - wrong**k)
claim("unbiased-product", E(law)[Π((n - right - j) / (n - j), (j, 0, k - 1))], wrong**k)
claim("plug-in", E(law)[plug_in], 1 - wrong**k - rate * wrong / n, two)
claim("plug-in-of-three", E(law)[plug_in], 1 - wrong**k - rate * wrong * (3 * n * wrong + 2 * rate - 1) / n**2, three)
