"""The fifth reader: a whole trajectory as one outcome, for every horizon T and for finite sets of every size. Level P.

To the rules of `Sums` it adds what a trajectory is:

    J(θ) = E[R(τ)],     E[X] = Σ_τ P(τ | θ) X
    log P(τ | θ) = log ρ_0(s_0) + Σ_{t=0}^{T} (log P(s_{t+1} | s_t, a_t) + log π_θ(a_t | s_t))
    ∇ P(τ | θ)  = P(τ | θ) Σ_{t=0}^{T} u(a_t | s_t)           (u = ∇ log π; start and dynamics are free of θ)
    log Π_t X_t = Σ_t log X_t

Under Σ_τ each s_t, a_t and r_t belongs to the τ that is summed over: s[t] becomes s[t, τ]. That P(τ | θ) is the product
whose logarithm stands above is a claim of its own about the process (`trajectory-probability`).
"""
import sympy as sp

from . import language as L
from .algebra import fresh, rebuild
from .definitions import STANDARD
from .errors import IllFormed
from .sums import ONE, Score, Sums, Term, as_set

STEP = sp.Symbol("u", integer=True)                    # a time of its own, free of the author's t


def owned(e, tau):
    """The tree with every s, a, r and P of the trajectory τ made those of `tau`."""
    marks = {x: x.base[(*x.indices, tau)] for x in e.atoms(sp.Indexed) if x.base in (L.s, L.a, L.r) and len(x.indices) == 1}
    return e.xreplace(marks).xreplace({L.τ: tau})


def draws(tau):
    """log ρ_0(s_0) and the summands log P(s_{t+1} | s_t, a_t) + log π(a_t | s_t) of one trajectory, as a tree."""
    step = L.p(L.s[STEP + 1], L.s[STEP], L.a[STEP])
    tree = L.log(L.ρ0(L.s[0])) + L.Σ(L.log(step) + L.log(L.π(L.a[STEP], L.s[STEP])), (STEP, 0, L.T))
    return tree if tau == L.τ else owned(tree, tau)


class Paths(Sums):
    """Decide an equation about trajectories by its normal form; a free τ means every trajectory."""

    def describe(self):
        return "proved for every horizon and for finite sets of every size, by reduction to a normal form"

    def __init__(self, variable=None, unfold=None, definitions=STANDARD):
        super().__init__(variable, unfold)
        self.at_times = {base: d for base, d in definitions.items() if isinstance(base, sp.IndexedBase)}

    def __call__(self, lhs, rhs):
        return super().__call__(*map(self.written_out, map(sp.sympify, (lhs, rhs))))

    def written_out(self, e):
        """The tree with the definition of u_t, δ_t, ... in its place."""
        if isinstance(e, sp.Indexed) and e.base in self.at_times and len(e.indices) == 1:
            d = self.at_times[e.base]
            return self.written_out(fresh(d.body).xreplace({d.left.indices[0]: e.indices[0]}))
        if e.is_Atom or isinstance(e, sp.IndexedBase):
            return e
        return rebuild(e, map(self.written_out, e.args))

    def terms(self, e):
        if isinstance(e, L.J):
            if e.args != (L.θ,):
                raise IllFormed(f"J speaks of θ, not of {e.args[0]}")
            return self.terms(L.E[L.R(L.τ)])
        if isinstance(e, L.Expect):
            if len(e.args) > 1:
                raise IllFormed("conditional expectations need a horizon: use finite MDPs, or induction")
            return self.terms(L.Over(L.P(L.τ) * e.args[0], L.τ))
        if isinstance(e, L.Over) and e.args[1] == L.τ:
            return self.every_path(e.args[0])
        return super().terms(e)

    def every_path(self, body):
        """Σ_τ of a body: what belongs to a trajectory belongs to this one."""
        if any(x.args[1] == L.τ for x in body.atoms(L.Over)) or body.has(L.Expect, L.ExpectOld, L.J, L.SampleSum):
            raise IllFormed("a sum over trajectories inside a sum over trajectories")
        strange = [x for x in body.atoms(sp.Indexed) if x.base not in (L.s, L.a, L.r)]
        if strange:
            raise IllFormed(f"{strange[0]}: nothing says how it depends on the trajectory")
        fresh = sp.Dummy(as_set(L.τ))
        return [Term(c, bound + (fresh,), powers) for c, bound, powers in self.terms(owned(body, fresh))]

    def logarithm(self, e):
        x = e.args[0]
        if isinstance(x, L.P):
            return self.terms(draws(x.args[0]))
        if isinstance(x, sp.Product):
            body, *limits = x.args
            return self.terms(sp.Sum(sp.log(body), *limits))
        if x.is_Mul and x.has(sp.Product):
            return [term for factor in x.args for term in self.terms(sp.log(factor))]
        return super().logarithm(e)

    def log_derivative(self, base):
        if not isinstance(base, L.P):
            return super().log_derivative(base)
        fresh = sp.Dummy(as_set((sp.Integer(0), L.T)))
        action, state = L.a[fresh], L.s[fresh]
        score = Score(L.π(action, state))
        return [Term(ONE, (fresh,), {score if base.args[0] == L.τ else owned(score, base.args[0]): ONE})]
