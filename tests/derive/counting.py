"""The second opinion on pass@k: every n, k, c up to a few, random p, binomial coefficients and sums term by term in torch."""
import math
import random

import sympy as sp
import torch

from rlbook.derive import language as L
from rlbook.derive.advantages import rate
from rlbook.derive.definitions import STANDARD
from rlbook.derive.errors import IllFormed
from rlbook.derive.passk import Bin, right
from rlbook.derive.tensors import Tensors


class Drawn(Tensors):
    """`Tensors`, with means over a binomial number."""

    def read(self, e, env):
        if isinstance(e, L.Under | L.VarianceUnder) and isinstance(e.args[1], Bin):
            body, (c, n, p) = e.args[0], e.args[1].args
            size, chance = self.whole(n, env), self.read(p, env)
            weights = [math.comb(size, x) * chance**x * (1 - chance)**(size - x) for x in range(size + 1)]
            values = [self.tensor(self.read(body, {**env, c: x})) for x in range(size + 1)]
            first, second = (sum(x * y**m for x, y in zip(weights, values, strict=True)) for m in (1, 2))
            return first if isinstance(e, L.Under) else second - first**2
        return super().read(e, env)


class Counting:
    """Numbers that fit `Counts`."""

    def __init__(self, by, seed=0, definitions=STANDARD):
        self.k, self.definitions, self.draw = by.k, definitions, random.Random(seed)

    def gap(self, lhs, rhs):
        """The largest difference of the two sides, relative to their size."""
        worst = 0.0
        for n in range(self.k or 1, (self.k or 1) + 5):
            for k in [self.k] if self.k else range(1, n + 1):
                for c in range(n + 1):
                    p = torch.tensor(self.draw.uniform(0.1, 0.9), dtype=torch.float64)
                    world = Drawn({L.n: n, L.k: k, L.j: self.draw.randrange(k), right: c, rate: p}, self.definitions)
                    worst = max(worst, self.difference(world, lhs, rhs), key=lambda z: (z != z, z))
        return worst

    @staticmethod
    def difference(world, lhs, rhs):
        try:
            x, y = (world(sp.sympify(side)) for side in (lhs, rhs))
        except ValueError as error:                    # math.comb of a negative number
            raise IllFormed(str(error)) from error
        return ((x - y).abs() / (1 + x.abs() + y.abs())).item()


def subsets(n, c, k):
    """pass@k by counting: how many of the k-subsets of n completions hold one of the first c."""
    from itertools import combinations

    found = [min(chosen) < c for chosen in combinations(range(n), k)]
    assert len(found) == math.comb(n, k)
    return sum(found) / len(found)
