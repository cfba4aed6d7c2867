"""The first reader: the value of a tree on a finite MDP whose every number is a symbol. Level F (or R at a point).

What is enumerated here is the *process*: draw s_0, then again and again a_t and s_{t+1}. Everything else that
the book writes about it (the product formula of P(τ | θ), J, Q, V, A, every estimator) is a tree read on
top of the enumeration, so the formula for P(τ | θ) is a claim about the process and not a convention.
"""
import math
from collections import namedtuple
from functools import singledispatchmethod

import sympy as sp

from . import language as L
from .carriers import Node, Symbolic
from .definitions import STANDARD
from .errors import IllFormed
from .language import speaks_of_path

Path = namedtuple("Path", "nodes start probability whole", defaults=(False,))   # (s_u, ..., s_{T+1}), u, P(path | given)

HYPOTHESES = ("policy sums to one", "dynamics sum to one", "start without θ", "dynamics without θ", "rewards without θ")


class FiniteMDP:
    """States 0..S-1, actions 0..A-1, times 0..T, and a tabular softmax policy.

    Generators: ρ_s, P_{sas'}, r_{sas'}, γ, λ, the policy's probabilities p_sa (the last of each row is one minus
    the others), formal logarithms L_sa = log p_sa, and a direction c_sa in the space of the logits.

    `grad` is the derivative along c:   D L_sa = c_sa - Σ_b p_sb c_sb,   D p_sa = p_sa D L_sa.
    An identity for the generic c is an identity for every component of the gradient. And scores of this form are
    *all* the vectors u with Σ_a p_sa u_sa = 0, so a first-order identity that holds here holds for every
    differentiable policy, not only for the softmax.
    """

    def __init__(self, states=2, actions=2, T=1, carrier=Symbolic, definitions=STANDARD, broken=(), **options):
        unknown = set(broken) - set(HYPOTHESES)
        if unknown:
            raise ValueError(f"unknown hypotheses {sorted(unknown)}; known: {HYPOTHESES}")
        self.S, self.A, self.T, self.definitions, self.broken = range(states), range(actions), T, definitions, set(broken)
        self.K = carrier(self._names(), **options)
        self._build()
        self.env = {L.T: T, L.γ: self.K.generator("gamma"), L.λ: self.K.generator("lambda")}
        self._paths, self._memo = {}, {}

    @property
    def level(self):
        return self.K.level

    def describe(self):
        return (f"exact on the MDPs with {len(self.S)} states, {len(self.A)} actions and {self.T + 1} steps, {self.K.says}")

    # -- the numbers ---------------------------------------------------------------------------------
    def _names(self):
        S, A = self.S, self.A
        last = len(S) - ("dynamics sum to one" not in self.broken)
        names = [f"rho{s}" for s in S[:-1]] + [f"P{s}{a}{m}" for s in S for a in A for m in range(last)]
        names += [f"r{s}{a}{m}" for s in S for a in A for m in S] + ["gamma", "lambda", "alpha"]
        names += [f"p{s}{a}" for s in S for a in A] + [f"L{s}{a}" for s in S for a in A] + [f"c{s}{a}" for s in S for a in A]
        names += [f"{stem}{u}{s}" for stem in "bV" for u in range(self.T + 2) for s in S]
        return names + [f"d{x}" for x in names if x[0] in "Pr"]

    def _row(self, stem, size, complete=True):
        """Probabilities stem0, stem1, ...: the last is one minus the others."""
        head = [self._number(f"{stem}{m}") for m in range(size - complete)]
        return head + [self.K.one - sum(head, self.K.zero)] if complete else head

    def _number(self, name):
        """A number of the model; it depends on θ only where a hypothesis is broken."""
        value = self.K.generator(name)
        what = "start" if name.startswith("rho") else {"P": "dynamics", "r": "rewards"}.get(name[0])
        if what and f"{what} without θ" in self.broken:
            return self.K.declare(name, value, self.K.generator("d" + name))
        return value

    def _build(self):
        S, A, K = self.S, self.A, self.K
        sums = "dynamics sum to one" not in self.broken
        self.rho = self._row("rho", len(S))
        self.P = [[self._row(f"P{s}{a}", len(S), sums) for a in A] for s in S]
        self.r = [[[self._number(f"r{s}{a}{m}") for m in S] for a in A] for s in S]
        free = "policy sums to one" in self.broken
        c = [[K.generator(f"c{s}{a}") for a in A] for s in S]
        p = [[K.generator(f"p{s}{a}") for a in A] for s in S]
        if not free:
            for row in p:
                row[-1] = K.one - sum(row[:-1], K.zero)
        mean = [K.zero if free else sum((p[s][a] * c[s][a] for a in A), K.zero) for s in S]
        score = [[c[s][a] - mean[s] for a in A] for s in S]
        kept = A if free else A[:-1]
        for s in S:
            for a in kept:
                p[s][a] = K.declare(f"p{s}{a}", p[s][a], p[s][a] * score[s][a])
            if not free:
                p[s][-1] = K.one - sum(p[s][:-1], K.zero)
        self.pi = p
        self.log_pi = [[K.declare(f"L{s}{a}", K.generator(f"L{s}{a}"), score[s][a]) for a in A] for s in S]
        self.directions = [f"c{s}{a}" for s in S for a in A]

    # -- the process ---------------------------------------------------------------------------------
    def trajectories(self, start=None, time=0, action=None):
        """Every path from `time` on, with its probability (given the state, and the action, where they are given)."""
        key = (start, time, action)
        if key not in self._paths:
            K = self.K
            paths = [((s,), self.rho[s]) for s in self.S] if start is None else [((start,), K.one)]
            for u in range(time, self.T + 1):
                fixed = action is not None and u == time
                paths = [(path + (a, m), (weight if fixed else weight * self.pi[path[-1]][a]) * self.P[path[-1]][a][m])
                         for path, weight in paths for a in ([action] if fixed else self.A) for m in self.S]
            self._paths[key] = [Path(nodes, time, weight, start is None) for nodes, weight in paths]
        return self._paths[key]

    def everywhere(self, path, time):
        """The environments over which a free τ and a free t are "for all"."""
        for tau in self.trajectories() if path else [None]:
            for u in range(self.T + 1) if time else [None]:
                yield {**self.env, **({L.τ: tau} if path else {}), **({L.t: u} if time else {})}

    # -- reading a tree ------------------------------------------------------------------------------
    def __call__(self, expr):
        return self.read(sp.sympify(expr), dict(self.env))

    @singledispatchmethod
    def read(self, e, env):
        raise IllFormed(f"{type(e).__name__} has no meaning on an MDP: {e}")

    @read.register
    def _(self, e: sp.Integer, env):
        return int(e)

    @read.register
    def _(self, e: sp.Rational, env):
        return self.K.constant(e)

    @read.register
    def _(self, e: sp.Symbol, env):
        return env[e] if e in env else self.K.generator(e.name)

    @read.register
    def _(self, e: sp.Add, env):
        first, *rest = (self.read(x, env) for x in e.args)
        return sum(rest, first)

    @read.register
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

    @read.register
    def _(self, e: sp.Pow, env):
        power = self.read(e.exp, env)
        if not isinstance(power, int):
            raise IllFormed(f"the exponent of {e} is not a whole number")
        base = self.read(e.base, env)
        return base ** power if power >= 0 else self.K.divide(self.K.one, base ** -power)

    def _range(self, limits, env):
        low, high = (self.read(bound, env) for bound in limits[1:])
        if not isinstance(low, int) or not isinstance(high, int):
            raise IllFormed(f"the bounds of {limits[0]} are not whole numbers")
        return limits[0], range(low, high + 1)

    @read.register
    def _(self, e: sp.Sum, env):
        body, *inner, limits = e.args                  # sympy writes the outermost sum last
        body = sp.Sum(body, *inner) if inner else body
        x, values = self._range(limits, env)
        return sum((self.read(body, {**env, x: v}) for v in values), self.K.zero)

    @read.register
    def _(self, e: sp.Product, env):
        body, *inner, limits = e.args
        body = sp.Product(body, *inner) if inner else body
        x, values = self._range(limits, env)
        return math.prod((self.read(body, {**env, x: v}) for v in values), start=self.K.one)

    @read.register
    def _(self, e: L.Over, env):
        body, x = e.args
        if x == L.τ:
            return sum((self.read(body, {**env, L.τ: tau}) * self.K.one for tau in self.trajectories()), self.K.zero)
        values = {"a": self.A, "b": self.A, "s": self.S, "s'": self.S}.get(x.name)
        if values is None:
            raise IllFormed(f"{x} is no action and no state")
        return sum((self.read(body, {**env, x: v}) * self.K.one for v in values), self.K.zero)

    @read.register
    def _(self, e: L.Under, env):
        body, law = e.args
        return self.read(L.Over(law * body, law.args[0]), env)

    @read.register
    def _(self, e: L.Expect, env):
        body, *given = e.args
        start, time, action = self._condition(given, env)
        paths = self.trajectories(start, time, action)
        return sum((tau.probability * self.read(body, {**env, L.τ: tau}) for tau in paths), self.K.zero)

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

    @read.register
    def _(self, e: L.Variance, env):
        body, *given = e.args
        mean = self.read(L.Expect(body, *given), env)
        return self.read(L.Expect(body**2, *given), env) - mean ** 2

    @read.register
    def _(self, e: L.Grad, env):
        if len(e.args) > 1:
            raise IllFormed("components of a gradient are for one-state claims: here `grad` is along a generic direction")
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

    @read.register
    def _(self, e: L.SquaredNorm, env):
        if not isinstance(e.args[0].args[0], L.J | L.Expect):
            raise IllFormed("norm2 is for the gradient of an expectation, such as grad(J(θ))")
        along = self.read(e.args[0], env)
        return sum((x**2 for x in self.K.partials(along, self.directions)), self.K.zero)

    @read.register
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

    @read.register
    def _(self, e: sp.Indexed, env):
        if L.τ not in env or e.base not in (L.s, L.a, L.r) or len(e.indices) != 1:
            raise IllFormed(f"{e} speaks of no trajectory")
        nodes, start = env[L.τ][:2]
        time = self.read(e.indices[0], env)
        at = 2 * (time - start) if isinstance(time, int) else -1
        if at < 0 or at + (e.base != L.s) + (e.base == L.r) >= len(nodes):
            raise IllFormed(f"{e} at {time} is off the trajectory")
        if e.base == L.s:
            return Node(nodes[at], time)
        if e.base == L.a:
            return Node(nodes[at + 1], time)
        return self.r[nodes[at]][nodes[at + 1]][nodes[at + 2]]

    @read.register
    def _(self, e: sp.log, env):
        x = e.args[0]
        if isinstance(x, L.π):
            action, state = self._places(x, env)
            return self.log_pi[state][action]
        raise IllFormed(f"log of {x} has no value of its own here; under `grad` it has")

    # -- named functions -----------------------------------------------------------------------------
    def _places(self, e, env):
        if (x := L.misplaced(e)) is not None:
            raise IllFormed(f"{e}: {x} is a state where an action belongs, or the other way round")
        out = [self.read(x, env) for x in e.args]
        return [x.at if isinstance(x, Node) else x for x in out]

    @read.register
    def _(self, e: L.Head, env):
        kind = type(e)
        if kind is L.P:
            tau = self.read(e.args[0], env)
            if not isinstance(tau, Path) or not tau.whole:
                raise IllFormed(f"{e}: the rest of a trajectory, given where it is, has no P(τ | θ)")
            return tau.probability
        if kind is L.π:
            action, state = self._places(e, env)
            return self.pi[state][action]
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
        if kind is L.J and e.args[0] not in (L.θ, L.θ[L.k]) or kind is L.R and e.args[0] != L.τ:
            raise IllFormed(f"{e} is not defined: J speaks of θ, or of θ_k; R speaks of τ")
        if kind in self.definitions:
            return self._unfolded(self.definitions[kind], e, env)
        raise IllFormed(f"{kind.__name__} has no meaning on an MDP")

    def _unfolded(self, definition, e, env):
        """Read the definition of a head, with its parameters bound to the values of the arguments."""
        if definition.base is not None:
            return self._recursion(definition, e, env)
        if not any(isinstance(x, sp.Indexed) for x in definition.left.args):
            return self.read(definition.unfold(*e.args), env)
        nodes = [self.read(x, env) for x in e.args]
        if not isinstance(nodes[0], Node):
            raise IllFormed(f"{e}: the first argument must be s[t]")
        places = tuple(x.at if isinstance(x, Node) else x for x in nodes)
        key = (definition.head, nodes[0].time, places)
        if key not in self._memo:
            here = {**self.env, L.t: nodes[0].time, L.τ: Path(places, nodes[0].time, None)}
            self._memo[key] = self.read(definition.body, here)
        return self._memo[key]


    def _recursion(self, definition, e, env):
        """A function of the number of steps left and of a state: its value at 0, or its body."""
        steps, state = self._places(e, env)
        if not isinstance(steps, int) or not 0 <= steps < env.get(L.h, steps + 1):   # inside a definition: fewer than there
            raise IllFormed(f"{e}: the number of steps left is no whole number >= 0, or does not get smaller")
        key = (definition.head, steps, state)
        if key not in self._memo:
            here = {**self.env, L.h: steps, definition.left.args[1]: state}
            self._memo[key] = self.read(definition.body if steps else definition.base, here) * self.K.one
        return self._memo[key]


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
            world = todo.pop(0)
            try:
                for env in world.everywhere(path, time):
                    difference = world.K.difference(world.read(lhs, dict(env)), world.read(rhs, dict(env)))
                    if difference != 0:
                        return difference
            except NotImplementedError:
                if not todo:
                    raise
                todo += [other for other in self.instead if other not in todo]
        return 0
