"""The shared definitions of the book: what a name stands for, as the tree that is printed.

A reader that meets one of these heads replaces it by its definition; nothing else in the package knows
what a return or an advantage is. `define` in a chapter displays an entry and fails if the chapter's
formula is another one, so the object on the page is the object that every check uses.
"""
from dataclasses import dataclass

import sympy as sp

from . import language as L


@dataclass(frozen=True)
class Definition:
    """`left`, a head with its parameters, stands for `body`. A recursion over h has a value at h = 0 too."""

    left: sp.Expr
    body: sp.Expr
    base: sp.Expr | None = None

    @property
    def head(self):
        return type(self.left)

    def unfold(self, *args):
        """The body with the parameters replaced by `args`."""
        return self.body.xreplace(dict(zip(self.left.args, args, strict=True)))


def _of(*entries):
    return {entry.head: entry for entry in entries}


def estimate(score_weight):
    """ĝ = 1/N Σ_{τ in D} of what one trajectory contributes."""
    return L.Σ(score_weight, L.D) / L.N


def averaged(after):
    """Σ_a π(a | s) Σ_s' P(s' | s, a) X: the mean over one step of the process."""
    return L.Σ(L.π(L.a_, L.s_) * L.Σ(L.p(L.s_new, L.s_, L.a_) * after, L.s_new), L.a_)


_r, _score = L.reward(L.s_, L.a_, L.s_new), L.grad(L.log(L.π(L.a_, L.s_)))
_V, _U, _G = (head(L.h - 1, L.s_new) for head in (L.V_togo, L.U_togo, L.G_togo))
_ZERO, _ONE = sp.Integer(0), sp.Integer(1)

STANDARD = _of(
    Definition(L.R(L.τ), L.Σ(L.γ**L.t * L.r[L.t], (L.t, 0, L.T))),
    Definition(L.J(L.θ), L.E[L.R(L.τ)]),
    Definition(L.Ascent(), L.Shifted(L.θ[L.k], L.α, L.grad(L.J(L.θ[L.k])))),
    Definition(L.Estimate(), estimate(L.Σ(L.now * L.R(L.τ), (L.t, 0, L.T)))),
    Definition(L.Q(L.s[L.t], L.a[L.t]), L.E[L.Σ(L.γ**(L.l - L.t) * L.r[L.l], (L.l, L.t, L.T)), L.s[L.t], L.a[L.t]]),
    Definition(L.V(L.s[L.t]), L.E[L.Σ(L.γ**(L.l - L.t) * L.r[L.l], (L.l, L.t, L.T)), L.s[L.t]]),
    Definition(L.A(L.s[L.t], L.a[L.t]), L.Q(L.s[L.t], L.a[L.t]) - L.V(L.s[L.t])),
    Definition(L.N_togo(L.h, L.s_), averaged(L.N_togo(L.h - 1, L.s_new)), _ONE),
    Definition(L.V_togo(L.h, L.s_), averaged(_r + L.γ * _V), _ZERO),
    Definition(L.U_togo(L.h, L.s_), averaged(_score + _U), _ZERO),
    Definition(L.G_togo(L.h, L.s_), averaged(_score * (_r + L.γ * _V) + _r * _U + L.γ * _G), _ZERO),
)
