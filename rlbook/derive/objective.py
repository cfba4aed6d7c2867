"""`Sums` for the objective of PPO: a critic with parameters of its own, weights, and the clip near θ_old. Level P.

To the rules of `Sums` it adds

    ∇_φ V_φ(s)                  a letter of its own for each function with parameters φ (`terms.Learned`); π has none of them,
                                and ∇_θ sees none of the critic
    ∂/∂w                        along a symbol, such as a weight
    clip(π/π_old, 1 - ε, 1 + ε) at θ_old = θ the ratio is 1. If low < 1 < high, there is a neighbourhood of θ_old in which
                                clip(ratio, low, high) = ratio, so under θ_old = θ the two have the same derivatives
    sg[X]                       the value X, once nothing is left to differentiate
"""
import sympy as sp

from . import language as L
from .cases import sign
from .definitions import STANDARD
from .dependence import held_along
from .errors import IllFormed, Undecided
from .ratios import KL, KL_reverse
from .sums import ONE, Sums, Term
from .terms import LV, H, Learned, Lppo

UNFOLDED = H, KL, KL_reverse, LV, Lppo


def near_old(e):
    """The tree, where a clip of π/π_old that contains 1 in its inside is the ratio itself."""
    if isinstance(e, L.Clip):
        x, low, high = map(near_old, e.args)
        if is_ratio(x) and sign(1 - low) == 1 and sign(high - 1) == 1:
            return x
        raise Undecided(f"nothing is known about {e} where θ_old = θ")
    if e.is_Atom or isinstance(e, sp.IndexedBase):
        return e
    args = [near_old(x) for x in e.args]
    if isinstance(e, sp.Min | sp.Max) and len(set(args)) > 1:
        raise Undecided(f"which is the smaller one in {e} is not known")
    return e.func(*args) if args != list(e.args) else e


def is_ratio(x):
    """Is this π_θ(a | s) / π_old(a | s), of the same action and state?"""
    above = [y for y in sp.Mul.make_args(x) if isinstance(y, L.π)]
    return len(above) == 1 and x == above[0] / L.π_old(*above[0].args)


class Objective(Sums):
    """Decide an equation about the terms of PPO in one state, or summed over states."""

    along = None

    def __init__(self, definitions=STANDARD, heads=UNFOLDED):
        super().__init__(unfold={head: definitions[head].unfold for head in heads})

    def under(self, definitions):
        return Objective(definitions)

    def __call__(self, lhs, rhs):
        self.nothing_vanishes(sp.sympify(lhs), sp.sympify(rhs))
        difference = self.collect([*self.terms(sp.sympify(lhs)), *self.terms(-sp.sympify(rhs))])
        if any(base.has(L.StopGradient) for _, _, powers in difference.values() for base in powers):
            difference = self.normal(value(self.tree(difference)))
        return self.tree(difference) if self.cleared(difference) else sp.Integer(0)

    # -- gradients -----------------------------------------------------------------------------------
    def grad(self, e):
        body, *component = e.args
        if not component:
            return super().grad(e)
        if body.has(L.AtOld):
            raise IllFormed("θ_old = θ is set after differentiating, never before")
        if not component[0].is_Symbol or component[0].is_integer:
            raise IllFormed(f"a derivative is along θ, φ or a weight, not {component[0]}")
        if isinstance(body, Learned) and component[0] == L.φ:
            return [Term(ONE, (), {e: ONE})]
        inner = Objective.__new__(type(self))
        inner.variable, inner.unfold, inner.along = self.variable, self.unfold, component[0]
        return inner.gradient(inner.terms(body))

    def log_derivative(self, base):
        if self.along is None:
            return [] if isinstance(base, Learned) else super().log_derivative(base)
        if isinstance(base, L.StopGradient):
            return []
        if self.along == L.φ:
            if isinstance(base, Learned | L.Grad):
                return [Term(ONE, (), {L.Grad(base, L.φ): ONE, base: -ONE})]
            if base.has(Learned):
                raise Undecided(f"no rule for the gradient of {base}")
            return []
        if base == self.along:
            return [Term(ONE, (), {base: -ONE})]
        if base.has(self.along) or not held_along(self.along, base):
            raise Undecided(f"no rule for the derivative of {base}")
        return []

    def moves(self, e):
        return self.along is not None and e.has(self.along)

    def at_old(self, e):
        return super().at_old(L.AtOld(near_old(self.written_out(e.args[0]))))

    def written_out(self, e):
        """The tree with every head that has a definition here in full: a clip may stand in one."""
        if e.is_Atom or isinstance(e, sp.IndexedBase):
            return e
        if isinstance(e, L.Head) and type(e) in self.unfold:
            return self.written_out(self.unfold[type(e)](*e.args))
        return e.func(*map(self.written_out, e.args)) if not isinstance(e, sp.Min | sp.Max) else e.func(
            *map(self.written_out, e.args), evaluate=False)


def value(e):
    """The tree, where sg[X] is X."""
    return e.replace(lambda x: isinstance(x, L.StopGradient), lambda x: x.args[0])
