"""The shared definitions of the book: what a name stands for, as the tree that is printed.

A reader that meets one of these heads replaces it by its definition; nothing else in the package knows
what a return or an advantage is. `define` in a chapter displays an entry and fails if the chapter's
formula is another one, so the object on the page is the object that every check uses.
"""
from dataclasses import dataclass

import sympy as sp

from . import advantages as K
from . import grpo as O
from . import language as L
from . import passk as C
from . import ratios as W
from . import terms as M
from .algebra import fresh


def key(e):
    """What a definition is found by: the base of an indexed quantity such as δ[t], else the head."""
    return e.base if isinstance(e, sp.Indexed) else type(e)


@dataclass(frozen=True)
class Definition:
    """`left`, a head with its parameters or δ[t], stands for `body`. A recursion over h has a value at h = 0 too."""

    left: sp.Expr
    body: sp.Expr
    base: sp.Expr | None = None

    @property
    def head(self):
        return key(self.left)

    @property
    def name(self):
        return str(self.head.label) if isinstance(self.head, sp.IndexedBase) else self.head.__name__

    def unfold(self, *args):
        """The body with the parameters replaced by `args`, none of which is caught by a sum inside."""
        bound = {limits[0] for x in self.body.atoms(sp.Sum, sp.Product) for limits in x.limits}
        body = fresh(self.body) if any(x.free_symbols & bound for x in args) else self.body
        return body.xreplace(dict(zip(self.left.args, args, strict=True)))


def holders(speaks, definitions=None):
    """The heads for whose definition `speaks(body)` is true, and those that are defined by these."""
    heads, before, definitions = set(), None, STANDARD if definitions is None else definitions
    while before != heads:
        before = set(heads)
        heads |= {x.head for x in definitions.values() if speaks(x.body) or heads and x.body.has(*heads)}
    return heads


def redefined(given, definitions):
    """What a prover was given to unfold, with each definition of the book as another book has it."""
    return [definitions.get(key(x.left), x) if STANDARD.get(key(getattr(x, "left", None))) else x for x in given]


def _of(*entries):
    return {entry.head: entry for entry in entries}


def estimate(score_weight):
    """ĝ = 1/N Σ_{τ in D} of what one trajectory contributes."""
    return L.Σ(score_weight, L.D) / L.N


def averaged(after):
    """Σ_a π(a | s) Σ_s' P(s' | s, a) X: the mean over one step of the process."""
    return L.Σ(L.π(L.a_, L.s_) * after_one(after), L.a_)


def after_one(after):
    """Σ_s' P(s' | s, a) X: the mean over one step that begins with a."""
    return L.Σ(L.p(L.s_new, L.s_, L.a_) * after, L.s_new)


def over_actions(x, next_one):
    """Σ_a π(a | s) (X + γ Σ_s' P(s' | s, a) F(s')): a discounted sum of X, one step at a time."""
    return L.Σ(L.π(L.a_, L.s_) * (x + L.γ * after_one(next_one)), L.a_)


_r, _score = L.reward(L.s_, L.a_, L.s_new), L.grad(L.log(L.π(L.a_, L.s_)))
_V, _U, _G, _Gf, _Gb, _GQ, _GA, _Vo, _D = (head(L.h - 1, L.s_new) for head in (
    L.V_togo, L.U_togo, L.G_togo, L.G_future, L.G_baseline, L.G_value, L.G_advantage, L.V_old_togo, L.D_togo))
_Q, _A, _Qo, _Ao = (head(L.h, L.s_, L.a_) for head in (L.Q_togo, L.A_togo, L.Q_old_togo, L.A_old_togo))
_law, _to_go = L.π(L.a_, L.s_), L.Σ(L.γ**(L.l - L.t) * L.r[L.l], (L.l, L.t, L.T))
_n_step = L.Σ(L.γ**L.l * L.r[L.t + L.l], (L.l, 0, L.n - 1)) + L.γ**L.n * L.Vhat(L.s[L.t + L.n])
_ZERO, _ONE = sp.Integer(0), sp.Integer(1)
_old, _ref = L.π_old(L.a_, L.s_), L.π_ref(L.a_, L.s_)
_log_ratio_ref = L.log(L.π(L.a[L.t], L.s[L.t]) / L.π_ref(L.a[L.t], L.s[L.t]))
_gain = L.rθ[L.t] * L.Â[L.t]
_clipped = W.minimum(_law / _old * M.Ahat(L.s_, L.a_), L.Clip(_law / _old, 1 - L.ε, 1 + L.ε) * M.Ahat(L.s_, L.a_))
_kept = L.Clip(M.v_new, M.v_old - L.ε, M.v_old + L.ε)

_at = O.o[L.i, L.t], O.before(L.i, L.t)                # a token, and what it follows
_ref_ratio = L.π_ref(*_at) / L.π(*_at)


def clipped(x, weight, low=L.ε, high=L.ε):
    """min(x A, clip(x, 1 - low, 1 + high) A)"""
    return W.minimum(x * weight, L.Clip(x, 1 - low, 1 + high) * weight)


def over_group(each):
    """Σ_i over the completions of a group."""
    return L.Σ(each, (L.i, 1, L.G))


def over_tokens(each):
    """Σ_t over the tokens of completion i."""
    return L.Σ(each, (L.t, 1, O.length(L.i)))


_it = O.rit[L.i, L.t], O.Âit[L.i, L.t]
_per_completion = over_group(over_tokens(clipped(*_it)) / O.length(L.i)) / L.G
_tokens_of_all = L.Σ(O.length(L.j), (L.j, 1, L.G))


def root_mean_square(x, size=L.G):
    """sqrt(1/G Σ_j x_j²)"""
    return sp.sqrt(L.Σ(x**2, (L.j, 1, L.G)) / size)


def binomial(x):
    """Σ_k P(K = k) x, of a number K of successes among G, each with probability p."""
    return L.Σ(sp.binomial(L.G, L.k) * K.rate**L.k * (1 - K.rate)**(L.G - L.k) * x, (L.k, 0, L.G))


_centred = L.r[L.i] - K.mean(L.r)

STANDARD = _of(
    Definition(L.R(L.τ), L.Σ(L.γ**L.t * L.r[L.t], (L.t, 0, L.T))),
    Definition(L.J(L.θ), L.E[L.R(L.τ)]),
    Definition(L.u[L.t], L.now),
    Definition(L.Gt[L.t], _to_go),
    Definition(L.g_return(L.τ), L.Σ(L.u[L.t] * L.R(L.τ), (L.t, 0, L.T))),
    Definition(L.g_togo(L.τ), L.Σ(L.γ**L.t * L.u[L.t] * L.Gt[L.t], (L.t, 0, L.T))),
    Definition(L.g_past(L.τ), L.Σ(L.u[L.t] * L.Σ(L.γ**L.l * L.r[L.l], (L.l, 0, L.t - 1)), (L.t, 0, L.T))),
    Definition(L.Ascent(), L.Shifted(L.θ[L.k], L.α, L.grad(L.J(L.θ[L.k])))),
    Definition(L.Estimate(), estimate(L.Σ(L.now * L.R(L.τ), (L.t, 0, L.T)))),
    Definition(L.Q(L.s[L.t], L.a[L.t]), L.E[_to_go, L.s[L.t], L.a[L.t]]),
    Definition(L.V(L.s[L.t]), L.E[_to_go, L.s[L.t]]),
    Definition(L.A(L.s[L.t], L.a[L.t]), L.Q(L.s[L.t], L.a[L.t]) - L.V(L.s[L.t])),
    Definition(L.Q_old(L.s[L.t], L.a[L.t]), L.E(L.π_old)[_to_go, L.s[L.t], L.a[L.t]]),
    Definition(L.V_old(L.s[L.t]), L.E(L.π_old)[_to_go, L.s[L.t]]),
    Definition(L.A_old(L.s[L.t], L.a[L.t]), L.Q_old(L.s[L.t], L.a[L.t]) - L.V_old(L.s[L.t])),
    Definition(L.b_star(L.s_), L.E(_law)[L.norm2(_score) * L.f(L.a_)] / L.E(_law)[L.norm2(_score)]),
    Definition(L.δ[L.t], L.r[L.t] + L.γ * L.Vhat(L.s[L.t + 1]) - L.Vhat(L.s[L.t])),
    Definition(L.Â[L.t], L.Σ((L.γ * L.λ)**L.l * L.δ[L.t + L.l], (L.l, 0, L.T - L.t))),
    Definition(L.Â_n(L.n, L.t), _n_step - L.Vhat(L.s[L.t])),
    Definition(L.G_n(L.n, L.t), _n_step),
    Definition(L.Rλ[L.t], (1 - L.λ) * L.Σ(L.λ**(L.n - 1) * L.G_n(L.n, L.t), (L.n, 1, L.T - L.t))
               + L.λ**(L.T - L.t) * L.G_n(L.T - L.t + 1, L.t)),
    Definition(L.δπ[L.t], L.r[L.t] + L.γ * L.V(L.s[L.t + 1]) - L.V(L.s[L.t])),
    Definition(L.Y[L.t], L.Σ(L.Π(L.c[L.k], (L.k, L.t, L.l - 1)) * L.x[L.l], (L.l, L.t, L.T))),
    Definition(L.Z[L.t], L.Σ(L.Π(L.c[L.k], (L.k, L.l, L.t - 1)) * L.w[L.l], (L.l, 0, L.t))),
    Definition(L.e(L.s[L.t]), L.Vhat(L.s[L.t]) - L.V(L.s[L.t])),
    Definition(L.N_togo(L.h, L.s_), averaged(L.N_togo(L.h - 1, L.s_new)), _ONE),
    Definition(L.V_togo(L.h, L.s_), averaged(_r + L.γ * _V), _ZERO),
    Definition(L.U_togo(L.h, L.s_), averaged(_score + _U), _ZERO),
    Definition(L.G_togo(L.h, L.s_), averaged(_score * (_r + L.γ * _V) + _r * _U + L.γ * _G), _ZERO),
    Definition(L.G_future(L.h, L.s_), averaged(_score * (_r + L.γ * _V) + L.γ * _Gf), _ZERO),
    Definition(L.G_baseline(L.h, L.s_), averaged(_score * (_r + L.γ * _V - L.b_togo(L.h, L.s_)) + L.γ * _Gb), _ZERO),
    Definition(L.Q_togo(L.h, L.s_, L.a_), after_one(_r + L.γ * _V), _ZERO),
    Definition(L.A_togo(L.h, L.s_, L.a_), _Q - L.V_togo(L.h, L.s_), _ZERO),
    Definition(L.G_value(L.h, L.s_), over_actions(_score * _Q, _GQ), _ZERO),
    Definition(L.G_advantage(L.h, L.s_), over_actions(_score * _A, _GA), _ZERO),
    Definition(L.V_old_togo(L.h, L.s_), L.Σ(L.π_old(L.a_, L.s_) * after_one(_r + L.γ * _Vo), L.a_), _ZERO),
    Definition(L.Q_old_togo(L.h, L.s_, L.a_), after_one(_r + L.γ * _Vo), _ZERO),
    Definition(L.A_old_togo(L.h, L.s_, L.a_), _Qo - L.V_old_togo(L.h, L.s_), _ZERO),
    Definition(L.D_togo(L.h, L.s_), over_actions(_Ao, _D), _ZERO),
    Definition(L.rθ[L.t], L.π(L.a[L.t], L.s[L.t]) / L.π_old(L.a[L.t], L.s[L.t])),
    Definition(W.Lold(L.θ), L.E(L.π_old)[L.Σ(L.γ**L.t * L.rθ[L.t] * L.A_old(L.s[L.t], L.a[L.t]), (L.t, 0, L.T))]),
    Definition(L.Lclip[L.t], W.minimum(_gain, L.Clip(L.rθ[L.t], 1 - L.ε, 1 + L.ε) * L.Â[L.t])),
    Definition(W.LCLIP(L.θ), L.E(L.π_old)[L.Σ(L.Lclip[L.t], (L.t, 0, L.T))]),
    Definition(W.KL(L.s_), L.E(_law)[L.log(_law / _ref)]),
    Definition(W.KL_reverse(L.s_), L.E(_ref)[L.log(_ref / _law)]),
    Definition(W.χ2_old(L.s_), L.E(_old)[(_law / _old - 1)**2]),
    Definition(W.χ2_ref(L.s_), L.E(_ref)[(_law / _ref - 1)**2]),
    Definition(W.KL_path(L.θ), L.E[L.Σ(_log_ratio_ref, (L.t, 0, L.T))]),
    Definition(W.k1(W.z_), -L.log(W.z_)),
    Definition(W.k2(W.z_), L.log(W.z_)**2 / 2),
    Definition(W.k3(W.z_), W.z_ - 1 - L.log(W.z_)),
    Definition(M.H(L.s_), -L.Σ(_law * L.log(_law), L.a_)),
    Definition(M.LV(L.s_), (M.Vφ(L.s_) - L.sg[M.Rhat(L.s_)])**2 / 2),
    Definition(M.Lppo(L.θ, L.φ), L.E(M.d_old(L.s_))[L.E(_old)[_clipped] - M.w1 * W.KL(L.s_) + M.w2 * M.H(L.s_)
                                                    - M.w3 * M.LV(L.s_)]),
    Definition(M.Lmax(M.v_new), W.maximum((M.v_new - M.R_)**2 / 2, (_kept - M.R_)**2 / 2)),
    Definition(M.Lmin(M.v_new), W.minimum((M.v_new - M.R_)**2 / 2, (_kept - M.R_)**2 / 2)),
    Definition(M.log_normal(L.x_, W.μ, M.ς), -(L.x_ - W.μ)**2 / (2 * M.ς**2) - L.log(M.ς) - L.log(2 * sp.pi) / 2),
    Definition(M.g_μ(L.x_), (L.x_ - W.μ) / M.ς**2),
    Definition(M.g_ς(L.x_), (L.x_ - W.μ)**2 / M.ς**2 - 1),
    Definition(M.σ(L.x_), 1 / (1 + L.exp(-L.x_))),
    Definition(M.prefers(M.y1, M.y2), M.σ(M.rφ(M.y1) - M.rφ(M.y2))),
    Definition(M.LRM(M.y1, M.y2), -L.log(M.prefers(M.y1, M.y2))),
    Definition(M.p_(M.y_), L.exp(L.z[M.y_] / M.κ) / L.Σ(L.exp(L.z[M.v_] / M.κ), M.v_)),
    Definition(M.Hp(), -L.Σ(M.p_(M.v_) * L.log(M.p_(M.v_)), M.v_)),
    Definition(M.Zβ(L.s_), L.E(_ref)[L.exp(L.f(L.a_) / L.β)]),
    Definition(M.best(L.a_, L.s_), _ref * L.exp(L.f(L.a_) / L.β) / M.Zβ(L.s_)),
    Definition(M.πo(L.τ), L.Π(L.π(L.a[L.t], L.s[L.t]), (L.t, 0, L.T))),
    Definition(M.πo_ref(L.τ), L.Π(L.π_ref(L.a[L.t], L.s[L.t]), (L.t, 0, L.T))),
    Definition(O.rit[L.i, L.t], L.π(*_at) / L.π_old(*_at)),
    Definition(O.kit[L.i, L.t], _ref_ratio - L.log(_ref_ratio) - 1),
    Definition(O.mit[L.i, L.t], W.Less(0, _it[1]) * W.Less(_it[0], 1 + L.ε) + W.Less(_it[1], 0) * W.Less(1 - L.ε, _it[0])),
    Definition(O.si[L.i], L.exp(over_tokens(L.log(O.rit[L.i, L.t])) / O.length(L.i))),
    Definition(O.πoi(L.i), L.Π(L.π(*_at), (L.t, 1, O.length(L.i)))),
    Definition(O.πoi_old(L.i), L.Π(L.π_old(*_at), (L.t, 1, O.length(L.i)))),
    Definition(O.Jclip(L.θ), O.E_group[_per_completion]),
    Definition(O.Jgrpo(L.θ), O.E_group[over_group(
        over_tokens(clipped(*_it) - L.β * O.kit[L.i, L.t]) / O.length(L.i)) / L.G]),
    Definition(O.Jrloo(L.θ), O.E_group[over_group(K.Âloo(L.i) * L.log(O.πoi(L.i))) / L.G]),
    Definition(O.Jdr(L.θ), O.E_group[over_group(over_tokens(clipped(*_it))) / L.G]),
    Definition(O.Jdapo(L.θ), O.E_group[over_group(over_tokens(clipped(*_it, O.ε_low, O.ε_high))) / _tokens_of_all]),
    Definition(O.Jgspo(L.θ), O.E_group[over_group(clipped(O.si[L.i], O.Âi[L.i])) / L.G]),
    Definition(O.Jcispo(L.θ), O.E_group[over_group(over_tokens(
        L.sg[L.Clip(O.rit[L.i, L.t], 1 - O.ε_low, 1 + O.ε_high)] * O.Âit[L.i, L.t] * L.log(L.π(*_at)))) / _tokens_of_all]),
    Definition(K.mean(L.r), L.Σ(L.r[L.j], (L.j, 1, L.G)) / L.G),
    Definition(K.std(L.r), root_mean_square(L.r[L.j] - K.mean(L.r))),
    Definition(K.std_sample(L.r), root_mean_square(L.r[L.j] - K.mean(L.r), L.G - 1)),
    Definition(K.Âg(L.i), _centred / K.std(L.r)),
    Definition(K.Âε(L.i), _centred / (K.std(L.r) + L.ε)),
    Definition(K.Âs(L.i), _centred / K.std_sample(L.r)),
    Definition(K.Âloo(L.i), L.r[L.i] - (L.Σ(L.r[L.j], (L.j, 1, L.G)) - L.r[L.i]) / (L.G - 1)),
    Definition(K.wG(L.G, K.rate), binomial(sp.sqrt(L.k / L.G * (1 - L.k / L.G))) / (K.rate * (1 - K.rate))),
    Definition(C.pass_k(L.k, L.n, C.right), 1 - sp.binomial(L.n - C.right, L.k) / sp.binomial(L.n, L.k)),
    Definition(O.overlong(L.x_), L.Clip((O.x_max - O.x_cache - L.x_) / O.x_cache, -1, 0)),
)
