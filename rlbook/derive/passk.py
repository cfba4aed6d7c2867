"""The words for pass@k: c of n completions are right, each with probability p.

    right                       c, a whole number from 0 to n
    pass_k(k, n, right)         prints pass@k(n, c): the estimate from n completions, c of them right
    E(Bin(right, n, rate))[X]   over the number c of right completions among n independent ones
"""
import sympy as sp

from . import language as L

__all__ = ["Bin", "pass_k", "right"]

right = sp.Symbol("c", integer=True)
Bin = L.head("Bin", r"\mathrm{Bin}", 20, ", ", L.Distribution)
Bin.over = "counts"


class Estimated(L.Head):
    """pass_k(k, n, c): prints pass@k(n, c)."""
    rank, weighs = 59, False

    def _latex(self, printer, exp=None):
        k, *rest = map(printer._print, self.args)
        out = r"\mathrm{pass}@%s(%s)" % (k, ", ".join(rest))
        return out if exp is None else r"\left(%s\right)^{%s}" % (out, exp)


pass_k = type("pass_k", (Estimated,), {})
