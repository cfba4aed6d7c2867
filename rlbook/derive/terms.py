"""The words of the chapters on PPO's other terms: entropy, the critic, normal policies, preferences, tokens.

    H(s_)                       the entropy of π_θ(. | s)
    Vφ(s_), rφ(y)               a critic, a reward model: functions with parameters φ of their own; grad(X, φ) is ∇_φ X
    Rhat(s_)                    the target of the critic; it may depend on φ, as a bootstrapped one does
    LV(s_)                      the critic's loss in one state
    Ahat(s_, a_)                an advantage estimate: a number, free of θ
    Lppo(θ, φ)                  the objective of PPO
    log_normal(x, μ, ς)         the log-density of a normal distribution; g_μ(x), g_ς(x) its derivatives along μ and log ς
    σ(x), prefers(y1, y2)       the logistic function; the probability that the first answer is preferred
    p_(v_)                      the probability of a token, a softmax of the logits z[v]
"""
import sympy as sp

from . import language as L

__all__ = ["Ahat", "H", "Hp", "LRM", "LV", "Lmax", "Lmin", "Lppo", "R_", "Rational", "Rhat", "Vφ", "Zβ", "Δ", "actions",
           "b1", "b2", "best", "d_old", "euler", "g_μ", "g_ς", "log_normal", "p1", "p_", "pi", "prefers", "rφ", "step", "v",
           "v_", "v_new", "v_old", "w1", "w2", "w3", "y1", "y2", "y_", "κ", "μ_old", "πo", "πo_ref", "ς", "ς_old", "σ", "φ"]

φ, Rational = L.φ, sp.Rational
b1, b2 = sp.symbols("b1 b2")                           # two actions
actions = sp.Symbol(r"|\mathcal{A}|", positive=True)   # the number of actions: what Σ(1, a_) is
w1, w2, w3 = sp.symbols("w_1 w_2 w_3", positive=True)  # the weights of PPO's terms
v = sp.IndexedBase("V")                                # values of numbered states
v_new, v_old = sp.Symbol("V", real=True), sp.Symbol(r"V_{\mathrm{old}}", real=True)    # the critic's value now, and before
R_ = sp.Symbol(r"\hat R", real=True)                   # its target
step = L.head("step", "x", 62)                         # how far the logit of an action is moved
p1 = sp.Symbol(r"\bar p", positive=True)               # how often the first answer is preferred
Δ = sp.Symbol("Delta", real=True)                      # a difference of two rewards
κ = sp.Symbol("kappa", positive=True)                  # a temperature
ς = sp.Symbol("sigma", positive=True)                  # a standard deviation
μ_old, ς_old = sp.Symbol(r"\mu_{\mathrm{old}}", real=True), sp.Symbol(r"\sigma_{\mathrm{old}}", positive=True)
pi, euler = sp.pi, sp.E                                # the numbers: 3.14..., 2.71...
y1, y2 = sp.symbols("y_1 y_2")                         # two answers to one prompt
y_, v_ = sp.Symbol("y"), sp.Symbol("v")                # tokens of the vocabulary


class Entropy(L.Head):
    """H(s_): the entropy of the policy in one state."""
    tex, rank = r"\mathcal{H}", 62

    def _latex(self, printer, exp=None):
        out = r"\mathcal{H}\left[%s(\cdot \mid %s)\right]" % (L.π.tex, printer.arguments(self))
        return out if exp is None else r"%s^{%s}" % (out, exp)


class Learned(L.Head):
    """A function with parameters φ: ∇_φ differentiates it, ∇_θ does not."""
    rank = 62


H = type("H", (Entropy,), {})
Vφ, rφ = L.head("V_phi", r"V_\phi", 62, base=Learned), L.head("r_phi", r"r_\phi", 62, base=Learned)
Rhat = L.head("R_hat", r"\hat R", 62, base=Learned)
LV = L.head("L_V", "L_V", 62)
Ahat = L.head("A_hat", r"\hat A", 62)
Lppo = L.head("L_PPO", r"L_{\mathrm{PPO}}", 60)
d_old = L.head("d_old", r"d_{\mathrm{old}}", 10, L.MID, L.Distribution)    # the states of a batch
d_old.over = "states"
Lmax, Lmin = L.head("L_max", r"L^{\max}_V", 62), L.head("L_min", r"L^{\min}_V", 62)    # value clipping as coded, as printed
σ = L.head("logistic", r"\sigma", 57)
g_μ, g_ς = L.head("g_mu", r"g_\mu", 57), L.head("g_sigma", r"g_\sigma", 57)
LRM = L.head("L_RM", r"L_{\mathrm{RM}}", 62)


class LogNormal(L.Head):
    """log_normal(x, μ, ς): the logarithm of the density at x."""
    rank = 55

    def _latex(self, printer, exp=None):
        x, mean, deviation = map(printer._print, self.args)
        out = r"\log \mathcal{N}\left(%s;\, %s, %s^2\right)" % (x, mean, deviation)
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp)


class Preferred(L.Head):
    """prefers(y1, y2): P(y_1 ≻ y_2)."""
    rank = 20

    def _latex(self, printer, exp=None):
        out = r"P(%s \succ %s)" % tuple(map(printer._print, self.args))
        return out if exp is None else r"%s^{%s}" % (out, exp)


class Token(L.Head):
    """p_(v_): the probability of one token, a softmax of the logits."""
    rank = 20

    def _latex(self, printer, exp=None):
        out = "p_{%s}" % printer._print(self.args[0])
        return out if exp is None else r"%s^{%s}" % (out, exp)


class TokenEntropy(L.Head):
    """Hp(): the entropy of the distribution of a token."""
    tex, rank = r"\mathcal{H}(p)", 62

    def _latex(self, printer, exp=None):
        return self.tex if exp is None else "%s^{%s}" % (self.tex, exp)


class Completion(L.Head):
    """πo(τ): the probability of a completion o given its prompt q."""
    rank, law = 20, L.π

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return r"%s%s(o \mid q)" % (self.law.tex, power)


πo, πo_ref = type("πo", (Completion,), {}), type("πo_ref", (Completion,), {"law": L.π_ref})
Hp = type("Hp", (TokenEntropy,), {})
best = L.head("best", r"\pi^{*}", 20, L.MID)            # the policy that is best with the penalty
Zβ = L.head("Z_beta", r"Z_\beta", 62)                  # what makes it sum to one
log_normal, prefers, p_ = type("log_normal", (LogNormal,), {}), type("prefers", (Preferred,), {}), type("p_", (Token,), {})

L.PLACES.update({H: "s", LV: "s", Vφ: "s", Rhat: "s", Ahat: "sa"})
