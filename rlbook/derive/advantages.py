"""The words of the chapters on GRPO: what a group of rewards says about each of them.

A group is G completions o_1, ..., o_G of one prompt q, with rewards r_1, ..., r_G.

    r[i], uo[i], length(i)      the reward of completion i; its score ∇_θ log π_θ(o_i | q), printed u_i; its tokens |o_i|
    mean(r), std(r)             over the group; std(r) divides by G, std_sample(r) by G - 1
    Âg(i), Âε(i), Âs(i), Âloo(i)    the advantage of GRPO; with ε below; with the sample std; that of RLOO
    E_o[X]                      over G independent completions of one prompt, drawn from π_θ
    rate                        p = E[r_i], where rewards are 0 or 1: the success rate
    wG(G, rate)                 w_G(p): what GRPO multiplies ∇p by
    o_, q_, ro(o_), tokens(o_)  a completion, its prompt, its reward and how many tokens it has: π(o_, q_) is π_θ(o | q)
    e1, e2, r1, r2, r3          the chance to stop at token 1, at token 2; the reward of one, two and three tokens
    go                          the chance of one more token, the same at every token
    short_right, short_wrong    the mean of 1/|o| of right and of wrong answers
"""
import sympy as sp

from . import language as L

__all__ = ["E_o", "asin", "binomial", "c_", "e1", "e2", "go", "mean", "o_", "q_", "r1", "r2", "r3", "rate", "ro",
           "short_right", "short_wrong", "sqrt", "std", "std_sample", "tokens", "uo", "wG", "Âg", "Âloo", "Âs", "Âε"]

asin, binomial, sqrt = sp.asin, sp.binomial, sp.sqrt
uo = sp.IndexedBase("u")                               # (not the base of u_t, which belongs to a trajectory)
rate = sp.Symbol("p", positive=True)
c_ = sp.Symbol("c", real=True)                         # a constant that is added to every reward
o_, q_ = sp.symbols("o q")
e1, e2, go = sp.symbols("e_1 e_2 eta", positive=True)
r1, r2, r3 = sp.symbols("r_1 r_2 r_3", real=True)
short_right, short_wrong = sp.symbols(r"\ell_{\mathrm{right}} \ell_{\mathrm{wrong}}", positive=True)
ro = L.head("r_o", "r", 58)
LETTERS_OF_θ = rate, go, e1, e2, short_right, short_wrong, uo      # all of these depend on the policy
APART = {e1, e2}                                       # two logits: each is constant along the other


class Statistic(L.Head):
    """A number that all rewards of a group have together."""
    weighs = False

    def _latex(self, printer, exp=None):
        out = "%s(%s)" % (self.tex, printer._print(self.args[0]))
        return out if exp is None else "%s^{%s}" % (out, exp)


mean, std, std_sample = (L.head(name, r"\operatorname{%s}" % tex, 4, base=Statistic) for name, tex in (
    ("mean", "mean"), ("std", "std"), ("std_sample", r"std}_{\mathrm{sample}")))


class Tokens(L.Head):
    """|o|"""
    rank, is_positive, weighs = 4, True, False

    def _latex(self, printer, exp=None):
        return "|%s|" % printer._print(self.args[0]) + ("" if exp is None else "^{%s}" % exp)


class OfCompletion(L.Head):
    """The advantage of completion i."""
    rank, kind = 59, ""

    def _latex(self, printer, exp=None):
        kind = r"^{\,\mathrm{%s}}" % self.kind if self.kind.isalpha() else "^{%s}" % self.kind if self.kind else ""
        out = r"\hat A%s_{%s}" % (kind, printer._print(self.args[0]))
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp) if kind else "%s^{%s}" % (out, exp)


Âg, Âε, Âs, Âloo = (type(name, (OfCompletion,), {"kind": kind}) for name, kind in (
    ("Âg", ""), ("Âε", r"\varepsilon"), ("Âs", "sample"), ("Âloo", "RLOO")))
tokens = type("tokens", (Tokens,), {})


class Weight(L.Head):
    """wG(G, p): prints w_G(p)."""
    rank = 6

    def _latex(self, printer, exp=None):
        size, p = map(printer._print, self.args)
        return "w_{%s}%s(%s)" % (size, "" if exp is None else "^{%s}" % exp, p)


wG = type("wG", (Weight,), {})


class OverCompletions(L.Operator):
    """E over the completions of one prompt."""
    rank = 45

    def _latex(self, printer):
        body, = self.args
        one = not body.has(sp.Sum, mean, std, std_sample, Âg, Âε, Âs, Âloo)
        source = "o_{%s}" % printer._print(L.i) if one else r"o_1, \ldots, o_G"
        return r"\mathbb{E}_{%s \sim %s(\cdot \mid q)}\!\left[ %s \right]" % (source, L.π.tex, printer._print(body))


E_o = L.Bracket(OverCompletions, None)
