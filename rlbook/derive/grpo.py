"""The words of the chapters on GRPO: the tokens of a group of completions.

A group is G completions o_1, ..., o_G of one prompt q; o_i has |o_i| tokens, t = 1..|o_i|.

    o[i, t], before(i, t)       token t of completion i; the prompt with the tokens before it
    length(i)                   |o_i|, a whole number > 0
    rit[i, t]                   r_{i,t}(θ) = π_θ(o_{i,t} | q, o_{i,<t}) / π_old(o_{i,t} | q, o_{i,<t})
    Âit[i, t], Âi[i]            the advantage of token t, or of a whole completion: a number, free of θ
    ri[i]                       the reward of completion i, where r[t] is one of a time
    kit[i, t]                   k_{i,t}(θ): k3 of π_ref / π_θ at a token
    mit[i, t]                   m_{i,t}: 1 where the clip of the surrogate lets the gradient of a token through, else 0
    πoi(i), πoi_old(i)          the probability of completion i
    si[i]                       s_i(θ): the ratio of a whole completion, per token
    E_group[X], E_group(π)[X]   over a prompt and G independent completions of it, drawn from π_old, from π_θ
    Jclip(θ), Jgrpo(θ)          the objective of GRPO without and with the divergence;  Jrloo, Jdr, Jdapo, Jgspo, Jcispo  others
    overlong(x_)                what DAPO adds to the reward of a completion of x tokens
"""
import sympy as sp

from . import language as L
from .ratios import OfParameters

__all__ = ["E_group", "Jcispo", "Jclip", "Jdapo", "Jdr", "Jgrpo", "Jgspo", "Jrloo", "before", "kit", "length", "mit",
           "o", "overlong", "ri",
           "rit", "si", "x_cache", "x_max", "Âi", "Âit", "ε_high", "ε_low", "πoi", "πoi_old"]

o = sp.IndexedBase("o")
rit = sp.IndexedBase(sp.Symbol(r"r(\theta)", real=True))       # (not the base of r_t(θ), which belongs to a trajectory)
Âi = sp.IndexedBase(sp.Symbol(r"\hat A", real=True))           # (nor the advantage of a time)
Âit = sp.IndexedBase(sp.Symbol(r"\hat A", complex=True))
ri = sp.IndexedBase(sp.Symbol("r", complex=True))
mit = sp.IndexedBase(sp.Symbol("m", real=True))
kit = sp.IndexedBase(r"k(\theta)")
si = sp.IndexedBase(r"s(\theta)")
ε_low, ε_high = sp.symbols(r"\varepsilon_{\mathrm{low}} \varepsilon_{\mathrm{high}}", positive=True)


class Length(L.Head):
    """|o_i|"""
    rank, is_integer, is_positive = 4, True, True

    def _latex(self, printer, exp=None):
        return r"|o_{%s}|" % printer._print(self.args[0]) + ("" if exp is None else "^{%s}" % exp)


class Prefix(L.Head):
    """The prompt and the tokens before token t of completion i."""
    rank = 58

    def _latex(self, printer, exp=None):
        return r"q, o_{%s,<%s}" % tuple(map(printer._print, self.args))


class OfCompletion(L.Head):
    """The probability of completion i given its prompt."""
    rank, law = 20, L.π

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return r"%s%s(o_{%s} \mid q)" % (self.law.tex, power, printer._print(self.args[0]))


πoi, πoi_old = type("πoi", (OfCompletion,), {}), type("πoi_old", (OfCompletion,), {"law": L.π_old})
length, before = type("length", (Length,), {}), type("before", (Prefix,), {})


class Group(L.Operator):
    """E over a prompt and G independent completions of it."""
    rank, law = 45, L.π

    def _latex(self, printer):
        body, = self.args
        law = r"q,\; o_1, \ldots, o_G \sim %s(\cdot \mid q)" % self.law.tex
        return r"\mathbb{E}_{%s}\!\left[ %s \right]" % (law, printer._print(body))


class OverGroups(Group):
    """Over groups of π_θ."""


class OverOldGroups(Group):
    """Over groups of π_old, whatever the body is."""
    law = L.π_old


class _Groups:
    """`E_group[X]`: groups of π_old. `E_group(π)[X]`: groups of π_θ."""

    def __init__(self, kind):
        self._kind = kind

    def __call__(self, law):
        kinds = {L.π: OverGroups, L.π_old: OverOldGroups}
        if law not in kinds:
            raise TypeError(f"groups are drawn from π or from π_old, not from {law}")
        return _Groups(kinds[law])

    def __getitem__(self, body):
        return self._kind(sp.sympify(body))


E_group = _Groups(OverOldGroups)


class Objective(OfParameters):
    """The objective of GRPO or of a variant."""


Jclip, Jgrpo, Jrloo, Jdr, Jdapo, Jgspo, Jcispo = (type(name, (Objective,), {"tex": tex}) for name, tex in (
    ("Jclip", r"J^{\mathrm{CLIP}}_{\mathrm{GRPO}}"), ("Jgrpo", r"J_{\mathrm{GRPO}}"), ("Jrloo", r"J_{\mathrm{RLOO}}"),
    ("Jdr", r"J_{\mathrm{Dr.\,GRPO}}"),
    ("Jdapo", r"J_{\mathrm{DAPO}}"), ("Jgspo", r"J_{\mathrm{GSPO}}"), ("Jcispo", r"J_{\mathrm{CISPO}}")))
overlong = L.head("overlong", r"r_{\mathrm{length}}", 62)
x_max, x_cache = sp.symbols(r"x_{\max} x_{\mathrm{cache}}", positive=True)
