"""Small groups of completions, in numbers: where an equation that `groups` could not prove fails.

A completion is (0), (1, 0) or (1, 1): two tokens, of which 0 ends it; where all have N tokens, any two. Policies, scores with
mean zero, rewards of completions, advantages of groups and parameters get random numbers, the same in every run. What is
claimed of every group is refuted by one; a mean is computed over all groups.
"""
import itertools
import math
import random

import sympy as sp

from . import language as L
from .advantages import std
from .algebra import Counterexample, rebuild
from .cases import Less
from .errors import Undecided
from .grpo import Âi, Âit, before, length, o
from .plain import text
from .sums import Score

COMPLETIONS = (0,), (1, 0), (1, 1)
OF_TWO = tuple(itertools.product((0, 1), repeat=2))
ONE_BY_ONE = ((0,), (1, 0)), ((1, 0), (0,), (1, 1)), ((1, 1),), ((0,),)
TRIES = 16                                             # random numbers for one group
LEAST = 1e-7                                           # a difference that is no rounding error
WORLDS = 2                                             # and for all groups of one size


class Least(L.Operator):
    """min(X, Y), of which sympy compares nothing."""


class Most(L.Operator):
    """max(X, Y), of which sympy compares nothing."""


def clip(x, low, high):
    return max(low, min(x, high))


VALUES = {sp.Add: lambda *x: math.fsum(x), sp.Mul: lambda *x: math.prod(x),
          sp.Pow: lambda x, y: x**y, sp.log: math.log, sp.exp: math.exp,
          Least: min, Most: max, L.Clip: clip, Less: lambda x, y: float(x < y)}


def counterexample(difference, law):
    """A small group in which the difference is not 0; where `law` is given, a world in which its mean is not."""
    found = of_a_mean(difference, law) if law is not None else of_a_group(difference)
    if found is None:
        raise Undecided("neither proved nor refuted")
    value, where = found
    return Counterexample(sp.Float(value, 6), where)


def of_a_group(difference):
    free = sorted((x for x in difference.free_symbols if x in (L.i, L.j, L.t)), key=str)
    for group in (OF_TWO,) if difference.has(L.N) else ONE_BY_ONE:
        for places in itertools.product((1, 2), repeat=len(free)):
            here = dict(zip(free, map(sp.Integer, places), strict=True))
            try:
                tree = written_out(difference, {**here, **sizes(difference, group)})
                values = [value_of(tree, Letters(group, number)) for number in range(TRIES)]
            except Undecided:
                continue
            found = next((x for x in values if abs(x) > LEAST), None)
            if found is not None:
                return found, {**here, **sizes(difference, group)}
    return None


def of_a_mean(difference, law):
    for size, number in itertools.product((1, 2), range(WORLDS)):
        total, trees = 0.0, {}
        try:
            for group in itertools.product(OF_TWO if difference.has(L.N) else COMPLETIONS, repeat=size):
                where = sizes(difference, group)
                pattern = tuple(map(len, group))
                if pattern not in trees:
                    trees[pattern] = written_out(difference, where)
                letters = Letters(group, number)
                weight = math.prod(letters.policy(law, x[:k])[x[k]] for x in group for k in range(len(x)))
                total += weight * value_of(trees[pattern], letters)
        except Undecided:
            continue
        if abs(total) > LEAST:
            return total, {L.G: sp.Integer(size)}
    return None


def sizes(difference, group):
    """How many completions there are, and how long each is."""
    out = {L.G: sp.Integer(len(group)), **{length(sp.Integer(k)): sp.Integer(len(x)) for k, x in enumerate(group, 1)}}
    return {**out, L.N: sp.Integer(2)} if difference.has(L.N) else out


def written_out(e, where):
    """The tree for one small group, with every sum in full."""
    if e in where:
        return where[e]
    if isinstance(e, sp.Indexed):                      # (an atom for sympy)
        return e.base[tuple(written_out(x, where) for x in e.indices)]
    if e.is_Atom:
        return e
    if isinstance(e, sp.Sum):
        body, *inner, (x, low, high) = e.args
        body = sp.Sum(body, *inner) if inner else body
        low, high = (written_out(y, where) for y in (low, high))
        if not (low.is_Integer and high.is_Integer):
            raise Undecided(f"the bounds of {text(e)} are no numbers")
        return sp.Add(*[written_out(body, {**where, x: sp.Integer(v)}) for v in range(int(low), int(high) + 1)])
    out = rebuild(e, [written_out(x, where) for x in e.args])
    if isinstance(out, length) and out not in where:
        raise Undecided(f"{text(out)}: there is no such completion in a small group")
    return where.get(out, out)


class Letters:
    """The numbers of one group: of its tokens, of its completions, and of itself."""

    def __init__(self, group, number):
        self.group, self.number, self.known = group, number, {}

    def __call__(self, x):
        if x not in self.known:
            self.known[x] = self.value(x)
        return self.known[x]

    def draw(self, *name):
        return random.Random(f"{name} {self.number}")

    def value(self, x):
        if isinstance(x, Score):
            law, token, prefix = self.place(x.args[0])
            slopes = [self.draw("score", prefix, y).uniform(-2, 2) for y in (0, 1)]
            return slopes[token] - sum(p * slope for p, slope in zip(self.policy(law, prefix), slopes, strict=True))
        if isinstance(x, L.Distribution):
            law, token, prefix = self.place(x)
            return self.policy(law, prefix)[token]
        if isinstance(x, sp.Indexed) and x.base == L.r:
            return self.draw("reward", self.completion(x.indices[0])).uniform(-2, 2)
        if isinstance(x, sp.Indexed) and x.base not in (Âi, Âit):
            raise Undecided(f"{text(x)} has no value in a small group")
        if x.is_Symbol:
            return self.draw(str(x)).uniform(*(0.1, 0.6) if x.is_positive else (-2, 2))        # (ε, β below 1)
        return self.draw(str(x), self.group).uniform(*(0.5, 2) if isinstance(x, std) else (-2, 2))

    def policy(self, law, prefix):
        p = self.draw(law.__name__, prefix).uniform(0.1, 0.9)
        return 1 - p, p

    def place(self, law):
        """Which policy, which token, and after which ones."""
        token, prefix = law.args
        if not isinstance(prefix, before) or not isinstance(token, sp.Indexed) or token.base != o:
            raise Undecided(f"{text(law)} has no value in a small group")
        return type(law), self.completion(*token.indices), self.completion(*prefix.args, upto=True)

    def completion(self, k, t=None, upto=False):
        """Completion k, its token t, or those before it."""
        if not (k.is_Integer and 1 <= k <= len(self.group)):
            raise Undecided("there is no such completion in a small group")
        tokens = self.group[int(k) - 1]
        if t is not None and not (t.is_Integer and 1 <= t <= len(tokens)):
            raise Undecided("there is no such token in a small group")
        return tokens if t is None else tokens[:int(t) - 1] if upto else tokens[int(t) - 1]


def value_of(e, letters):
    """The value of a tree."""
    if e.is_Number:
        return float(e)
    if isinstance(e, sp.Symbol | sp.Indexed | L.Head | Score):
        return letters(e)
    function = VALUES.get(e.func)
    try:
        out = None if function is None else function(*[value_of(x, letters) for x in e.args])
    except (ZeroDivisionError, ValueError, OverflowError):
        out = None
    if not isinstance(out, float) or not math.isfinite(out):
        raise Undecided(f"{text(e)} has no value in a small group")
    return out
