"""The language of the book: sympy trees that mean what a paper means and evaluate nothing.

Every object below is an ordinary sympy expression, so `xreplace`, `preorder_traversal` and therefore
mutation work on it. Nothing here knows how to compute a value: the *readers* (`mdp`, `sums`, `samples`,
`horizon`, `induction`, `cases`, `gaussian`, `groups`, `numeric`, `tensors`, `printing`) give a tree its meaning.

Conventions, the text's own: a trajectory is τ = (s_0, a_0, r_0, ..., s_T, a_T, r_T, s_{T+1}); t runs from
0 to T; r_t = r(s_t, a_t, s_{t+1}); R(τ) = Σ_t γ^t r_t.

    a[t], s[t], r[t]     what happened at time t on the trajectory that is being spoken of
    a_, s_, s_new        an action, a state, a next state: bound by a sum, or "for every"
    π(a_, s_)            π_θ(a | s)            p(s_new, s_, a_)     P(s' | s, a)
    E[X], E[X, s[t]]     E over trajectories, E given s_t      E(π(a_, s_))[X]   E over one action
    E(π_old)[X]          E over trajectories of π_old; J(θ_old), V_old, Q_old, A_old are its return and its values
    Σ(X, (t, 0, T))      a sum over an index    Σ(X, a_), Σ(X, τ)   a sum over a finite set
    grad(X)              ∇_θ X                  grad(X, θ[b_])       ∂X/∂θ_b
"""
import sympy as sp

# -- indices and scalars -----------------------------------------------------------------------------
t, l, k, n, h = sp.symbols("t l k n h", integer=True)
m = sp.Symbol("m", integer=True, nonnegative=True)     # the length of a chunk
i, j = sp.symbols("i j", integer=True)
T = sp.Symbol("T", integer=True, nonnegative=True)
N, G = sp.symbols("N G", integer=True, positive=True)
γ, λ, α, ε, β = sp.symbols("gamma lambda alpha varepsilon beta", positive=True)
θ = sp.IndexedBase("theta")
θ_old = sp.Symbol(r"\mathrm{old}")                     # the parameters of π_old: J(θ_old) prints J(π_old)
φ = sp.Symbol("phi")                                    # parameters of another network: a critic, a reward model
τ = sp.Symbol("tau")
a, s, r = (sp.IndexedBase(sp.Symbol(name, real=True)) for name in "asr")   # no relatives of the symbols a_ and s_ below
δ, Â, Rλ = map(sp.IndexedBase, ("delta", r"\hat A", r"R^{\lambda}"))     # TD error, advantage estimate, λ-return
δπ = sp.IndexedBase(r"\delta^{\pi}")                   # the TD error of the true value function
Y, Z = sp.IndexedBase("Y"), sp.IndexedBase("Z")        # Y_t = x_t + c_t Y_{t+1} from the end; Z_t = w_t + c_{t-1} Z_{t-1}
u, Gt = (sp.IndexedBase(sp.Symbol(name, real=True)) for name in "uG")     # the score at time t; the return from time t on
rθ = sp.IndexedBase(r"r(\theta)")                      # rθ[t] prints r_t(θ): the probability ratio at time t
Lclip = sp.IndexedBase(r"L^{\mathrm{CLIP}}(\theta)")   # what time t contributes to the clipped surrogate
OF_PATH = s, a, r, u, Gt, δ, δπ, Â, Rλ, rθ, Lclip      # what belongs to the trajectory that is being spoken of
c, d, w, x, y, z = map(sp.IndexedBase, "cdwxyz")       # any sequences; d[t] is 1 if the episode ends with step t, else 0
a_, b_, s_, s_new = sp.Symbol("a"), sp.Symbol("b"), sp.Symbol("s"), sp.Symbol("s'")
x_ = sp.Symbol("x")                                    # an outcome of any finite random experiment

log, exp = sp.log, sp.exp


# -- named functions ---------------------------------------------------------------------------------
class Head(sp.Function):
    """A named function of the book. `rank` orders the factors of a product: small ranks are printed first."""
    tex, rank, bar, up, weighs = "", 58, r",\, ", None, True      # weighs: 1/X stands before what it multiplies

    @classmethod
    def eval(cls, *args):
        return None

    def _latex(self, printer, exp=None):
        args = printer.arguments(self)
        power = "" if exp is None else "^{%s}" % exp
        return f"{self.tex}{power}({args})" if args else f"{self.tex}{power}"


def head(name, tex=None, rank=58, bar=r",\, ", base=Head):
    """A new head; `tex` is how it prints, `bar` separates its first argument from what it depends on."""
    return type(name, (base,), {"tex": tex or name, "rank": rank, "bar": bar})


class Distribution(Head):
    """A probability of its first argument given the others: it sums to one over the first, an element of the set `over`."""
    over = "actions"


class Trained(Distribution):
    """A distribution that depends on θ, smoothly and without zeros: it has a score ∇ log."""


MID = r" \mid "
π = head("pi", r"\pi_\theta", 20, MID, Trained)
π_old = head("pi_old", r"\pi_{\mathrm{old}}", 20, MID, Distribution)
π_ref = head("pi_ref", r"\pi_{\mathrm{ref}}", 20, MID, Distribution)
q = head("q", r"p_\theta", 20, MID, Trained)           # the distribution of one random outcome x
ρ0 = head("rho_0", r"\rho_0", 10, MID, Distribution)   # where trajectories start
p = head("p", "P", 15, MID, Distribution)              # the dynamics, p(s', s, a) = P(s' | s, a)
ρ0.over, p.over, q.over = "states", "states", "outcomes"


class P(Trained):
    """P(τ | θ): the probability of a whole trajectory."""
    tex, rank, over = "P", 10, "trajectories"

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return rf"P{power}({printer._print(self.args[0])} \mid \theta)"


class J(Head):
    """J(π_θ): the expected return."""
    tex, rank = "J", 60

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return rf"J{power}(\pi_{{{printer._print(self.args[0])}}})"


R = head("R", "R", 62)                                 # the return of a trajectory
reward = head("r", "r", 58)                            # reward(s, a, s'): the function behind r[t]
V = head("V", r"V^{\pi}", 62)
Q = head("Q", r"Q^{\pi}", 62)
A = head("A", r"A^{\pi}", 62)
V_old = head("V_old", r"V^{\pi_{\mathrm{old}}}", 62)    # the same of π_old
Q_old = head("Q_old", r"Q^{\pi_{\mathrm{old}}}", 62)
A_old = head("A_old", r"A^{\pi_{\mathrm{old}}}", 62)
b_star = head("b_star", r"b^{*}", 62)                  # the best baseline of one state
Vhat = head("Vhat", "V", 62)                           # any function of the state: a learned critic
b = head("b", "b", 62)                                 # any baseline
f = head("f", "f", 62)                                 # any function of an outcome
Φ = sp.IndexedBase("Phi")                              # what multiplies the score at time t
D = sp.Symbol("D")                                     # a data set: N trajectories, drawn independently


class ToGo(Head):
    """A function of a state when `h` steps are left, defined by recursion over h: `V_togo(h, s)` prints V_h(s)."""
    rank = 62

    def _latex(self, printer, exp=None):
        steps, *rest = map(printer._print, self.args)
        power = "" if exp is None else "^{%s}" % exp
        return "%s_{%s}%s(%s)" % (self.tex, steps, power, ", ".join(rest))


V_togo = head("V_togo", "V", 62, base=ToGo)            # expected return of h steps
N_togo = head("N_togo", "N", 62, base=ToGo)            # total probability of all continuations of h steps
U_togo = head("U_togo", "U", 62, base=ToGo)            # expected sum of h scores
G_togo = head("G_togo", "G", 62, base=ToGo)            # expected product of the h scores' sum and the return
G_future = head("G_future", r"G^{\to}", 62, base=ToGo) # the same, each score with the rewards from its own time on
G_baseline = head("G_baseline", "G^{b}", 62, base=ToGo)   # ... minus a baseline
G_value = head("G_value", "G^{Q}", 62, base=ToGo)      # expected sum of γ^t score Q over h steps
G_advantage = head("G_advantage", "G^{A}", 62, base=ToGo)   # the same with A
b_togo = head("b_togo", "b", 62, base=ToGo)            # any baseline: a function of the state and of the steps left
Q_togo = head("Q_togo", "Q", 62, base=ToGo)            # Q_togo(h, s, a): expected return of h steps that begin with a
A_togo = head("A_togo", "A", 62, base=ToGo)
V_old_togo = head("V_old_togo", r"V^{\mathrm{old}}", 62, base=ToGo)     # the same of π_old
Q_old_togo = head("Q_old_togo", r"Q^{\mathrm{old}}", 62, base=ToGo)
A_old_togo = head("A_old_togo", r"A^{\mathrm{old}}", 62, base=ToGo)
D_togo = head("D_togo", "D", 63, base=ToGo)            # expected sum of γ^t A_old over h steps of π_θ


class AfterSteps(Head):
    """What is known after n steps, from time t on: `Â_n(n, t)` prints Â_t^(n)."""
    rank = 62

    def _latex(self, printer, exp=None):
        out = "%s^{(%s)}_{%s}" % (self.tex, *map(printer._print, self.args))
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp)


Â_n = head("Ahat_n", r"\hat A", base=AfterSteps)       # the n-step advantage
G_n = head("G_n", "G", base=AfterSteps)                # the n-step return
e = head("e", "e", 62)                                 # the error of a critic, V - V^π


g_return = head("g_return", r"g_{\mathrm{return}}", 62)   # what one trajectory says about the gradient: scores times returns,
g_togo = head("g_togo", r"g_{\mathrm{togo}}", 62)      # scores times rewards-to-go,
g_past = head("g_past", r"g_{\mathrm{past}}", 62)      # scores times the rewards before them


class Estimate(Head):
    """ĝ: the sample mean over a data set, a random vector."""
    tex, rank = r"\hat g", 40

    def _latex(self, printer, exp=None):
        return r"\hat g" if exp is None else r"\hat g^{%s}" % exp


ĝ = Estimate()


class Ascent(Head):
    """θ_{k+1}: the parameters after one step of gradient ascent."""
    tex, rank = r"\theta_{k + 1}", 61


θ_next = Ascent()


# -- operators ---------------------------------------------------------------------------------------
class Operator(sp.Expr):
    """An operator that sympy must carry and never evaluate. Each is printed by `printing.Printer`."""
    is_commutative = True
    rank = 40


class Grad(Operator):
    """`Grad(X)` is ∇_θ X; `Grad(X, θ[b])` is one component, ∂X/∂θ_b."""


class Expect(Operator):
    """`Expect(X)`: over trajectories of π_θ; `Expect(X, s[t], a[t])`: given s_t and a_t."""
    rank = 45


class ExpectOld(Operator):
    """`ExpectOld(X)`: over trajectories of π_old, whatever X is; conditions as in `Expect`."""
    rank = 45


class Under(Operator):
    """`Under(X, π(a, s))` = Σ_a π(a | s) X: over the first argument of one distribution."""
    rank = 45


class Variance(Operator):
    """Var[X] over trajectories (for a vector: along any fixed direction)."""
    rank = 45


class Covariance(Operator):
    """Cov[X, Y] over trajectories."""
    rank = 47


class VarianceUnder(Operator):
    """Var of X over the first argument of one distribution."""
    rank = 45


class Over(Operator):
    """A sum over a finite set; which set is known from the symbol's letter: `Over(X, a)`, `Over(X, τ)`."""
    rank = 42


class SampleSum(Operator):
    """`SampleSum(X)` = Σ_{τ in D} X(τ): over the N independent trajectories of a data set."""
    rank = 42


class StopGradient(Operator):
    """sg[X]: the value of X, treated as a constant by ∇."""


class AtOld(Operator):
    """The value at θ_old = θ, taken after any gradient inside."""


class Slope(Operator):
    """`Slope(X, α)`: d/dα of X at α = 0, where X holds θ_{k+1} = θ_k + α v."""


class At(Operator):
    """`At(X, λ, 0)`: X at λ = 0, where X may hold λ in its definition only."""
    rank = 62

    def _latex(self, printer):
        body, where = self, []
        while isinstance(body, At):
            body, x, value = body.args
            where.insert(0, "%s=%s" % (printer._print(x), printer._print(value)))
        return r"\left. %s \right|_{%s}" % (printer._print(body), r",\, ".join(where))


class SquaredNorm(Operator):
    """‖∇X‖²: the sum of the squares of all components of a gradient."""
    rank = 44


class Shifted(Operator):
    """θ + α v: the parameters after a step of size α along v."""
    rank = 61


class Clip(sp.Function):
    """clip(x, low, high)."""
    nargs = 3

    @classmethod
    def eval(cls, *args):
        return None


# -- how an author writes them -----------------------------------------------------------------------
class Bracket:
    """`E[X]`, `E[X, s[t]]` and `E(π(a_, s_))[X]` read as mathematics."""

    def __init__(self, whole, under, given=None, old=None):
        self._whole, self._under, self._given, self._old = whole, under, given, old

    def __call__(self, distribution):
        if distribution is π_old and self._old is not None:
            return Bracket(self._old, None)
        if not isinstance(distribution, Distribution):
            raise TypeError(f"an expectation needs a distribution such as π(a_, s_), not {distribution}")
        return Bracket(self._whole, self._under, distribution)

    def __getitem__(self, item):
        body, *given = map(sp.sympify, item if isinstance(item, tuple) else (item,))
        if self._given is not None:
            if given:
                raise TypeError("condition inside the distribution, not inside the bracket")
            return self._under(body, self._given)
        return self._whole(body, *given)


E, Var = Bracket(Expect, Under, old=ExpectOld), Bracket(Variance, VarianceUnder)


class _Covariance:
    def __getitem__(self, pair):
        one, other = map(sp.sympify, pair)
        return Covariance(one, other)


Cov = _Covariance()


class _StopGradient:
    def __getitem__(self, body):
        return StopGradient(sp.sympify(body))


sg = _StopGradient()


def grad(body, *component):
    """∇_θ of `body`, or its component `θ[b]`."""
    return Grad(sp.sympify(body), *component)


def at(body, **values):
    """`at(Â[t], λ=0)`: the value of `body` where a number is 0 or 1."""
    for name, value in values.items():
        number = globals().get(name)
        if not isinstance(number, sp.Symbol) or number.is_integer:
            raise TypeError(f"at takes numbers such as λ=0, not {name}={value}")
        body = At(sp.sympify(body), number, sp.sympify(value))
    return body


def norm2(gradient):
    """‖∇X‖² of `grad(X)`."""
    if not isinstance(gradient, Grad):
        raise TypeError(f"norm2 takes a gradient, not {gradient}")
    return SquaredNorm(gradient)


def Σ(body, *limits):
    """A sum over an index (t, low, high), over a finite set (a_, s_new, τ), or over the data set (D)."""
    body = sp.sympify(body)
    for limit in reversed(limits):
        if limit == D:
            body = SampleSum(body)
        else:
            body = Over(body, limit) if isinstance(limit, sp.Symbol) else sp.Sum(body, limit)
    return body


def Π(body, limit):
    """A product over an index (t, low, high)."""
    return sp.Product(sp.sympify(body), limit)


indicator = sp.KroneckerDelta                          # indicator(a_, b_) is 1 if a = b, else 0
now = Grad(log(π(a[t], s[t])))                         # the score of the action taken at time t


# what each argument is: a state, an action, anything (-)
PLACES = {π: "as", π_old: "as", ρ0: "s", p: "ssa", reward: "sas", Q: "sa", A: "sa", Q_old: "sa", A_old: "sa"}
PLACES |= {F: "-sa" for F in (Q_togo, A_togo, Q_old_togo, A_old_togo)}
PLACES |= {F: "-s" for F in vars().values() if isinstance(F, type) and issubclass(F, ToGo) and F not in (ToGo, *PLACES)}


def misplaced(e):
    """The first argument of π, ρ_0, P or r that is a state where an action belongs or the other way round; else None."""
    for x, place in zip(e.args, PLACES.get(type(e), ""), strict=False):
        name = str(x.base.label) if isinstance(x, sp.Indexed) else str(x)
        if place != "-" and {"a": "a", "b": "a", "s": "s"}.get(name[0]) != place:
            return x
    return None


def speaks_of_path(e):
    """Does the expression speak of one particular trajectory (and so holds "for every τ")?"""
    if isinstance(e, Expect | ExpectOld | Variance):
        return any(map(speaks_of_path, e.args[1:]))
    if isinstance(e, SampleSum | Estimate | Covariance) or isinstance(e, Over) and e.args[1] == τ:
        return False
    return e == τ or isinstance(e, sp.Indexed) and e.base in OF_PATH or any(map(speaks_of_path, e.args))
