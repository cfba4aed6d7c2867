"""Trees as one line of text, in the notation an author types: for error messages and lists.

    grad(J(θ)) = E[Σ(grad(log(π(a[t], s[t])))*R(τ), (t, 0, T))]
"""
import sympy as sp
from sympy.printing.str import StrPrinter

from . import language as L

GREEK = {"gamma": "γ", "lambda": "λ", "alpha": "α", "varepsilon": "ε", "beta": "β", "tau": "τ", "theta": "θ", "delta": "δ",
         "phi": "φ", r"\hat A": "Â", r"R^{\lambda}": "Rλ", r"\delta^{\pi}": "δπ", r"\mathrm{old}": "θ_old",
         r"V_{\mathrm{old}}": "V_old", r"\hat R": "R_",
         r"r(\theta)": "rθ", r"k(\theta)": "kθ", r"s(\theta)": "sθ",
         r"\varepsilon_{\mathrm{low}}": "ε_low", r"\varepsilon_{\mathrm{high}}": "ε_high", r"L^{\mathrm{CLIP}}(\theta)": "Lclip"}
HEADS = {L.π: "π", L.π_old: "π_old", L.π_ref: "π_ref", L.q: "p_θ", L.ρ0: "ρ0", L.p: "P", L.reward: "r",
         L.V_togo: "V", L.N_togo: "N", L.U_togo: "U", L.G_togo: "G", L.Â_n: "Â_n"}
OPERATORS = {L.Grad: "grad", L.Over: "Σ", L.SquaredNorm: "norm2", L.Slope: "slope", L.Shifted: "step", L.At: "at"}


def text(expr):
    """The tree in one line."""
    return Plain().doprint(sp.sympify(expr))


class Plain(StrPrinter):
    """Each operator under the name by which an author calls it."""

    def _print_Symbol(self, e):
        return GREEK.get(e.name, e.name)

    def _print_IndexedBase(self, e):
        return GREEK.get(str(e.label), str(e.label))

    def _print_Indexed(self, e):
        return "%s[%s]" % (self._print(e.base), ", ".join(map(self._print, e.indices)))

    def _print_Function(self, e):
        if isinstance(e, L.Estimate):
            return "ĝ"
        if isinstance(e, L.Ascent):
            return "θ[k + 1]"
        if isinstance(e, L.Distribution) and len(e.args) > 1:
            first, *given = map(self._print, e.args)
            return "%s(%s | %s)" % (HEADS.get(type(e), type(e).__name__), first, ", ".join(given))
        return "%s(%s)" % (HEADS.get(type(e), type(e).__name__), ", ".join(map(self._print, e.args)))

    def _print_Sum(self, e):
        limits = ", ".join("(%s)" % ", ".join(map(self._print, limit)) for limit in reversed(e.limits))
        return f"Σ({self._print(e.function)}, {limits})"

    def _print_Product(self, e):
        return self._print_Sum(e).replace("Σ", "Π", 1)

    def _print_Operator(self, e):
        args = ", ".join(map(self._print, e.args))
        name = OPERATORS.get(type(e), type(e).__name__)
        return f"{name}({args})"

    def _print_SampleSum(self, e):
        return f"Σ({self._print(e.args[0])}, D)"

    def _print_Expect(self, e):
        return self._bracket("E", e)

    def _print_ExpectOld(self, e):
        return self._bracket("E(π_old)", e)

    def _print_Variance(self, e):
        return self._bracket("Var", e)

    def _print_OverCompletions(self, e):
        return self._bracket("E_o", e)

    def _bracket(self, sign, e):
        body, *given = map(self._print, e.args)
        return f"{sign}[{body}{' | ' + ', '.join(given) if given else ''}]"

    def _print_Covariance(self, e):
        return "Cov[%s]" % ", ".join(map(self._print, e.args))

    def _print_Under(self, e):
        return "E(%s)[%s]" % (self._print(e.args[1]), self._print(e.args[0]))

    def _print_VarianceUnder(self, e):
        return "Var(%s)[%s]" % (self._print(e.args[1]), self._print(e.args[0]))

    def _print_StopGradient(self, e):
        return "sg[%s]" % self._print(e.args[0])
