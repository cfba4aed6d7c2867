"""`Induction` on random nested sums: what it proves is true, what it refutes is false."""

import random

import sympy as sp
import torch

from rlbook.derive.errors import Undecided
from rlbook.derive.induction import Induction
from rlbook.derive.language import Σ, n, γ

from .test_induction import ONE, ZERO, values, x, y


def random_sums(rng):
    """A random tree of nested sums; and the same with F(high) + Σ_{z=low+1}^{high} F(z - 1) for some of its sums."""

    def tree(depth, scope):
        if depth == 0:
            index = rng.choice(scope) + rng.randint(0, 2)
            return rng.choice((x, y))[index] * rng.choice((ONE, γ**index, index))
        new = sp.Symbol(f"u{depth}", integer=True)
        if rng.randrange(4) == 0:
            return tree(depth - 1, scope) + rng.choice((1, -2)) * tree(depth - 1, scope)
        return Σ(tree(depth - 1, [*scope, new]), (new, rng.choice((0, 0, 1)), rng.choice((n, n + 1, *scope))))

    left = right = tree(3, [n])
    z = sp.Symbol("z", integer=True)
    for e in sorted(left.atoms(sp.Sum), key=str):
        body, *inner, (u, low, high) = e.args
        body = sp.Sum(body, *inner) if inner else body
        if rng.random() < 0.5:
            right = right.xreplace({e: body.xreplace({u: high}) + Σ(body.xreplace({u: z - 1}), (z, low + 1, high))})
    return left, right + rng.choice((ZERO, ZERO, tree(0, [n])))


def test_what_is_proved_of_random_sums_is_true():
    rng, by, verdicts = random.Random(1), Induction(n, base=1), []
    for _ in range(80):
        left, right = random_sums(rng)
        try:
            proved = by(left, right) == 0
        except Undecided:
            verdicts.append("undecided")
            continue
        pairs = [(values(left, by, q, seed), values(right, by, q, seed)) for q in range(4) for seed in range(2)]
        assert proved == all(torch.isclose(*pair, rtol=1e-9, atol=1e-11) for pair in pairs)
        verdicts.append(proved)
    assert verdicts.count(True) > 30 and verdicts.count(False) > 10, verdicts
