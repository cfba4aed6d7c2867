"""The second opinion on formulas: random numbers for every name, torch for every derivative, quadrature for the normal law.

Policies are softmax of random logits, functions with parameters φ are random polynomials in φ, everything else is a random
table. Derivatives are automatic, means are weighted sums, regions are sampled. No rule of the provers is used.
"""
import itertools
import random

import numpy as np
import sympy as sp
import torch

from rlbook.derive import language as L
from rlbook.derive.definitions import STANDARD
from rlbook.derive.gaussian import standard_normal
from rlbook.derive.grpo import before, o
from rlbook.derive.sums import SETS
from rlbook.derive.tensors import Tensors
from rlbook.derive.terms import Learned, actions

SIZES = {"actions": 3, "states": 2, "tokens": 4, "outcomes": 3}
LAWS = {L.π_old: ("actions", "states"), L.π_ref: ("actions", "states"), L.p: ("states", "states", "actions")}
DOUBLE, INFINITY = torch.float64, float("inf")


class Quadrature(Tensors):
    """`Tensors`, with means under the standard normal law: exact for polynomials of degree 59."""

    def read(self, e, env):
        if isinstance(e, L.Under | L.VarianceUnder) and isinstance(e.args[1], standard_normal):
            body, law = e.args
            nodes, weights = np.polynomial.hermite_e.hermegauss(30)
            values = self.tensor(super().read(body, {**env, law.args[0]: torch.tensor(nodes, dtype=DOUBLE)}))
            weights = torch.tensor(weights / weights.sum(), dtype=DOUBLE)
            mean = (values * weights).sum()
            return mean if isinstance(e, L.Under) else (values**2 * weights).sum() - mean**2
        return super().read(e, env)


class Formulas:
    """Random numbers that fit the prover of an equation. θ is one number that moves every logit along a curve, unless the
    equation names a logit, θ[b]."""

    def __init__(self, by, seed=0, definitions=STANDARD):
        self.by, self.seed, self.definitions = by, seed, definitions
        self.tries = 12 if hasattr(by, "ranges") else 4        # `Cases` has regions
        self.letters = {x: sp.Symbol(str(x), real=True) for x in getattr(by, "ranges", {}) if isinstance(x, sp.Indexed)}

    def gap(self, lhs, rhs):
        """The largest difference of the two sides, relative to their size; NaN where one has no real value."""
        sides, worst = [self.written_out(sp.sympify(x)) for x in (lhs, rhs)], 0.0
        names = set().union(*map(self.names, sides))
        for number in range(self.tries):
            draw = random.Random(f"{self.seed} {number}")
            env, at = self.values(names, sides, draw), self.places(sides, number)
            x, y = (Quadrature(env, self.definitions)(side, at).detach() for side in sides)
            gap = ((x - y).abs() / (1 + x.abs() + y.abs())).max().item()
            worst = max(worst, gap, key=lambda z: (z != z, z))
        return worst

    def written_out(self, e):
        """The tree with a letter for each r_t(θ) or A_t that has a range, also in the definitions of what has none."""
        if not self.letters:
            return e
        given = [self.definitions.get(x.left.base, x) for x in self.by.given if isinstance(x.left, sp.Indexed)]
        for x in given:
            e = e.replace(lambda y, x=x: isinstance(y, sp.Indexed) and y.base == x.left.base,
                          lambda y, x=x: x.body.xreplace({x.left.indices[0]: y.indices[0]}))
        return e.xreplace(self.letters)

    @staticmethod
    def places(sides, number):
        """An element of its set for every free letter, and a small whole number for every free index."""
        free = set().union(*(y.free_symbols for y in sides)) - {L.x_}
        free = sorted((x for x in free if isinstance(x, sp.Symbol)), key=str)
        sizes = {x: 3 if x.is_integer else SIZES[kind(x)] for x in free if x.is_integer or kind(x)}
        return {x: number * place % size for place, (x, size) in enumerate(sizes.items(), 1)}

    # -- what occurs ---------------------------------------------------------------------------------
    def names(self, e):
        """Every symbol, base and head of a tree, and of the definitions that it uses."""
        found, todo = set(), [e]
        while todo:
            for x in sp.preorder_traversal(todo.pop()):
                name = x.base if isinstance(x, sp.Indexed) else type(x) if isinstance(x, L.Head) else x
                if name in found or not isinstance(name, type | sp.Symbol | sp.IndexedBase):
                    continue
                found.add(name)
                if name in self.definitions and not isinstance(name, sp.Symbol):
                    todo.append(self.definitions[name].body)
        return found

    # -- numbers -------------------------------------------------------------------------------------
    def values(self, names, sides, draw):
        generator = torch.Generator().manual_seed(draw.randrange(2**31))

        def table(*shape):
            return torch.randn(shape, generator=generator, dtype=DOUBLE)

        env = self.policy(any(x.has(L.θ) for side in sides for y in side.atoms(L.Grad) for x in y.args[1:]), table)
        env |= {L.φ: torch.tensor(draw.uniform(-1, 1), dtype=DOUBLE, requires_grad=True), actions: float(SIZES["actions"])}
        env |= {o: torch.zeros(12, 12, dtype=torch.long), before: lambda i, t: (i + t) % SIZES["states"]}
        for base in sorted((x for x in names if isinstance(x, sp.IndexedBase) and x not in self.definitions), key=str):
            env.setdefault(base, table(SIZES["tokens"] if base == L.z else 12).requires_grad_())
        for x in sorted((x for x in names if isinstance(x, sp.Symbol)), key=str):
            env.setdefault(x, SIZES[kind(x)] if kind(x) else number(x, draw))
        env |= self.in_range(draw)
        for head in sorted((x for x in names if isinstance(x, type) and x not in self.definitions), key=lambda x: x.__name__):
            env.setdefault(head, function(head, table, env[L.φ]))
        return env

    @staticmethod
    def policy(by_logits, table):
        logits, slope, bend = (table(SIZES["states"], SIZES["actions"]) for _ in range(3))
        if by_logits:
            logits = logits[:1].requires_grad_()
            return {L.θ: logits, L.π: lambda a, s=0: torch.softmax(logits, -1)[0, a]}
        place = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
        return {L.θ: place, L.π: lambda a, s=0: torch.softmax(logits + slope * place + bend * place**2, -1)[s, a]}

    def in_range(self, draw):
        """A point of the ranges of `Cases`, each variable in one of its intervals."""
        out = {}
        for x, points in getattr(self.by, "ranges", {}).items():
            at = [float(p.xreplace(self.letters).xreplace({y: sp.Float(v.item()) for y, v in out.items()})) for p in points]
            low, high = draw.choice(list(itertools.pairwise(at)))
            low = low if low > -INFINITY else min(high, 0) - 3
            high = high if high < INFINITY else low + 3
            place = low + draw.uniform(0.1, 0.9) * (high - low)
            out[self.letters.get(x, x)] = torch.tensor(place, dtype=DOUBLE, requires_grad=True)
        return out


def kind(x):
    """The set that a symbol stands for an element of; None for a number."""
    return None if x.is_real or x.is_integer else SETS.get(x.name.rstrip("0123456789"))


def number(x, draw):
    """y_1 and y_2 are two answers; every other symbol is a number, below 1 where it is positive."""
    if x.name.startswith("y_"):
        return int(x.name[2:])
    return torch.tensor(draw.uniform(0.2, 0.9) if x.is_positive else draw.uniform(-1, 1), dtype=DOUBLE, requires_grad=True)


def function(head, table, φ):
    """A random law, a random polynomial in φ, or a random table."""
    if issubclass(head, L.Distribution):
        sets = LAWS.get(head, (head.over,))
        law = torch.softmax(table(*(SIZES[x] for x in sets)), 0)
        return lambda *at: law[(*at, *[0] * (len(sets) - len(at)))]
    terms, places = table(3, 64), {}

    def read(*at):
        where = places.setdefault(tuple(map(str, at)), len(places))
        a, b, c = terms[:, where]
        return a + b * φ + c * φ**2 if issubclass(head, Learned) else a
    return read
