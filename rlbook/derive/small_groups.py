"""Small groups, every one of them: the value of a tree by enumeration, which no rule of `rewards` enters.

A prompt has three possible completions, each with a probability, a reward, a score and a length. A mean over groups is a
sum over all groups, each with its probability; ∇ of a function of p is its derivative times ∇p. Inside a mean 1/X is 0
where X is.
"""
import itertools
import math
import random

import sympy as sp

from . import advantages as K
from . import language as L
from .algebra import Counterexample
from .below import Below
from .errors import IllFormed
from .grpo import length
from .plain import text

COMPLETIONS, TOLERANCE = 3, 1e-9
LEAST = 1e-12                                          # below that a number is 0: the deviation of equal rewards


class SmallGroups:
    """Groups of one size, with random numbers for what a completion has. `exact`: arithmetic of sympy."""

    def __init__(self, by, size=2, seed=0, exact=False):
        self.by, self.size, self.exact, draw = by, by.size or size, exact, random.Random(seed)
        weights = [draw.uniform(0.2, 1) for _ in range(COMPLETIONS)]
        self.chance = [x / sum(weights) for x in weights]
        self.reward = [1.0, 0.0, 1.0] if by.binary else [draw.uniform(-1, 1) for _ in range(COMPLETIONS)]
        scores = [draw.uniform(-1, 1) for _ in range(COMPLETIONS)]
        centre = sum(x * y for x, y in zip(self.chance, scores, strict=True))
        self.score = [x - centre for x in scores]
        self.tokens = [float(x) for x in draw.sample(range(1, 9), COMPLETIONS)]
        self.rate = sum(x * y for x, y in zip(self.chance, self.reward, strict=True))
        self.slope = sum(x * y * z for x, y, z in zip(self.chance, self.reward, self.score, strict=True))
        self.seed, self.letters, self.means = seed, {}, {}

    # -- two sides -----------------------------------------------------------------------------------
    def gap(self, lhs, rhs):
        """The largest difference of the two sides, relative to their size; NaN where they never have a value."""
        sides, worst = [self.by.written_out(sp.sympify(x)) for x in (lhs, rhs)], math.nan
        for env in self.environments(*sides):
            try:
                x, y = (float(self.value(side, env)) for side in sides)
            except (ZeroDivisionError, TypeError):     # (a root of a negative number is complex)
                continue
            gap = abs(x - y) / (1 + abs(x) + abs(y))
            worst = gap if worst != worst else max(worst, gap)
        return worst

    def environments(self, *sides):
        """Every place for a free i and j, and some rewards of the group that is spoken of."""
        free = [x for x in (L.i, L.j) if any(x in side.free_symbols for side in sides)]
        draw = random.Random(self.seed)
        for places in itertools.product(range(1, self.size + 1), repeat=len(free)):
            for _ in range(4):
                chosen = [draw.randrange(COMPLETIONS) for _ in range(self.size)]
                mixed = {L.r: [self.reward[x] for x in chosen] if self.by.binary else [draw.uniform(-2, 2) for _ in chosen]}
                yield {**mixed, **self.others(chosen), **dict(zip(free, places, strict=True))}

    def others(self, chosen):
        return {K.uo: [self.score[x] for x in chosen], length: [self.tokens[x] for x in chosen]}

    # -- the value of a tree -------------------------------------------------------------------------
    def number(self, x):
        return x if self.exact else float(x)

    def value(self, e, env):
        if e in env:
            return env[e]
        if e.is_Number:
            return self.number(e)
        if e.is_Symbol:
            return self.symbol(e)
        if e.is_Add:
            return sum(self.value(x, env) for x in e.args)
        if e.is_Mul:
            return math.prod(self.value(x, env) for x in e.args)
        if e.is_Pow:
            return self.power(self.value(e.base, env), self.value(e.exp, env), env)
        if isinstance(e, sp.Sum):
            return self.sum(e, env)
        if isinstance(e, sp.Indexed | length):
            return self.at(e, env)
        if isinstance(e, K.OverCompletions):
            return self.mean(e.args[0], env)
        if isinstance(e, Below):
            below = self.value(e.args[0], env)
            return below * 0 if abs(below) < LEAST else 1 / below
        if isinstance(e, L.Grad):
            return self.value(sp.diff(e.args[0], K.rate), env) * self.slope
        if isinstance(e, sp.KroneckerDelta):
            x, y = (self.whole(x, env) for x in e.args)
            return self.number(sp.Integer(x == y))
        if isinstance(e, sp.Function):                 # binomial coefficients, logarithms, arcsin
            args = [self.value(x, env) for x in e.args]
            return self.number(e.func(*[sp.Integer(round(x)) for x in args] if isinstance(e, sp.binomial) else args))
        raise IllFormed(f"{text(e)} has no value for a small group")

    def symbol(self, e):
        if e == L.G:
            return self.number(sp.Integer(self.size))
        if e == K.rate and self.by.p is not None:
            return self.rate
        if e not in self.letters:
            draw = random.Random(f"{self.seed} {e}")
            self.letters[e] = draw.uniform(0.2, 0.9) * (1 if e.is_positive else draw.choice((-1, 1)))
        return self.letters[e]

    @staticmethod
    def power(base, exponent, env):
        if base == 0 and exponent < 0 and env.get("mean"):
            return base
        return sp.Pow(base, exponent) if isinstance(base, sp.Basic) else base**exponent

    def whole(self, e, env):
        number = e.xreplace({x: sp.Integer(v) for x, v in env.items() if isinstance(x, sp.Symbol)} | {L.G: sp.Integer(self.size)})
        if not number.is_Integer:
            raise IllFormed(f"{text(e)} is no whole number")
        return int(number)

    def sum(self, e, env):
        body, *inner, (x, low, high) = e.args
        body = sp.Sum(body, *inner) if inner else body
        return sum(self.value(body, {**env, x: k}) for k in range(self.whole(low, env), self.whole(high, env) + 1))

    def at(self, e, env):
        base, (index,) = (e.base, e.indices) if isinstance(e, sp.Indexed) else (length, e.args)
        place = self.whole(index, env)
        if base not in env or not 1 <= place <= self.size:
            raise IllFormed(f"{text(e)}: there is no such completion")
        return env[base][place - 1]

    def mean(self, body, env):
        key = body, *((x, v) for x, v in env.items() if isinstance(x, sp.Symbol))
        if key not in self.means:
            self.means[key] = self.over_groups(body, env)
        return self.means[key]

    def over_groups(self, body, env):
        total = self.number(sp.Integer(0))
        for chosen in itertools.product(range(len(self.chance)), repeat=self.size):
            here = {**env, L.r: [self.reward[x] for x in chosen], **self.others(chosen), "mean": True}
            total += math.prod(self.chance[x] for x in chosen) * self.value(body, here)
        return total


def counterexample(by, lhs, rhs):
    """The smallest group in which the two sides differ, with exact numbers; None if none was found."""
    sides = [by.written_out(sp.sympify(x)) for x in (lhs, rhs)]
    found = coins(by, sides) if any(x.has(K.OverCompletions, L.Grad) for x in sides) else groups(by, sides)
    return next(found, None)


def coins(by, sides):
    """A completion is right (1) or wrong (0), with probability p; ∇p = 1."""
    for size, p in itertools.product((by.size,) if by.size else (2, 3), (sp.Rational(1, 2), sp.Rational(1, 3))):
        model = SmallGroups(by, size, exact=True)
        model.chance, model.reward, model.score, model.tokens = [p, 1 - p], [1, 0], [1 / p, -1 / (1 - p)], [1, 2]
        model.rate, model.slope, model.letters = p, sp.Integer(1), {}
        difference = model.value(sides[0] - sides[1], {L.i: 1, L.j: 2})
        if off(difference):
            where = {L.G: sp.Integer(size), K.rate: p, L.Grad(K.rate): sp.Integer(1)}
            yield Counterexample(difference, where | ({length(L.i): 2 - L.r[L.i]} if any(x.has(length) for x in sides) else {}))


def groups(by, sides):
    """Some rewards of one group."""
    free = [x for x in (L.i, L.j) if any(x in side.free_symbols for side in sides)]
    labels = {x.label for side in sides for x in side.atoms(sp.IndexedBase)}
    symbols = sorted(set().union(*(x.free_symbols for x in sides)) - {L.G, L.i, L.j} - labels, key=str)
    numbers = {x: sp.Rational(1, 2 + k) for k, x in enumerate(x for x in symbols if isinstance(x, sp.Symbol))}
    for size in (by.size,) if by.size else (2, 3):
        model = SmallGroups(by, size, exact=True)
        model.letters, model.rate = numbers, numbers.get(K.rate)
        for rewards in itertools.product((1, 0) if by.binary else (1, 0, 2), repeat=size):
            for places in itertools.product(range(1, size + 1), repeat=len(free)):
                env = {L.r: list(map(sp.Integer, rewards)), **dict(zip(free, places, strict=True))}
                difference = model.value(sides[0] - sides[1], env)
                if off(difference):
                    yield Counterexample(difference, shown(sides, size, rewards, env, numbers))


def off(difference):
    difference = sp.sympify(difference)
    return bool(difference.is_finite) and abs(difference.evalf(30)) > TOLERANCE


def shown(sides, size, rewards, env, numbers):
    """What the page says about a group: its size, its rewards, and the numbers that occur."""
    where = {L.G: sp.Integer(size)} if any(x.has(L.G) for x in sides) else {}
    if any(x.has(L.r) for x in sides):
        where |= {L.r[k]: sp.Integer(x) for k, x in enumerate(rewards, 1)}
    where |= {x: sp.Integer(env[x]) for x in (L.i, L.j) if x in env}
    return where | {x: y for x, y in numbers.items() if any(side.has(x) for side in sides)}
