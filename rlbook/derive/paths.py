"""The fifth reader: a whole trajectory as one outcome, for every horizon T and for finite sets of every size. Level P.

To the rules of `Sums` it adds what a trajectory is:

    J(θ) = E[R(τ)],     E[X] = Σ_τ P(τ | θ) X
    log P(τ | θ) = log ρ_0(s_0) + Σ_{t=0}^{T} (log P(s_{t+1} | s_t, a_t) + log π_θ(a_t | s_t))
    ∇ P(τ | θ)  = P(τ | θ) Σ_{t=0}^{T} u(a_t | s_t)           (u = ∇ log π; start and dynamics are free of θ)
    log Π_t X_t = Σ_t log X_t
    Π_t X_t Y_t = Π_t X_t Π_t Y_t,     ∇ Π_t X_t = Π_t X_t Σ_t (∇ X_t) / X_t
    P(τ | θ_old) = P(τ | θ) Π_{t=0}^{T} π_old(a_t | s_t) / π_θ(a_t | s_t),     the same with π_ref
    E_{τ~π_old}[X] = Σ_τ P(τ | θ_old) X
    Σ_τ P(τ | θ) u(a_t | s_t) X = 0              0 ≤ t ≤ T, and X depends on τ through s_t only

Under Σ_τ each s_t, a_t and r_t belongs to the τ that is summed over: s[t] becomes s[t, τ]. That P(τ | θ) is the product
whose logarithm stands above is a claim of its own about the process (`trajectory-probability`).
"""
import sympy as sp

from . import language as L
from . import ratios as W
from .algebra import fresh, rebuild
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .sums import ONE, Score, Sums, Term, as_set, size

STEP = sp.Symbol("u", integer=True)                    # a time of its own, free of the author's t
INDEX = sp.Dummy("t", integer=True)                    # the index of every product
WHOLE = sp.Tuple(INDEX, 0, L.T)


def owned(e, tau):
    """The tree with every s, a, r and P of the trajectory τ made those of `tau`."""
    marks = {x: x.base[(*x.indices, tau)] for x in e.atoms(sp.Indexed) if x.base in (L.s, L.a, L.r) and len(x.indices) == 1}
    return e.xreplace(marks).xreplace({L.τ: tau})


def draws(tau, policy=L.π):
    """log ρ_0(s_0) and the summands log P(s_{t+1} | s_t, a_t) + log π(a_t | s_t) of one trajectory, as a tree."""
    step = L.p(L.s[STEP + 1], L.s[STEP], L.a[STEP])
    tree = L.log(L.ρ0(L.s[0])) + L.Σ(L.log(step) + L.log(policy(L.a[STEP], L.s[STEP])), (STEP, 0, L.T))
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
        if isinstance(e, L.ExpectOld):
            if len(e.args) > 1:
                raise IllFormed("conditional expectations need a horizon: use finite MDPs")
            return self.terms(L.Over(W.P_old(L.τ) * e.args[0], L.τ))
        if isinstance(e, L.Over) and e.args[1] == L.τ:
            return self.every_path(e.args[0])
        if isinstance(e, W.PathLaw):
            return self.terms(self.from_current(e))
        if isinstance(e, sp.Product):
            return self.factors(e)
        return super().terms(e)

    @staticmethod
    def from_current(e):
        """The probability of a trajectory under another policy, by that of π_θ."""
        tau, ratio = e.args[0], e.policy(L.a[STEP], L.s[STEP]) / L.π(L.a[STEP], L.s[STEP])
        return L.P(tau) * sp.Product(ratio if tau == L.τ else owned(ratio, tau), (STEP, 0, L.T))

    def factors(self, e):
        """A product over time of one monomial, as powers of products of its factors."""
        body, *inner, (x, low, high) = e.args
        inside = self.terms(body)
        if inner or len(inside) != 1 or inside[0].bound:
            raise Undecided(f"a product over {x} of something else than one product of factors")
        c, _, powers = inside[0]
        times = size(as_set((low, high)))
        out = Term(ONE, (), {c: times} if c != 1 else {})
        for base, power in powers.items():
            if base.has(sp.Product) or power.has(x):
                raise Undecided(f"a product over {x} of products, or of powers that depend on it")
            if base.has(x):
                out = self.times(out, Term(ONE, (), {sp.Product(base.xreplace({x: INDEX}), (INDEX, low, high)): power}))
            else:
                out = self.times(out, Term(ONE, (), {base: power * times}))
        return [out]

    def sum_over(self, x, term):
        return [] if x.name == as_set(L.τ) and self.is_mean_score(x, term) else super().sum_over(x, term)

    @staticmethod
    def is_mean_score(tau, term):
        """Is this Σ_τ P(τ | θ) u(a_t | s_t) X, where X speaks of s_t only? Then it is 0, at every time t of the trajectory."""
        inside = {base: e for base, e in term.powers.items() if base.has(tau) or e.has(tau)}
        if inside.pop(L.P(tau), None) != 1 or any(e.has(tau) for e in inside.values()):
            return False
        whole = as_set((sp.Integer(0), L.T))
        for time in (x for x in term.bound if x.name == whole):
            state = L.s[time, tau]
            others = {base: e for base, e in inside.items() if base.xreplace({state: sp.Dummy("a state")}).has(tau)}
            if others == {Score(L.π(L.a[time, tau], state)): 1}:
                return True
        return False

    def at_old(self, e):
        """θ_old = θ, after every gradient inside has been taken: also in the probability of a trajectory."""
        done = self.tree(self.normal(e.args[0]))
        return super().at_old(L.AtOld(done.replace(lambda x: isinstance(x, W.P_old), lambda x: L.P(*x.args))))

    def reduce(self, term):
        return super().reduce(self.of_one_law(term))

    @staticmethod
    def of_one_law(term):
        """P(τ | θ) Π π_old / π is P(τ | θ_old) again, of which it is known that it sums to one."""
        for law in (x for x, e in term.powers.items() if isinstance(x, L.P) and e == 1):
            tau = law.args[0]
            for other in (W.P_old, W.P_ref):
                mine, new = (policy(L.a[INDEX], L.s[INDEX]) for policy in (L.π, other.policy))
                mine, new = (sp.Product(x if tau == L.τ else owned(x, tau), WHOLE) for x in (mine, new))
                if term.powers.get(mine) == -1 and term.powers.get(new) == 1:
                    rest = {x: e for x, e in term.powers.items() if x not in (law, mine, new)}
                    return Term(term.coefficient, term.bound, {**rest, other(tau): ONE})
        return term

    def every_path(self, body):
        """Σ_τ of a body: what belongs to a trajectory belongs to this one."""
        if any(x.args[1] == L.τ for x in body.atoms(L.Over)) or body.has(L.Expect, L.ExpectOld, L.J, L.SampleSum, W.OfParameters):
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
        if isinstance(x, W.PathLaw):
            return self.terms(draws(x.args[0], x.policy))
        if isinstance(x, sp.Product):
            body, *limits = x.args
            return self.terms(sp.Sum(sp.log(body), *limits))
        if x.is_Mul and x.has(sp.Product, L.P, W.PathLaw):
            return [term for factor in x.args for term in self.terms(sp.log(factor))]
        if x.is_Pow and x.exp.is_Integer:
            return self.terms(x.exp * sp.log(x.base))
        return super().logarithm(e)

    def log_derivative(self, base):
        if isinstance(base, sp.Product):
            body, (x, low, high) = base.args
            fresh = sp.Dummy(as_set((low, high)))
            return [Term(y.coefficient, y.bound + (fresh,), y.powers) for y in super().log_derivative(body.xreplace({x: fresh}))]
        if not isinstance(base, L.P):
            return super().log_derivative(base)
        fresh = sp.Dummy(as_set((sp.Integer(0), L.T)))
        action, state = L.a[fresh], L.s[fresh]
        score = Score(L.π(action, state))
        return [Term(ONE, (fresh,), {score if base.args[0] == L.τ else owned(score, base.args[0]): ONE})]
