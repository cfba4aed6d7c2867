"""A tree as a torch tensor: the reference that hand-written functions are tested against.

    Tensors({r: rewards, γ: 0.9, T: 4, τ: None})(R(τ))

computes R(τ) = Σ_{t=0}^{T} γ^t r_t by its definition in `definitions.py`, one term at a time, and differentiably.
What a name stands for:

    a symbol            a number or a tensor                                            {γ: 0.9}
    r[t], s[t]          a tensor, indexed on its last axes                              {r: rewards, [..., T + 1]}
    V(s[t]), π(a, s)    a function of the arguments' values, or a tensor, an axis each  {V: lambda s: ..., f: table}
    Σ(X, a_), E(π(a_, s_))[X]   how many elements the set has                           {a_: 3}
    grad(X)             the gradient of the number X with respect to {θ: a tensor}, by automatic differentiation; grad(X, φ)
                        and grad(X, z[v]) with respect to {φ: a tensor} and to one entry of {z: a tensor}

An index off a tensor is an error: torch would count from the end. Sums are plain loops; minimum, maximum and clip are
torch's, and so are their derivatives where two arguments are equal. This is the only file of `derive` that needs
torch, and nothing in `derive` imports it.
"""
import math
from functools import singledispatchmethod

import sympy as sp
import torch

from . import language as L
from .cases import Less
from .definitions import STANDARD
from .errors import IllFormed
from .plain import text


class Tensors:
    """Read trees with the values given. Plain numbers become tensors of `dtype`."""

    def __init__(self, values, definitions=STANDARD, dtype=torch.float64):
        self.values, self.definitions, self.dtype = dict(values), definitions, dtype

    def __call__(self, e, where=None):
        """The value of a tree; `where` adds values for its free symbols, such as {t: 3}."""
        return self.tensor(self.read(sp.sympify(e), {**self.values, **(where or {})}))

    def tensor(self, x):
        return x if isinstance(x, torch.Tensor) and x.is_floating_point() else torch.as_tensor(x, dtype=self.dtype)

    @singledispatchmethod
    def read(self, e, env):
        raise IllFormed(f"{type(e).__name__} has no value as a tensor: {text(e)}")

    # -- arithmetic ----------------------------------------------------------------------------------
    @read.register
    def _(self, e: sp.Integer, env):
        return int(e)

    @read.register
    def _(self, e: sp.Rational, env):
        return float(e)

    @read.register
    def _(self, e: sp.Float, env):
        return float(e)

    @read.register
    def _(self, e: sp.NumberSymbol, env):              # π = 3.14..., e = 2.71...
        return float(e)

    @read.register
    def _(self, e: sp.Symbol, env):
        if e not in env:
            raise IllFormed(f"the symbol {text(e)} has no value here")
        return env[e]

    @read.register
    def _(self, e: sp.Add, env):
        first, *rest = (self.read(x, env) for x in e.args)
        for x in rest:
            first = first + x
        return first

    @read.register
    def _(self, e: sp.Mul, env):
        first, *rest = (self.read(x, env) for x in e.args)
        for x in rest:
            first = first * x
        return first

    @read.register
    def _(self, e: sp.Pow, env):
        base, exponent = self.read(e.base, env), self.read(e.exp, env)
        if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
            return base**exponent
        return self.tensor(base)**exponent

    @read.register
    def _(self, e: sp.log, env):
        return torch.log(self.tensor(self.read(e.args[0], env)))

    @read.register
    def _(self, e: sp.exp, env):
        return torch.exp(self.tensor(self.read(e.args[0], env)))

    @read.register
    def _(self, e: sp.asin, env):
        return torch.asin(self.tensor(self.read(e.args[0], env)))

    @read.register
    def _(self, e: sp.binomial, env):
        return self.tensor(float(math.comb(*(self.whole(x, env) for x in e.args))))

    @read.register
    def _(self, e: sp.Min, env):
        return self.fold(torch.minimum, e.args, env)

    @read.register
    def _(self, e: sp.Max, env):
        return self.fold(torch.maximum, e.args, env)

    def fold(self, function, args, env):
        first, *rest = (self.tensor(self.read(x, env)) for x in args)
        for x in rest:
            first = function(first, x)
        return first

    @read.register
    def _(self, e: L.Clip, env):
        x, low, high = (self.tensor(self.read(y, env)) for y in e.args)
        return torch.clamp(x, low, high)

    @read.register
    def _(self, e: Less, env):
        x, y = (self.tensor(self.read(z, env)) for z in e.args)
        return (x < y).to(x.dtype)

    @read.register
    def _(self, e: sp.KroneckerDelta, env):
        x, y = (torch.as_tensor(self.read(z, env)) for z in e.args)
        return (x == y).to(self.dtype)

    # -- sums ----------------------------------------------------------------------------------------
    def range(self, limits, env):
        x, low, high = limits
        low, high = self.whole(low, env), self.whole(high, env)
        return x, range(low, high + 1)

    def whole(self, e, env):
        """The value of an index, which must be one whole number."""
        value = self.read(e, env)
        if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_floating_point():
            value = int(value)
        if not isinstance(value, int):
            raise IllFormed(f"{text(e)} is no whole number")
        return value

    @read.register
    def _(self, e: sp.Sum, env):
        body, *inner, limits = e.args                  # the last limit is the outermost
        body = sp.Sum(body, *inner) if inner else body
        x, values = self.range(limits, env)
        return sum((self.read(body, {**env, x: v}) for v in values), torch.zeros((), dtype=self.dtype))

    @read.register
    def _(self, e: sp.Product, env):
        body, *inner, limits = e.args                  # the last limit is the outermost
        body = sp.Product(body, *inner) if inner else body
        x, values = self.range(limits, env)
        out = torch.ones((), dtype=self.dtype)
        for v in values:
            out = out * self.read(body, {**env, x: v})
        return out

    @read.register
    def _(self, e: L.Over, env):
        body, x = e.args
        size = self.values.get(x)                      # (env[x] is an element where the letter is bound already)
        if not isinstance(size, int):
            raise IllFormed(f"the number of elements of {text(x)} is not given")
        return sum((self.read(body, {**env, x: v}) for v in range(size)), torch.zeros((), dtype=self.dtype))

    @read.register
    def _(self, e: L.Under, env):
        body, law = e.args
        return self.read(L.Over(law * body, law.args[0]), env)

    @read.register
    def _(self, e: L.VarianceUnder, env):
        body, law = e.args
        return self.read(L.Under(body**2, law) - L.Under(body, law)**2, env)

    # -- names ---------------------------------------------------------------------------------------
    @read.register
    def _(self, e: sp.Indexed, env):
        if e.base not in env and e.base in self.definitions:
            definition = self.definitions[e.base]
            return self.read(definition.body, {**env, **self.parameters(definition.left.indices, e.indices, env)})
        if e.base not in env:
            raise IllFormed(f"{text(e.base)} has no values here")
        return self.look_up(env[e.base], [self.whole(x, env) for x in e.indices], e)

    @staticmethod
    def look_up(table, indices, e):
        """table[..., i, j]; negative indices are not counted from the end."""
        sizes = table.shape[-len(indices):]
        if len(sizes) != len(indices) or not all(0 <= x < size for x, size in zip(indices, sizes, strict=True)):
            raise IllFormed(f"{text(e)} at {indices} is off a tensor of shape {tuple(table.shape)}")
        return table[(..., *indices)]

    @read.register
    def _(self, e: L.Head, env):
        kind = type(e)
        if kind in env:
            what = env[kind]
            if isinstance(what, torch.Tensor):
                return self.look_up(what, [self.whole(x, env) for x in e.args], e)
            return what(*(self.read(x, env) for x in e.args))
        definition = self.definitions.get(kind)
        if definition is None:
            raise IllFormed(f"{text(e)} has no value here")
        if definition.base is not None:
            return self.recursion(definition, e, env)
        if definition.body.has(L.Expect):
            raise IllFormed(f"{text(e)} is an expectation over trajectories: give its values")
        if any(isinstance(x, sp.Indexed) for x in definition.left.args):
            return self.read(definition.body, {**env, **self.parameters(definition.left.args, e.args, env)})
        return self.read(definition.unfold(*e.args), env)

    def parameters(self, names, values, env):
        """{t: 3} for δ[t] met as δ[3], or for A(s[t], a[t]) met as A(s[3], a[3])."""
        out = {}
        if len(names) != len(values):
            raise IllFormed(f"{len(names)} arguments are needed, not {len(values)}: {', '.join(map(text, values))}")
        for name, value in zip(names, values, strict=True):
            if isinstance(name, sp.Indexed):
                if not isinstance(value, sp.Indexed) or value.base != name.base:
                    raise IllFormed(f"the definition speaks of {text(name)}, not of {text(value)}")
                name, value = name.indices[0], value.indices[0]
            number = self.whole(value, env)
            if out.setdefault(name, number) != number:
                raise IllFormed(f"{text(name)} would be two things: {number} and {out[name]}")
        return out

    @read.register
    def _(self, e: L.At, env):
        body, x, value = e.args
        return self.read(body, {**env, x: self.read(value, env)})

    def recursion(self, definition, e, env):
        steps = self.whole(e.args[0], env)
        if steps < 0:
            raise IllFormed(f"{text(e)}: the number of steps left is negative")
        here = dict(zip(definition.left.args, (steps, *(self.read(x, env) for x in e.args[1:])), strict=True))
        return self.read(definition.body if steps else definition.base, {**env, **here})

    # -- gradients -----------------------------------------------------------------------------------
    @read.register
    def _(self, e: L.StopGradient, env):
        return self.tensor(self.read(e.args[0], env)).detach()

    @read.register
    def _(self, e: L.Grad, env):
        body, *component = e.args
        along = component[0] if component else L.θ
        if isinstance(along, sp.Indexed) and along.base not in (L.θ, L.z):
            raise IllFormed(f"the component of a gradient is θ[b] or z[v], not {text(along)}")
        parameters = env.get(along.base if isinstance(along, sp.Indexed) else along)
        if not isinstance(parameters, torch.Tensor) or not parameters.requires_grad:
            raise IllFormed(f"a gradient along {text(along)} needs a tensor that requires one")
        value = self.tensor(self.read(body, env))
        if value.numel() != 1:
            raise IllFormed(f"{text(e)}: a gradient is of one number, not of shape {tuple(value.shape)}")
        gradient = None
        if value.requires_grad:
            gradient, = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
        gradient = torch.zeros_like(parameters) if gradient is None else gradient
        if not isinstance(along, sp.Indexed):
            return gradient
        return self.look_up(gradient, [self.whole(x, env) for x in along.indices], along)

    @read.register
    def _(self, e: L.AtOld, env):
        """θ_old = θ: π_old has the values of π, and does not move with it."""
        now = env.get(L.π)
        if now is None:
            raise IllFormed(f"{text(e)}: π has no values here")
        old = now.detach() if isinstance(now, torch.Tensor) else lambda *args: now(*args).detach()
        return self.read(e.args[0], {**env, L.π_old: old})
