"""The words of the chapters on PPO: ratios of two policies, surrogates, and how far two policies are apart.

    rθ[t]                       r_t(θ) = π_θ(a_t | s_t) / π_old(a_t | s_t)
    Lold(θ)                     the surrogate: an expectation over trajectories of π_old
    LCLIP(θ), Lclip[t]          the clipped surrogate, and what time t contributes to it
    P_old(τ), P_ref(τ)          the probability of a trajectory under π_old, under π_ref
    KL(s_), KL_reverse(s_)      KL(π || π_ref) and KL(π_ref || π) in one state
    χ2_old(s_), χ2_ref(s_)      χ²(π || π_old) and χ²(π || π_ref) in one state
    KL_path(θ)                  KL of the distributions of whole trajectories
    Less(x, y)                  1[x < y]: one if it is true, else zero
    k1(z_), k2(z_), k3(z_)      Schulman's estimators, functions of the ratio z = π_ref / π
"""
import sympy as sp

from . import language as L

__all__ = ["KL", "KL_path", "KL_reverse", "LCLIP", "Less", "Lold", "P_old", "P_ref", "k1", "k2", "k3", "maximum", "minimum", "z_",
           "μ", "χ2_old", "χ2_ref"]

z_ = sp.Symbol("z", positive=True)                     # a ratio of two probabilities, any positive number
μ = sp.Symbol("mu", positive=True)                     # the mean of a normal distribution


def minimum(*args):
    """min(x, y, ...), in the order in which it is written."""
    return sp.Min(*args, evaluate=False)


def maximum(*args):
    """max(x, y, ...), in the order in which it is written."""
    return sp.Max(*args, evaluate=False)


class Less(L.Operator):
    """1[x < y]: one if it is true, else zero."""
    rank = 59

    def __new__(cls, x, y):
        return super().__new__(cls, sp.sympify(x), sp.sympify(y))

    def _latex(self, printer):
        return r"\mathbf{1}[%s < %s]" % tuple(map(printer._print, self.args))


class OfRatio(L.Head):
    """A function of one ratio: brackets as high as it is."""
    rank = 57

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return r"%s%s\left(%s\right)" % (self.tex, power, printer.arguments(self))


k1, k2, k3 = (type(f"k{i}", (OfRatio,), {"tex": f"k_{i}"}) for i in (1, 2, 3))


class Divergence(L.Head):
    """How far two laws of an action are apart, in one state: `sign`(first(. | s) || second(. | s))."""

    rank, sign, first, second = 62, r"\mathrm{KL}", None, None

    def _latex(self, printer, exp=None):
        laws = [law.tex + r"(\cdot \mid %s)" % printer.arguments(self) for law in (self.first, self.second)]
        out = r"%s\left(%s\right)" % (self.sign, r" \,\middle\|\, ".join(laws))
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp)


def divergence(name, sign, first, second):
    return type(name, (Divergence,), {"sign": sign, "first": first, "second": second})


KL = divergence("KL", r"\mathrm{KL}", L.π, L.π_ref)
KL_reverse = divergence("KL_reverse", r"\mathrm{KL}", L.π_ref, L.π)
χ2_old = divergence("χ2_old", r"\chi^2", L.π, L.π_old)
χ2_ref = divergence("χ2_ref", r"\chi^2", L.π, L.π_ref)


class PathLaw(L.Distribution):
    """The probability of a whole trajectory under another policy than π_θ."""
    rank, over, policy = 10, "trajectories", None

    def _latex(self, printer, exp=None):
        power = "" if exp is None else "^{%s}" % exp
        return rf"P{power}({printer._print(self.args[0])} \mid {self.tex})"


P_old = type("P_old", (PathLaw,), {"tex": r"\theta_{\mathrm{old}}", "policy": L.π_old})
P_ref = type("P_ref", (PathLaw,), {"tex": r"\mathrm{ref}", "policy": L.π_ref})


class OfParameters(L.Head):
    """A number that depends on θ: `Lold(θ)`, `KL_path(θ)`."""
    rank = 60


class Lold(OfParameters):
    """L_old(θ): the surrogate."""
    tex = r"L_{\mathrm{old}}"


class LCLIP(OfParameters):
    """L^CLIP(θ): the clipped surrogate."""
    tex = r"L^{\mathrm{CLIP}}"


class KL_path(OfParameters):
    """KL(P_θ || P_ref): of the trajectories of two policies."""

    def _latex(self, printer, exp=None):
        out = r"\mathrm{KL}\left(P_\theta \,\middle\|\, P_{\mathrm{ref}}\right)"
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp)


L.PLACES.update(dict.fromkeys((KL, KL_reverse, χ2_old, χ2_ref), "s"))
