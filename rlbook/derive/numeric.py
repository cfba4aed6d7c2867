"""The second opinion: the value of a tree in floating point, by rules that no prover uses.

Probabilities are softmax rows of random logits, logarithms are logarithms, an expectation is a weighted mean over every
trajectory (or every data set of N trajectories), a conditional expectation is a weighted mean over those trajectories that
agree with the condition, and a gradient is read off truncated power series: the k-th nested `grad` moves the logits by its own
infinitesimal e_k, with e_k^2 = 0. What a prover proves must hold here, and what it refutes should fail here.

All trajectories are carried at once, as one axis of an array; a free τ therefore means "for every trajectory".
"""
import numpy as np
import sympy as sp

from . import language as L
from .errors import IllFormed
from .jets import Jet, noise


def counts_samples(index):
    """Is this the letter of a sample (i, j, k, n), and not of a time?"""
    return isinstance(index, sp.Symbol) and bool(index.is_integer) and index.name.rstrip("0123456789") in {"i", "j", "k", "n"}


class Place:
    """A state or an action: an index, or an array of indices (one for each trajectory), and when it was visited."""

    def __init__(self, at, time=None):
        self.at, self.time = at, time

    def _refuse(self, *_):
        raise IllFormed("a state or an action is no number")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _refuse


class Reader:
    """The value of a tree; `worlds.World` adds the process and its random numbers, and says in which environments to look."""

    def gap(self, lhs, rhs):
        """The largest difference of the two sides, relative to their size; NaN where one has no real value."""
        lhs, rhs, worst = sp.sympify(lhs), sp.sympify(rhs), 0.0
        with np.errstate(all="ignore"):
            for env in self.environments(lhs, rhs):
                x, y = self.read(lhs, env).value, self.read(rhs, env).value
                worst = max(worst, float(np.max(np.abs(x - y) / (1 + np.abs(x) + np.abs(y)))), key=lambda z: (z != z, z))
        return worst

    def read(self, e, env):
        for kind in type(e).__mro__:
            method = getattr(self, "_" + kind.__name__, None)
            if method is not None:
                return method(e, env)
        raise IllFormed(f"no floating-point reading of {type(e).__name__}")

    # -- arithmetic ----------------------------------------------------------------------------------
    def _Number(self, e, env):
        return Jet.of(e)

    def _Symbol(self, e, env):
        if e in env:
            if isinstance(env[e], Place):
                raise IllFormed(f"{e} is no number")
            return Jet.of(env[e])
        if e == L.T:
            return Jet.of(self.T)
        if e in (L.N, L.G):
            return Jet.of(self.samples)
        return Jet.of(0.65 + 0.3 * noise(self.seed, e.name))

    def _Add(self, e, env):
        first, *rest = (self.read(x, env) for x in e.args)
        return sum(rest, first)

    def _Mul(self, e, env):
        out = Jet.of(1)
        for x in e.args:
            out = out * self.read(x, env)
        return out

    def _Pow(self, e, env):
        if e.exp.has(sp.oo, -sp.oo, sp.zoo, sp.nan):
            raise IllFormed(f"the exponent of {e} is not finite")
        base = self.read(e.base, env)
        power = e.exp if e.exp.is_Number else self.read(e.exp, env)
        if isinstance(power, Jet):
            if len(power.c) > 1 or power.c.size > 1:
                return (base.log() * power).exp()
            if not abs(power.c[0, 0]) < float("inf"):
                raise IllFormed(f"the exponent of {e} is not finite")
            power = sp.nsimplify(power.c[0, 0])
        return base.power(int(power)) if power == int(power) else (base.log() * Jet.of(power)).exp()

    def _log(self, e, env):
        return self.read(e.args[0], env).log()

    def _exp(self, e, env):
        return self.read(e.args[0], env).exp()

    def _KroneckerDelta(self, e, env):
        x, y = (self.index(x, env) for x in e.args)
        return Jet((np.asarray(x) == np.asarray(y)).astype(float).reshape(1, -1))

    def _extreme(self, e, env, better):
        out, *rest = (self.read(x, env) for x in e.args)
        for x in rest:
            out = self.where(better(x.value, out.value), x, out)
        return out

    @staticmethod
    def where(condition, yes, no):
        size = max(len(yes.c), len(no.c))
        return Jet(np.where(condition, yes.padded(size), no.padded(size)))

    def _Min(self, e, env):
        return self._extreme(e, env, np.less)

    def _Max(self, e, env):
        return self._extreme(e, env, np.greater)

    def _Clip(self, e, env):
        x, low, high = (self.read(y, env) for y in e.args)
        x = self.where(x.value < low.value, low, x)
        return self.where(x.value > high.value, high, x)

    # -- indices and sums ----------------------------------------------------------------------------
    def integer(self, e, env):
        """The value of an index expression."""
        values = {x: env[x] for x in e.free_symbols if isinstance(env.get(x), int)}
        number = e.xreplace({**{x: sp.Integer(v) for x, v in values.items()}, L.T: sp.Integer(self.T),
                             L.N: sp.Integer(self.samples), L.G: sp.Integer(self.samples)})
        if not number.is_Integer:
            raise IllFormed(f"{e} is no whole number")
        return int(number)

    def index(self, e, env):
        """The index behind a state, an action or a number."""
        if isinstance(env.get(e), Place):
            return env[e].at
        if isinstance(e, sp.Indexed):
            place = self.read(e, env)
            if isinstance(place, Place):
                return place.at
        return self.integer(e, env)

    def _steps(self, limits, env):
        x, low, high = limits
        return [{**env, x: value} for value in range(self.integer(low, env), self.integer(high, env) + 1)]

    def _Sum(self, e, env):
        body, *inner, limits = e.args
        body = sp.Sum(body, *inner) if inner else body
        return sum((self.read(body, here) for here in self._steps(limits, env)), Jet.of(0))

    def _Product(self, e, env):
        body, *inner, limits = e.args
        body = sp.Product(body, *inner) if inner else body
        out = Jet.of(1)
        for here in self._steps(limits, env):
            out = out * self.read(body, here)
        return out

    def _Over(self, e, env):
        body, x = e.args
        if x == L.τ:
            value = self.read(body, {**env, "path": "all"})
            return (value * Jet(np.ones((1, self.count)))).sum()
        return sum((self.read(body, {**env, x: Place(v)}) for v in self.domain(x)), Jet.of(0))

    def _Under(self, e, env):
        body, law = e.args
        return self.read(L.Over(law * body, law.args[0]), env)

    def _VarianceUnder(self, e, env):
        body, law = e.args
        mean = self._Under(L.Under(body, law), env)
        return self._Under(L.Under(body**2, law), env) - mean * mean

    def _Variance(self, e, env):
        body, *given = e.args
        mean = self.read(L.Expect(body, *given), env)
        return self.read(L.Expect(body**2, *given), env) - mean * mean

    def _Covariance(self, e, env):
        one, other = e.args
        both, one, other = (self.read(L.Expect(x), env) for x in (one * other, one, other))
        return both - one * other

    # -- gradients -----------------------------------------------------------------------------------
    def _Grad(self, e, env):
        body, *component = e.args
        way = env["way"]
        if component and not (isinstance(component[0], sp.Indexed) and component[0].base == L.θ):
            raise IllFormed(f"a derivative along {component[0]} is not read here")
        if component:
            way = ("component", self.index(component[0].indices[0], env))
        moves = env["moves"]
        value = self.read(body, {**env, "moves": moves + (way,)})
        half = 2**len(moves)
        return Jet(value.c[half:]) if len(value.c) > half else Jet.of(0)

    def _StopGradient(self, e, env):
        value = self.read(e.args[0], env)
        return Jet(value.c[:1])

    def _AtOld(self, e, env):
        """θ_old = θ: π_old moves with what differentiates from outside, and not with a gradient inside."""
        return self.read(e.args[0], {**env, "old": len(env["moves"])})

    def components(self, e, env):
        """The value of a gradient along each coordinate of the logits."""
        return [self.read(e, {**env, "way": ("unit", m)}) for m in range(self.S * self.A)]

    def _At(self, e, env):
        body, x, value = e.args
        return self.read(body, {**env, x: self.read(value, env)})

    def _SquaredNorm(self, e, env):
        return sum((x * x for x in self.components(e.args[0], env)), Jet.of(0))

    def _Slope(self, e, env):
        """α becomes an infinitesimal of its own; nothing else moves with it."""
        body, step = e.args
        moves = env["moves"]
        half = 2**len(moves)
        infinitesimal = np.zeros((2 * half, 1))
        infinitesimal[half] = 1
        value = self.read(body, {**env, "moves": moves + ("nothing",), step: Jet(infinitesimal)})
        return Jet(value.c[half:]) if len(value.c) > half else Jet.of(0)
