"""The second opinion on what holds for every horizon: sums and products over indices, computed term by term.

Every sequence, every function of a state and every number is random; r_t, V(s_t), δ_t have values at all times, so a sum may run
past the end of an episode. Definitions are read at the time at which they stand. No rule of the provers is used.
"""
import itertools

import sympy as sp

from rlbook.derive import language as L
from rlbook.derive.definitions import STANDARD, key
from rlbook.derive.errors import IllFormed
from rlbook.derive.jets import Jet, noise
from rlbook.derive.numeric import Reader

TIMES = (L.t, L.l, L.k, L.n, L.i, L.j, L.m)


class Sequences(Reader):
    """Random sequences, and the prover that says which equation they are to test."""

    samples = 3

    def __init__(self, by, seed=0, definitions=STANDARD):
        self.by, self.seed, self.definitions, self.T, self.memo = by, seed, definitions, 0, {}
        self.given = {x if x.is_Symbol else key(x): (x, body) for x, body in by.unfold.rules.values()}
        self.around = set().union(*(body.free_symbols - x.free_symbols for x, body in self.given.values()))

    # -- names ---------------------------------------------------------------------------------------
    def _Symbol(self, e, env):
        return self.read(self.given[e][1], env) if e in self.given else super()._Symbol(e, env)

    def _Indexed(self, e, env):
        left, body = self.meaning(e.base)
        if left is not None and len(left.indices) == len(e.indices):
            return self.unfolded(left.indices, e.indices, body, env)
        return Jet.of(noise(self.seed, str(e.base), *(self.integer(x, env) for x in e.indices)))

    def _Head(self, e, env):
        left, body = self.meaning(type(e))
        indexed = left is not None and left.args and not body.has(L.Operator)
        if indexed and all(isinstance(y, sp.Indexed) or y.is_integer for y in e.args):
            return self.unfolded(left.args, e.args, body, env)
        value = noise(self.seed, type(e).__name__, *(self.place(x, env) for x in e.args))
        return Jet.of(abs(value) + 0.1 if isinstance(e, L.Distribution) else value)     # (a probability may stand in a log)

    def _Grad(self, e, env):
        return Jet.of(noise(self.seed, "gradient", *(self.place(x, env) for x in e.args[0].atoms(sp.Indexed))))

    def meaning(self, name):
        known = self.definitions.get(name)
        return self.given.get(name, (None, None) if known is None else (known.left, known.body))

    def place(self, e, env):
        """s[t + 1] by its index; a number by its value."""
        return self.integer(e.indices[0], env) if isinstance(e, sp.Indexed) else self.integer(e, env) if e.is_integer else str(e)

    def unfolded(self, names, values, body, env):
        outside = body.free_symbols | self.around      # (a definition sees no index of the place where it stands)
        here = {x: y for x, y in env.items() if not isinstance(y, int) or x in outside}
        for name, value in zip(names, values, strict=True):
            name, value = (name.indices[0], value.indices[0]) if isinstance(name, sp.Indexed) else (name, value)
            here[name] = self.integer(value, env)
        numbers = tuple(here[x].c.item() for x in (L.γ, L.λ) if x in here)     # (a value taken by `at`)
        known = body, self.T, numbers, frozenset((x, y) for x, y in here.items() if isinstance(y, int))
        if known not in self.memo:
            self.memo[known] = self.read(body, here)
        return self.memo[known]

    def integer(self, e, env):
        values = {x: sp.Integer(env[x]) for x in e.free_symbols if isinstance(env.get(x), int)}
        number = e.xreplace({**values, L.T: sp.Integer(self.T), L.G: sp.Integer(self.samples)})
        if not number.is_Integer:
            raise IllFormed(f"{e} is no whole number")
        return int(number)

    # -- an equation ---------------------------------------------------------------------------------
    def environments(self, *sides):
        """The first whole numbers for every free index, where the prover says that the equation holds."""
        free = sorted((x for x in TIMES if any(x in side.free_symbols for side in sides)), key=str)
        n, base = getattr(self.by, "n", None), getattr(self.by, "base", sp.Integer(0))
        for values in itertools.product((0, 2), repeat=len(free)):
            env = {**dict(zip(free, values, strict=True)), "moves": (), "way": ("generic", 0)}
            for steps in range(4) if n is not None else (0,):
                self.T = 9
                here = {**env, n: self.integer(base, env) + steps} if n is not None else env
                self.T = here.get(L.T, 9)
                yield here
