"""The first reader: the value of a tree on a finite MDP whose every number is a symbol. Level F (or R at a point).

What is enumerated here is the *process*: draw s_0, then again and again a_t and s_{t+1}. Everything else that
the book writes about it (the product formula of P(τ | θ), J, Q, V, A, every estimator) is a tree read on
top of the enumeration, so the formula for P(τ | θ) is a claim about the process and not a convention.
"""
import math
from dataclasses import replace
from functools import singledispatchmethod

import sympy as sp

from . import advantages as K
from . import language as L
from . import ratios as W
from .carriers import Node
from .errors import IllFormed
from .language import speaks_of_path
from .names import Names
from .process import HYPOTHESES, Path

__all__ = ["HYPOTHESES", "FiniteMDP", "On"]

ON_PATH = {L.s: 0, L.a: 1, L.r: 2}                     # how many places after s_t on the path it is known


class FiniteMDP(Names):
    """The value of a tree on the MDPs of one size."""

    # -- reading a tree ------------------------------------------------------------------------------
    def __call__(self, expr):
        expr = sp.sympify(expr)
        world = self.able(expr)
        return world.read(expr, dict(world.env))

    def difference(self, lhs, rhs, env):
        """0 if the two sides are equal, else what is left. Var[X] = E[X²] - E[X]², and equal means cancel before they are
        squared: their squares are long."""
        rest, means = [self.K.zero, self.K.zero], []
        for side, tree in enumerate((lhs, rhs)):
            for term in sp.Add.make_args(tree):
                c, x = term.as_coeff_Mul()
                if isinstance(x, L.Variance):
                    means.append([-c if side == 0 else c, self.read(L.Expect(*x.args), dict(env)) * self.K.one])
                    x = L.Expect(x.args[0]**2, *x.args[1:])
                rest[side] = rest[side] + self.read(c, env) * self.read(x, dict(env))
        left = []
        for c, mean in means:
            same = next((y for y in left if y[1] == mean), None)
            if same is None:
                left.append([c, mean])
            else:
                same[0] += c
        squares = sum((self.read(c, env) * mean**2 for c, mean in left if c != 0), self.K.zero)
        return self.K.difference(rest[0] + squares, rest[1])

    def read(self, e, env):
        return rule_of(type(e))(self, e, env)

    @singledispatchmethod
    def rule(self, e, env):
        raise IllFormed(f"{type(e).__name__} has no meaning on an MDP: {e}")

    @rule.register
    def _(self, e: sp.Integer, env):
        return int(e)

    @rule.register
    def _(self, e: sp.Rational, env):
        return self.K.constant(e)

    @rule.register
    def _(self, e: sp.Symbol, env):
        return env[e] if e in env else self.K.generator(e.name)

    @rule.register
    def _(self, e: sp.Add, env):
        first, *rest = (self.read(x, env) for x in e.args)
        return sum(rest, first)

    @rule.register
    def _(self, e: sp.Mul, env):
        out, below = 1, []
        for x in e.args:
            if x.is_Pow and x.exp.could_extract_minus_sign():
                below.append(1 / x)
            else:
                out = out * self.read(x, env)
        for x in below:
            out = self.K.divide(out, self.read(x, env))
        return out

    @rule.register
    def _(self, e: sp.Pow, env):
        power = self.read(e.exp, env)
        if not isinstance(power, int):
            raise IllFormed(f"the exponent of {e} is not a whole number")
        base = self.read(e.base, env)
        if power == 0:
            return 0 * base + 1                        # also 0^0
        return base ** power if power > 0 else self.K.divide(self.K.one, base ** -power)

    def _range(self, limits, env):
        low, high = (self.read(bound, env) for bound in limits[1:])
        if not isinstance(low, int) or not isinstance(high, int):
            raise IllFormed(f"the bounds of {limits[0]} are not whole numbers")
        return limits[0], range(low, high + 1)

    @rule.register
    def _(self, e: sp.Sum, env):
        body, *inner, limits = e.args                  # sympy writes the outermost sum last
        body = sp.Sum(body, *inner) if inner else body
        x, values = self._range(limits, env)
        return sum((self.read(body, {**env, x: v}) for v in values), self.K.zero)

    @rule.register
    def _(self, e: sp.Product, env):
        body, *inner, limits = e.args
        body = sp.Product(body, *inner) if inner else body
        x, values = self._range(limits, env)
        return math.prod((self.read(body, {**env, x: v}) for v in values), start=self.K.one)

    @rule.register
    def _(self, e: L.Over, env):
        body, x = e.args
        if x == L.τ:
            return sum((self.read(body, {**env, L.τ: tau}) * self.K.one for tau in self.trajectories()), self.K.zero)
        values = {"a": self.A, "b": self.A, "s": self.S, "s'": self.S}.get(x.name)
        if values is None:
            raise IllFormed(f"{x} is no action and no state")
        return sum((self.read(body, {**env, x: v}) * self.K.one for v in values), self.K.zero)

    @rule.register
    def _(self, e: L.Under, env):
        body, law = e.args
        return self.read(L.Over(law * body, law.args[0]), env)

    @rule.register(L.Expect)
    @rule.register(L.ExpectOld)
    def _(self, e, env):
        body, *given = e.args
        place = self._condition(given, env)
        key = (e, *place, *(env.get(x) for x in sorted(body.free_symbols, key=str) if x != L.τ), env[L.γ], env[L.λ])
        if key not in self._memo:
            paths = self.trajectories(*place)
            weights = self._weights(*place) if isinstance(e, L.ExpectOld) else [tau.probability for tau in paths]
            chances = {}                               # of each value that the body has
            for weight, tau in zip(weights, paths, strict=True):
                value = self.read(body, {**env, L.τ: tau}) * self.K.one
                chances[value] = chances.get(value, self.K.zero) + weight
            self._memo[key] = sum((weight * value for value, weight in chances.items()), self.K.zero)
        return self._memo[key]

    def _condition(self, given, env):
        """What an expectation may be given: nothing, s[k], or s[k] and a[k] of one time."""
        if not given:
            return None, 0, None
        wanted = {L.s: None, L.a: None}
        for g in given:
            if not isinstance(g, sp.Indexed) or wanted.get(g.base, self) is not None:
                raise IllFormed(f"an expectation can be given s[t], or s[t] and a[t], each once; not {g}")
            wanted[g.base] = self.read(g, env)
        state, action = wanted[L.s], wanted[L.a]
        if state is None or action is not None and (action.time != state.time or given[0].indices != given[1].indices):
            raise IllFormed("an expectation given a[t] needs s[t] of the same time")
        return state.at, state.time, None if action is None else action.at

    @rule.register
    def _(self, e: L.Variance, env):
        body, *given = e.args
        mean = self.read(L.Expect(body, *given), env)
        return self.read(L.Expect(body**2, *given), env) - mean ** 2

    @rule.register
    def _(self, e: L.Covariance, env):
        one, other = e.args
        both, one, other = (self.read(L.Expect(x), env) for x in (one * other, one, other))
        return both - one * other

    @rule.register
    def _(self, e: L.Grad, env):
        if len(e.args) > 1:
            raise IllFormed("components of a gradient are for one-state claims: here `grad` is along a generic direction")
        if e.args[0].has(L.AtOld):
            raise IllFormed("θ_old = θ is set after differentiating, never before")
        if e.args[0].has(*K.LETTERS_OF_θ, K.wG):
            raise IllFormed(f"how {e.args[0]} changes with θ is not known here")
        if e.args[0].has(L.Grad):
            raise IllFormed("second derivatives differ from one kind of policy to another: use any_size, in one state")
        return self.gradient(e.args[0], env)

    def gradient(self, e, env):
        """D of a tree. Where a logarithm is inside, the rules of linearity, Leibniz and D log X = D X / X; else D in the ring."""
        if not e.has(sp.log):
            return self.K.D(self.read(e, env))
        if isinstance(e, sp.log):
            inner = self.read(e.args[0], env) * self.K.one
            return self.K.divide(self.K.D(inner), inner)
        if e.is_Add:
            return sum((self.gradient(x, env) for x in e.args), self.K.zero)
        if isinstance(e, sp.Sum) and len(e.limits) == 1:
            x, values = self._range(e.limits[0], env)
            return sum((self.gradient(e.function, {**env, x: v}) for v in values), self.K.zero)
        return self.K.D(self.read(e, env))

    @rule.register
    def _(self, e: L.At, env):
        body, x, value = e.args
        if x not in (L.γ, L.λ):
            raise IllFormed(f"the value of an MDP can be taken at a γ or a λ, not at a {x}")
        return self.read(body, {**env, x: self.read(value, env)})

    @rule.register
    def _(self, e: L.SquaredNorm, env):
        if not isinstance(e.args[0].args[0], L.J | L.Expect):
            raise IllFormed("norm2 is for the gradient of an expectation, such as grad(J(θ))")
        along = self.read(e.args[0], env)
        return sum((x**2 for x in self.K.partials(along, self.directions)), self.K.zero)

    @rule.register
    def _(self, e: L.Slope, env):
        """d/dα at 0 of X(θ + α v): the derivative of X along v, by the chain rule."""
        body, step = e.args
        if L.Ascent in self.definitions:
            body = body.xreplace({L.Ascent(): self.definitions[L.Ascent].body})
        shifted = next(iter(body.atoms(L.Shifted)), None)
        if body.xreplace({shifted: L.θ}).has(step) or shifted is not None and shifted.args[2].has(step):
            raise IllFormed(f"{step} outside the length of the step")
        if shifted is None:
            return self.K.zero
        origin, rate, along = shifted.args
        if origin != L.θ[L.k] or rate.xreplace({step: sp.Integer(0)}) != 0:
            raise IllFormed(f"at {step} = 0 a step is at θ_k, not at {origin} + ({rate}) v")
        along = sp.diff(rate, step).xreplace({step: sp.Integer(0)}) * along   # d/dα of α v is v
        partials = self.K.partials(self.K.D(self.read(body.xreplace({shifted: L.θ}), env)), self.directions)
        direction = self.K.partials(self.read(along, env), self.directions)
        return sum((x * y for x, y in zip(partials, direction, strict=True)), self.K.zero)

    @rule.register
    def _(self, e: sp.Indexed, env):
        if e.base in self.definitions:
            return self._once(e.base, lambda: self._at_a_time(self.definitions[e.base], e, env))
        what = ON_PATH.get(e.base)
        if L.τ not in env or what is None or len(e.indices) != 1:
            raise IllFormed(f"{e} speaks of no trajectory")
        nodes, start = env[L.τ][:2]
        time = self.read(e.indices[0], env)
        at = 2 * (time - start) if isinstance(time, int) else -1
        if at < 0 or at + what >= len(nodes):
            raise IllFormed(f"{e} at {time} is off the trajectory")
        if what == 0:
            return Node(nodes[at], time)
        if what == 1:
            return Node(nodes[at + 1], time)
        return self.r[nodes[at]][nodes[at + 1]][nodes[at + 2]]

    @rule.register
    def _(self, e: sp.log, env):
        return self.logarithm(e.args[0], env)

    def logarithm(self, x, env):
        """log of a product of policies: the formal logarithms of its factors."""
        if x.is_Mul:
            return sum((self.logarithm(y, env) for y in x.args), self.K.zero)
        if x.is_Pow:
            return self.read(x.exp, env) * self.logarithm(x.base, env)
        if isinstance(x, sp.Product):
            return self.read(sp.Sum(sp.log(x.function), *x.limits), env)
        if isinstance(x, sp.Indexed) and x.base == L.rθ and x.base in self.definitions:
            return self._at_a_time(replace(self.definitions[L.rθ], body=sp.log(self.definitions[L.rθ].body)), x, env)
        table = {L.π: self.log_pi, L.π_old: self.log_old, L.π_ref: self.log_ref}.get(type(x))
        if table is None:
            raise IllFormed(f"log of {x} has no value of its own here; under `grad` it has")
        action, state = self._places(x, env)
        return table[state][action]

    @rule.register
    def _(self, e: L.AtOld, env):
        return self.at_old(e.args[0], {**env, L.θ_old: True})

    @rule.register
    def _(self, e: L.Clip, env):
        """At θ_old = θ only, and only of what is strictly between the bounds there, and so also a little way off."""
        x, low, high = (self.read(y, env) for y in e.args)
        if L.θ_old not in env or self.sign_at_old(x - low) != 1 or self.sign_at_old(high - x) != 1:
            raise IllFormed(f"{e}: that this is not clipped is known at θ_old = θ only; elsewhere use Cases")
        return x

    @rule.register
    def _(self, e: sp.Min, env):
        """At θ_old = θ only, and only of functions with the same value and the same gradient there."""
        first, *rest = (self.read(x, env) * self.K.one for x in e.args)
        for x in rest:
            if L.θ_old not in env or self.sign_at_old(first - x) != 0 or self.sign_at_old(self.K.D(first - x)) != 0:
                raise IllFormed(f"{e}: which one is smaller is not known here; use Cases")
        return first

    # -- named functions ------------------------------------------------------------------------------
    @rule.register
    def _(self, e: L.Head, env):
        kind = type(e)
        if (x := L.misplaced(e)) is not None:
            raise IllFormed(f"{e}: {x} is a state where an action belongs, or the other way round")
        if kind is L.P:
            tau = self.read(e.args[0], env)
            if not isinstance(tau, Path) or not tau.whole:
                raise IllFormed(f"{e}: the rest of a trajectory, given where it is, has no P(τ | θ)")
            return tau.probability
        if kind is L.π:
            action, state = self._places(e, env)
            return self.pi[state][action]
        if kind in (L.π_old, L.π_ref):
            action, state = self._places(e, env)
            return (self.pi_old if kind is L.π_old else self.pi_ref)[state][action]
        if isinstance(e, W.PathLaw):
            tau = self.read(e.args[0], env)
            if not isinstance(tau, Path) or not tau.whole:
                raise IllFormed(f"{e}: the rest of a trajectory, given where it is, has no probability")
            return self.weight(tau.nodes, self.pi_old if kind is W.P_old else self.pi_ref, self.rho[tau.nodes[0]])
        if kind is L.ρ0:
            return self.rho[self._places(e, env)[0]]
        if kind is L.p:
            after, state, action = self._places(e, env)
            return self.P[state][action][after]
        if kind is L.reward:
            state, action, after = self._places(e, env)
            return self.r[state][action][after]
        if kind in (L.b, L.Vhat):
            node = self.read(e.args[0], env)
            if not isinstance(node, Node):
                raise IllFormed(f"{e}: here a baseline is a function of s[t]")
            return self.K.generator(f"{'b' if kind is L.b else 'V'}{node.time}{node.at}")
        if kind is L.J and e.args[0] not in (L.θ, L.θ[L.k], L.θ_old) or kind in self.definitions and self._other_path(e):
            raise IllFormed(f"{e} is not defined: J speaks of θ, or of θ_k; R speaks of τ")
        if kind is L.b_togo:
            steps, state = self._places(e, env)
            if not isinstance(steps, int) or not 0 < steps <= self.T + 1:
                raise IllFormed(f"{e}: no baseline when {steps} steps are left")
            return self.K.generator(f"b{self.T + 1 - steps}{state}")
        if kind is L.J and e.args[0] == L.θ_old:
            return self.read(L.ExpectOld(L.R(L.τ)), env)
        if isinstance(e, W.OfRatio) and kind in self.definitions:
            return self.read(self.definitions[kind].unfold(*e.args), env)
        if kind in self.definitions:
            return self._once(kind, lambda: self._unfolded(self.definitions[kind], e, env))
        raise IllFormed(f"{kind.__name__} has no meaning on an MDP")


rule_of = vars(FiniteMDP)["rule"].dispatcher.dispatch  # the function that reads nodes of a type


class On:
    """Decide an equation by its value on finite MDPs. Put a random point first: it refutes fast."""

    def __init__(self, *worlds, instead=()):
        """`instead`: small symbolic worlds of other sizes, for what a random point cannot decide (two derivatives, the
        length of a gradient)."""
        if not worlds:
            raise ValueError("On needs at least one world, such as FiniteMDP(2, 2, 1)")
        self.worlds, self.instead = worlds, instead

    @property
    def level(self):
        return self.worlds[-1].level

    @property
    def general(self):
        """Is the equation claimed of every number of states? (Of one state only: a bandit, played T + 1 times.)"""
        return any(len(world.S) > 1 for world in self.worlds)

    def describe(self):
        sizes = " and ".join(f"{len(w.S)} states, {len(w.A)} actions and {w.T + 1} steps" for w in self.worlds[:-1])
        return self.worlds[-1].describe() + (f"; also at random points with {sizes}" if sizes else "")

    def __call__(self, lhs, rhs):
        """0, or the difference: at every time if t is free, on every trajectory if one is spoken of."""
        lhs, rhs = sp.sympify(lhs), sp.sympify(rhs)
        path = speaks_of_path(lhs) or speaks_of_path(rhs)
        time = L.t in lhs.free_symbols | rhs.free_symbols
        todo = list(self.worlds)
        while todo:
            world = todo.pop(0).able(lhs, rhs)
            try:
                for env in world.everywhere(path, time):
                    difference = world.difference(lhs, rhs, env)
                    if difference != 0:
                        return difference
            except NotImplementedError:
                if not todo:
                    raise
                todo += [other for other in self.instead if other not in todo]
        return 0
