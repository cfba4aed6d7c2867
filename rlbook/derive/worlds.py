"""Random worlds for the floating-point reader: an MDP, finite sets, data sets, and a table for every free function."""
import itertools

import numpy as np
import sympy as sp

from . import language as L
from . import ratios as W
from .definitions import STANDARD
from .errors import IllFormed
from .jets import Jet, noise, table
from .numeric import Place, Reader, counts_samples
from .terms import actions

SETS, OUTCOMES, TOLERANCE = ("a", "b", "s", "s'", "x", "o", "q"), 4, 1e-9


class World(Reader):
    """Random numbers for every symbol: an MDP with a softmax policy, finite sets, samples, and tables for free functions."""

    def __init__(self, seed=0, states=2, actions=3, T=2, samples=3, definitions=STANDARD, variable=(), zero=(), bend=False):
        self.bend = bend                               # logits that are no linear function of θ: any smooth family of laws
        self.seed, self.S, self.A, self.T, self.samples, self.definitions = seed, states, actions, T, samples, definitions
        self.variable = dict(variable)
        self.gradients = {g: h for h, g in self.variable.items() if isinstance(g, type)}
        self.zero = set(map(sp.sympify, zero))
        steps = [range(states)] + [range(actions), range(states)] * (T + 1)
        self.paths = np.array(list(itertools.product(*steps)))
        self.count = len(self.paths)
        self.rewards = table((states, actions, states), seed, "reward")
        self.start = self.softmax(Jet(table((1, states), seed, "rho")))
        self.dynamics = self.softmax(Jet(table((1, states, actions, states), seed, "P")))
        self._laws, self._chances, self._memo, self._digits = {}, {}, {}, None

    def domain(self, x):
        sizes = {"a": self.A, "b": self.A, "o": self.A, "s": self.S, "s'": self.S, "q": self.S, "x": OUTCOMES}
        letter = x.name.rstrip("0123456789")
        if letter not in sizes:
            raise IllFormed(f"{x} ranges over no set")
        return range(sizes[letter])

    def _Symbol(self, e, env):
        return Jet.of(self.A) if e == actions else super()._Symbol(e, env)

    # -- probabilities -------------------------------------------------------------------------------
    @staticmethod
    def softmax(logits):
        """Rows of probabilities along the last axis."""
        weights = logits.exp()
        return weights * Jet(weights.c.sum(axis=-1, keepdims=True)).inverse()

    def _direction(self, way, name, shape):
        """How one `grad` moves the logits of a law."""
        kind, number = way
        if kind == "generic":
            return table(shape, self.seed, "direction", name)
        out = np.zeros(shape)
        if kind == "component":
            out[..., number] = 1
        elif name == "pi" and number < out.size:       # one logit of the tabular policy
            out.flat[number] = 1
        return out

    def law(self, name, shape, moves, shift=None):
        """The probabilities of a law that depends on θ, with every infinitesimal of `moves`."""
        key = name, shape, moves
        if shift is None and key in self._laws:
            return self._laws[key]
        logits = Jet(table((1, *shape), self.seed, "logits", name))
        for k, way in enumerate(moves):
            if way != "nothing":
                step = np.zeros((2**(k + 1), *shape))
                step[2**k] = self._direction(way, name, shape)
                logits = logits + Jet(step)
        for pair in itertools.combinations(range(len(moves)), 2) if self.bend else ():
            if all(moves[k][0] == "generic" for k in pair):
                step = np.zeros((2**(pair[1] + 1), *shape))
                step[2**pair[0] + 2**pair[1]] = table(shape, self.seed, "bend", name)
                logits = logits + Jet(step)
        if shift is not None and name == "pi":
            return self.softmax(logits + Jet(shift.c.reshape(-1, *shape)))
        out = self.softmax(logits)
        if shift is None:
            self._laws[key] = out
        return out

    def chances(self, env, law=L.π):
        """The probability of every trajectory, by multiplying along the way."""
        name, moves, shift = self._which(law, env)
        key = name, moves
        if shift is None and key in self._chances:
            return self._chances[key]
        policy = self.law(name, (self.S, self.A), moves, shift)
        out = Jet(self.start.c[:, self.paths[:, 0]])
        for at in range(0, 2 * self.T + 1, 2):
            state, action, after = self.paths[:, at:at + 3].T
            out = out * Jet(policy.c[:, state, action]) * Jet(self.dynamics.c[:, state, action, after])
        if shift is None:
            self._chances[key] = out
        return out

    # -- expectations --------------------------------------------------------------------------------
    def _ExpectOld(self, e, env):
        body, *given = e.args
        if body.has(L.SampleSum, L.Estimate):
            raise IllFormed("a data set is drawn from π_θ")
        return self._mean(body, given, self.chances(env, L.π_old), env)

    def _Expect(self, e, env):
        body, *given = e.args
        letters = body.free_symbols | {x.args[0] for y in body.atoms(sp.Sum) for x in y.limits}
        if any(map(counts_samples, letters)) or body.has(L.SampleSum, L.Estimate):
            if given:
                raise IllFormed("a condition on a data set")
            return self._over_data(body, env)
        return self._mean(body, given, self.chances(env), env)

    def _mean(self, body, given, weight, env):
        """Over all trajectories, or over those that agree with what is given."""
        value = self.read(body, {**env, "path": "all"}) * weight
        if not given:
            return (value * Jet(np.ones((1, self.count)))).sum()
        label, here = np.zeros(self.count, int), {**env, "path": "all"}
        wanted = np.zeros(self.count, int)
        for g in given:
            inner, outer = self.read(g, here), self.read(g, env)
            if not isinstance(inner, Place) or not isinstance(outer, Place):
                raise IllFormed(f"an expectation given {g}")
            label, wanted = 100 * label + inner.at, 100 * wanted + outer.at
        means = {}
        for x in np.unique(wanted):
            chosen = np.flatnonzero(label == x)
            if not len(chosen):
                raise IllFormed("a condition that cannot happen")
            means[x] = (value.take(chosen) * Jet(np.ones((1, len(chosen))))).sum() * weight.take(chosen).sum().inverse()
        size = max(len(x.c) for x in means.values())
        return Jet(np.stack([means[x].padded(size)[:, 0] for x in wanted], axis=1))

    def _over_data(self, body, env):
        """Over all data sets of N trajectories, each with the product of their probabilities."""
        if self._digits is None:
            self._digits = np.array(list(itertools.product(range(self.count), repeat=self.samples))).T
        digits, weight = self._digits, Jet.of(1)
        for digit in digits:
            weight = weight * self.chances(env).take(digit)
        value = self.read(body, {**env, "data": digits, "path": None})
        return (value * weight).sum()

    def _SampleSum(self, e, env):
        if env.get("data") is None:
            raise IllFormed("a sum over a data set outside an expectation")
        inside = self.read(e.args[0], {**env, "data": None, "path": "all"})
        return sum((inside.take(digit) for digit in env["data"]), Jet.of(0))

    def attribute(self, label):
        """The value of an attribute of a sample on every trajectory."""
        out = table((self.count,), self.seed, "attribute", str(label))
        if sp.Symbol(str(label)) in self.zero:
            out = out - (out * self.chances({"moves": ()}).value).sum()
        return Jet(out[None])

    def _Moment(self, e, env):
        body = e.args[0]
        own = {x: self.attribute(x) for x in body.free_symbols if x != L.τ and x not in (L.γ, L.T, L.t)}
        if body.has(sp.Indexed, L.Head):
            return self._Expect(L.Expect(body), env)
        return (self.read(body, {**env, **own}) * self.chances(env)).sum()

    # -- what happened -------------------------------------------------------------------------------
    def _Indexed(self, e, env):
        if len(e.indices) != 1 or e.base not in (L.s, L.a, L.r) or counts_samples(e.indices[0]):
            if e.base in self.definitions and len(e.indices) == 1 and not counts_samples(e.indices[0]):
                return self.read(self.definitions[e.base].body, {**env, L.t: self.integer(e.indices[0], env)})
            return self._tabulated(e, env)
        if env.get("path") is None:
            raise IllFormed(f"{e} speaks of no trajectory")
        time = self.integer(e.indices[0], env)
        at = 2 * time + (e.base == L.a)
        if time < 0 or at + 2 * (e.base == L.r) > 2 * self.T + 2:
            raise IllFormed(f"{e} is off the trajectory")
        if e.base != L.r:
            return Place(self.paths[:, at], time)
        state, action, after = self.paths[:, at:at + 3].T
        return Jet(self.rewards[state, action, after][None])

    def _tabulated(self, e, env):
        """An indexed quantity of its own: an attribute of sample i, or a number for each index."""
        where = [self.index(x, env) for x in e.indices]
        if env.get("data") is not None:
            return self.attribute(e.base.label).take(env["data"][where[0] - 1]) if 1 <= where[0] <= self.samples else self._off(e)
        return Jet.of(noise(self.seed, str(e.base), *where))

    @staticmethod
    def _off(e):
        raise IllFormed(f"{e}: there is no such sample")

    # -- named functions -----------------------------------------------------------------------------
    def _Head(self, e, env):
        kind, name = type(e), type(e).__name__
        if kind is L.P:
            return self.chances(env) if e.args == (L.τ,) and env.get("path") else self._off(e)
        if isinstance(e, W.PathLaw):
            return self.chances(env, kind.policy) if e.args == (L.τ,) and env.get("path") else self._off(e)
        if isinstance(e, W.OfRatio) and kind in self.definitions:
            return self.read(self.definitions[kind].unfold(*e.args), env)
        if kind is L.J and isinstance(e.args[0], L.Ascent | L.Shifted):
            return self._moved(e, env)
        if issubclass(kind, L.Trained) or kind in (L.π_old, L.π_ref):
            return self._policy(e, env)
        if kind in (L.ρ0, L.p, L.reward):
            places = [self.index(x, env) for x in e.args]
            if kind is L.reward:
                return self._column(self.rewards[None], places)
            return self._column(self.start.c if kind is L.ρ0 else self.dynamics.c, places[1:] + places[:1])
        if kind in self.definitions and self._is_defined(e, env):
            return self._definition(self.definitions[kind], e, env)
        return self._free_function(name, e, env)

    @staticmethod
    def _column(array, places):
        try:
            return Jet(array[(slice(None), *places)].reshape(len(array), -1))
        except IndexError:
            raise IllFormed("a state where an action belongs, or the other way round") from None

    def _policy(self, e, env):
        places = [self.index(x, env) for x in e.args]
        if len(places) > 2:
            raise IllFormed(f"{e}: a policy has an action and a state")
        own = OUTCOMES if isinstance(e, L.q) else self.A
        shape = (self.S, own) if len(places) == 2 else (own,)
        return self._column(self.law(*self._which(type(e), env, shape)).c, places[1:] + places[:1])

    @staticmethod
    def _which(law, env, *shape):
        """The name of a law's logits, what moves them, and their shift."""
        name, moves, shift = law.__name__, env["moves"], env.get("shift")
        if law in (L.π_old, L.π_ref):
            moves, shift = (), None
            if law is L.π_old and "old" in env:
                name, moves, shift = "pi", env["moves"][:env["old"]], env.get("shift")
        return name, *shape, moves, shift

    def _moved(self, e, env):
        """J at θ + rate · direction: every logit moved by its component."""
        where = e.args[0]
        if isinstance(where, L.Ascent):
            where = self.definitions[L.Ascent].body
        origin, rate, along = where.args
        if origin != L.θ[L.k]:
            raise IllFormed(f"a step starts at θ_k, not at {origin}")
        still = {**env, "shift": None}
        components = [x * self.read(rate, env) for x in self.components(along, still)]
        size = max(len(x.c) for x in components)
        shift = Jet(np.stack([x.padded(size)[:, 0] for x in components], axis=1))
        return self.read(L.J(L.θ), {**env, "shift": shift})

    def _is_defined(self, e, env):
        """A definition is unfolded where its arguments are what it speaks of; elsewhere the head is any function."""
        first = self.definitions[type(e)].left.args[:1]
        anywhere = isinstance(e, L.ToGo | L.J) or not first or not isinstance(first[0], sp.Indexed)
        return anywhere or isinstance(e.args[0], sp.Indexed)

    def _definition(self, definition, e, env):
        if isinstance(e, L.ToGo):
            return self._recursion(definition, e, env)
        if isinstance(e, L.J) and e.args[0] == L.θ_old:
            return self.read(L.ExpectOld(definition.body.args[0]), env)
        if isinstance(e, L.J) and e.args[0] not in (L.θ, L.θ[L.k]) or definition.left.args == (L.τ,) != e.args:
            raise IllFormed(f"{e} is not defined")
        names = definition.left.args
        if not any(isinstance(x, sp.Indexed) for x in names):
            own = {x: self.integer(y, env) if x.is_integer else Place(self.index(y, env))
                   for x, y in zip(names, e.args, strict=True) if x.is_Symbol and x != L.τ}
            return self.read(definition.body, {**env, **own})
        first = self.read(e.args[0], env)
        if not isinstance(first, Place) or first.time is None:
            raise IllFormed(f"{e}: the first argument is no s[t]")
        if first.time > self.T and type(e) in (L.Q, L.A, L.Q_old, L.A_old):
            return Jet.of(0)                           # after the last step nothing is left to come
        value, example = self._everywhere(definition, first.time, env)
        wanted = self._label([self.index(x, env) for x in e.args])
        return value.take(np.array([example[x] for x in wanted]))

    def _everywhere(self, definition, time, env):
        """The value of a definition on every trajectory at one time, and a trajectory for each value of its arguments."""
        key = definition.head, time, env["moves"], env["way"], env.get("old"), env.get(L.γ), env.get(L.λ)
        if key in self._memo:
            return self._memo[key]
        here = {**env, L.t: time, "path": "all"}
        label = self._label([self.index(x, here) for x in definition.left.args])
        out = self.read(definition.body, here), {x: at for at, x in enumerate(label)}
        if env.get("shift") is None:
            self._memo[key] = out
        return out

    @staticmethod
    def _label(indices):
        """One number for each combination of indices."""
        return np.atleast_1d(sum(np.asarray(x) * 100**k for k, x in enumerate(indices)))

    def _recursion(self, definition, e, env):
        steps, *places = self.integer(e.args[0], env), *(self.index(x, env) for x in e.args[1:])
        names = definition.left.args[1:]
        if steps < 0:
            raise IllFormed(f"{e}: a negative number of steps")
        if not all(map(np.isscalar, places)):
            at = [dict(zip(names, map(Place, map(int, x)), strict=True)) for x in zip(*np.broadcast_arrays(*places), strict=True)]
            parts = [self._recursion(definition, type(e)(steps, *names), {**env, **x}) for x in at]
            return Jet(np.concatenate([x.padded(max(len(y.c) for y in parts)) for x in parts], axis=1))
        key = type(e), steps, *map(int, places), env["moves"], env["way"], env.get("old"), env.get(L.γ), env.get(L.λ)
        if key in self._memo:
            return self._memo[key]
        here = {**env, L.h: steps, **dict(zip(names, map(Place, map(int, places)), strict=True))}
        value = self.read(definition.body if steps else definition.base, here)
        if env.get("shift") is None:
            self._memo[key] = value
        return value

    def _free_function(self, name, e, env):
        """Any function of its arguments: a random table, with random derivatives where it depends on θ."""
        places = [self.read(x, env) if isinstance(x, sp.Indexed) else env.get(x) for x in e.args]
        when = [x.time for x in places if isinstance(x, Place)]
        wanted = np.broadcast_arrays(*[np.atleast_1d(self.index(x, env)) for x in e.args]) if e.args else [np.zeros(1)]
        kind = type(e)
        moving = kind in self.variable
        stem, depth = (self.gradients[kind].__name__, 1) if kind in self.gradients else (name, 0)
        size = 2**len(env["moves"]) if moving else 1
        rows = [[noise(self.seed, stem, when, *map(int, x), bin(mask).count("1") + depth) for x in zip(*wanted, strict=True)]
                for mask in range(size)]
        return Jet(np.array(rows))

    # -- an equation ---------------------------------------------------------------------------------
    def environments(self, *sides):
        """The values over which the free symbols of an equation are "for every"."""
        free = set().union(*(x.free_symbols for x in sides))
        ranges = {L.t: range(self.T + 1), L.h: range(4), L.i: range(1, self.samples + 1), L.j: range(1, self.samples + 1)}
        for letter in sorted(free, key=str):
            if isinstance(letter, sp.Symbol) and letter.name.rstrip("0123456789") in SETS and not letter.is_integer:
                ranges[letter] = [Place(v) for v in self.domain(letter)]
        letters = [x for x in ranges if x in free]
        combinations = list(itertools.product(*[ranges[x] for x in letters]))
        if len(combinations) > 12:                     # spread over all of them
            combinations = combinations[::max(1, len(combinations) // 11 | 1)]
        for values in combinations:
            yield {**dict(zip(letters, values, strict=True)), "moves": (), "way": ("generic", 0), "path": "all"}


def equal(lhs, rhs, worlds):
    """Do the two sides agree in every world?"""
    return all(world.gap(lhs, rhs) < TOLERANCE for world in worlds)
