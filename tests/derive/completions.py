"""The second opinion on groups of completions: every group of a tiny language, by torch. No rule of the provers is used.

A completion is (0), (1, 0) or (1, 1): two tokens, of which 0 ends it. Policies are softmax of random logits, π_θ moves with one
number; advantages and rewards are random numbers for each group. Means are weighted sums over all groups, gradients automatic.
"""
import itertools
import random

import sympy as sp
import torch

from rlbook.derive import language as L
from rlbook.derive.definitions import STANDARD, Definition, key
from rlbook.derive.errors import IllFormed
from rlbook.derive.grpo import Group, OverOldGroups, Âi, Âit, before, length, o
from rlbook.derive.tensors import Tensors

DOUBLE = torch.float64
COMPLETIONS = (0,), (1, 0), (1, 1)


class Meaning(Tensors):
    """`Tensors`, with means over groups."""

    def __init__(self, values, definitions, groups):
        super().__init__(values, definitions)
        self.groups = groups

    def read(self, e, env):
        if not isinstance(e, Group):
            return super().read(e, env)
        if o in env:
            raise IllFormed("a mean over groups in a group")
        law = env[L.π_old if isinstance(e, OverOldGroups) else L.π]
        total = torch.zeros((), dtype=DOUBLE)
        for group, names in self.groups:
            weight = torch.ones((), dtype=DOUBLE)
            for completion in group:
                for place, token in enumerate(completion):
                    weight = weight * law(token, place)
            total = total + weight * self.tensor(self.read(e.args[0], {**env, **names}))
        return total


class Language:
    """Random numbers that fit an equation about groups, and all its groups of one, two or three completions."""

    def __init__(self, by, seed=0, sizes=(2, 2), definitions=STANDARD):
        given = [Definition(*map(sp.sympify, x)) if isinstance(x, tuple) else definitions.get(key(x.left), x) for x in by.given]
        self.given, self.seed, self.sizes = {x.head: x for x in given}, seed, sizes
        self.definitions = {**definitions, **self.given}

    def gap(self, lhs, rhs):
        """The largest difference of the two sides, relative to their size; NaN where one has no real value."""
        sides, worst = [sp.sympify(x) for x in (lhs, rhs)], 0.0
        for number, size in enumerate(self.sizes):
            draw = torch.Generator().manual_seed(self.seed + 7 * number)
            world, groups = self.world(sides, draw, size)
            for env in self.environments(sides, groups, number):
                x, y = (world(side, env).detach() for side in sides)
                gap = ((x - y).abs() / (1 + x.abs() + y.abs())).item()
                worst = max(worst, gap, key=lambda z: (z != z, z))
        return worst

    def environments(self, sides, groups, number):
        """Nothing for a mean; else some groups, and every token of them for free indices."""
        free = [x for x in (L.i, L.j, L.t) if any(x in side.free_symbols for side in sides)]
        means = [x.head for x in self.definitions.values() if x.body.has(Group)]
        if any(side.has(Group, *means) for side in sides):
            yield {}
            return
        for group, names in random.Random(number).sample(groups, min(3, len(groups))):
            for k, completion in enumerate(group, 1):
                for place in range(1, len(completion) + 1):
                    yield {**names, **{x: v for x, v in ((L.i, k), (L.j, len(group) + 1 - k), (L.t, place)) if x in free}}
                    if not free:
                        break
                if not free:
                    break

    def world(self, sides, draw, size):
        def table(*shape):
            return torch.randn(shape, generator=draw, dtype=DOUBLE)

        logits, slope, bend, old, ref = (table(5, 2) for _ in range(5))
        place = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
        laws = {L.π: lambda a, s: torch.softmax(logits + slope * place + bend * place**2, -1)[s, a],
                L.π_old: lambda a, s: torch.softmax(old / 2, -1)[s, a], L.π_ref: lambda a, s: torch.softmax(ref, -1)[s, a]}
        values = {L.θ: place, L.G: size, L.N: 2, before: lambda i, t: t - 1, **laws}
        symbols = set().union(*(x.atoms(sp.Symbol) for x in (*sides, *(d.body for d in self.definitions.values()))))
        for x in sorted(symbols, key=str):
            if not x.is_integer and x not in values:
                values[x] = torch.rand((), generator=draw, dtype=DOUBLE) / 2 + 0.1
        same = length in self.given
        groups = list(itertools.product(COMPLETIONS[1:] if same else COMPLETIONS, repeat=size))
        groups = [(x, self.names(x, table)) for x in groups]
        return Meaning(values, self.definitions, groups), groups

    def names(self, group, table):
        """Tokens, lengths, and random numbers of this group, counted from 1; past its ends there are more of them."""
        rows, places = len(group) + 3, 6
        tokens = torch.zeros(rows, places, dtype=torch.long)
        for k, completion in enumerate(group, 1):
            tokens[k, 1:len(completion) + 1] = torch.tensor(completion)

        def long(k):
            return len(group[k - 1]) if 1 <= k <= len(group) else 1

        names = {o: tokens, length: long, Âi: table(rows), Âit: table(rows, places), L.r: table(rows)}
        return {x: v for x, v in names.items() if x not in self.given}
