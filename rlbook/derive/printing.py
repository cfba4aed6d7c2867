"""Trees to LaTeX of paper quality: the one printer of the book.

sympy's own printer sorts factors and terms by its internal order and builds storeyed fractions. Here a
product is ordered by the `rank` of its factors (scalars, probabilities, gradients, sums, rewards), a sum
puts its positive terms first, and a fraction in front of a sum stays small. `tests/derive` shows that
no two different trees of the book (mutants included) print alike.
"""
import sympy as sp
from sympy.printing.latex import LatexPrinter

from . import language as L

LETTERS = "TtGNlnckijh"                                # the order of letters inside an index
WIDE = (sp.Sum, sp.Product, L.Operator)                # what a factor may not swallow: printed last


def latex(expr):
    """The LaTeX of a tree."""
    return Printer().doprint(sp.sympify(expr))


def rank(e):
    """Where a factor stands in a product."""
    if e.is_Number:
        return 0
    if e.is_NumberSymbol:
        return 1 if e == sp.pi else 2                  # 2 π e
    if isinstance(e, sp.Pow):
        return rank(e.base)
    if isinstance(e, sp.binomial):
        return 2 if e.args[0].is_Symbol else 2.5       # C(n, c) before C(n - c, k)
    if isinstance(e, sp.Symbol):
        return 3 if e.is_integer else 5
    if isinstance(e, L.Clip):
        return 49
    if isinstance(e, (sp.log, sp.exp)):
        return 55
    if isinstance(e, (sp.Sum, L.Over)):
        return 46 if e.has(L.Grad, L.u) else 70             # a sum of scores stands before what it weighs
    if isinstance(e, sp.Product):
        return 30
    if e.is_Mul:
        return 1 + max(map(rank, e.args))              # (γ λ)^l after γ
    if is_count(e):
        return 4                                       # (G - 1) / G before what it multiplies
    if isinstance(e, sp.Add):
        return 7 if is_scalar(e) and not e.is_integer else 64 if all(x.has(L.Grad, L.u) for x in e.args) else 65
    if isinstance(e, sp.Indexed) and e.base.label.name in (r"r(\theta)", r"s(\theta)"):
        return 39                                      # r_t(θ) before the score, and before the advantage that it weighs
    if isinstance(e, (sp.Indexed, sp.KroneckerDelta)):
        return 40 if isinstance(e, sp.Indexed) and e.base.label.name == "u" else 59     # a score stands before what it weighs
    return getattr(e, "rank", 58)


def is_scalar(e):
    """Is this built from numbers and symbols that are no indices, such as γ, 1 - λ or (γ λ)^l?"""
    e = e.base if isinstance(e, sp.Pow) else e
    return e.is_Number or e.is_Symbol and not e.is_integer or (e.is_Add or e.is_Mul) and all(map(is_scalar, e.args))


def is_count(e):
    """Is this a sum such as G - 1 or N + 2, of a sample's size and numbers?"""
    return isinstance(e, sp.Add) and e.free_symbols <= {L.G, L.N}


def is_index(e):
    """Is this sum of symbols and numbers a time or sample index, such as t + l + 1?"""
    return all(x.is_integer and (x.is_Symbol or x.is_Number or -x in e.free_symbols) for x in e.args)


def is_below(power):
    """Does a factor with this exponent stand below a fraction bar? 1/γ^t does, γ^(t - l) does not."""
    return not power.is_Add and power.could_extract_minus_sign()


class Printer(LatexPrinter):
    """See the module's text; every method prints one kind of node."""

    # -- sums, products, powers ----------------------------------------------------------------------
    def _print_Add(self, e, order=None):
        first, *rest = sorted(e.args, key=lambda x: self._term_key(x, is_index(e)))
        out = self._print(first)
        for term in rest:
            negative = term.could_extract_minus_sign()
            term = -term if negative else term
            body = self._print(term)
            out += (" - " if negative else " + ") + (r"\left(%s\right)" % body if term.is_Add else body)
        return out

    @staticmethod
    def _term_key(x, index):
        negative, core = x.could_extract_minus_sign(), x.as_coeff_Mul()[1]
        if index:
            place = 99 if x.is_Number else LETTERS.find(str(core)) % 50
            return x.is_Number, negative, place, str(x)
        if x.is_Number:
            return negative, -1 if not negative else 99, 0, str(x)
        scalars = [y for y in sp.Mul.make_args(core) if is_scalar(y)]
        others = [rank(y) for y in sp.Mul.make_args(core) if y not in scalars]
        powers = any(y.is_Pow and not y.exp.is_number for y in scalars) or any(isinstance(y, sp.Product) for y in core.args)
        late = 2 if others and powers else 1 if others and scalars else 0
        length = len(others) if all(isinstance(y, sp.Indexed | sp.Add) or y in scalars for y in sp.Mul.make_args(core)) else 0
        return negative, late, min(others or [rank(core)]), length, str(x)          # X + γ Y + γ^n Z; x_1 + c_1 x_2

    def _print_Mul(self, e):
        coefficient = e.as_coeff_Mul()[0]
        if coefficient.is_negative:
            body = -e
            return "-" + (self._wrap(body) if body.is_Add else self._print(body))
        above, below = [], []
        for x in self._one_root(sp.Mul.make_args(e)):
            base, power = x.as_base_exp()
            if x.is_Rational and not x.is_Integer:
                above += [sp.Integer(x.p)] if x.p != 1 else []
                below.append(sp.Integer(x.q))
            elif is_below(power):
                below.append(sp.Pow(base, -power))
            else:
                above.append(x)
        above.sort(key=lambda x: (rank(x), str(x).lower()))
        wide = [x for x in above if self._is_wide(x)]
        below_is_wide = any(self._is_wide(x) and not self._is_count(x) for x in below)
        ratio = wide and (isinstance(wide[0], L.Variance | L.VarianceUnder) or below_is_wide)
        if len(wide) == 1 and above == wide and below and ratio:
            wide = []                                  # Var[X] / N, E[X] / E[Y]
        small = [x for x in above if x not in wide]
        after = []
        if any(isinstance(x, L.Head) and x.weighs for x in below):   # π/π_old stays a ratio; what it weighs comes after it
            after, small = [x for x in small if rank(x) > 50], [x for x in small if rank(x) <= 50]
        elif any(map(is_count, (*small, *below))) and all(x.free_symbols <= {L.G, L.N} for x in below):
            after = [x for x in small if x.free_symbols - {L.G, L.N}]
            small = [x for x in small if x not in after]
        front = self._fraction(small, below) if below else self._sequence(small)
        middle = self._sequence(after)
        tail = [x for x in small if wide and rank(x) > max(map(rank, wide))]
        if tail and not below:                         # (a sum of scores) R(τ): what it weighs comes last
            front = self._sequence([x for x in small if x not in tail])
        else:
            tail = []
        back = r" \, ".join(self._factor(x, last=x is wide[-1] and not tail) for x in wide)
        return r" \, ".join(part for part in (front, middle, back, self._sequence(tail)) if part) or "1"

    @staticmethod
    def _one_root(factors):
        """The factors, where two or more square roots are one: sqrt(Σ) / sqrt(G) is sqrt(Σ / G)."""
        roots = [x for x in factors if abs(x.as_base_exp()[1]) == sp.Rational(1, 2)]
        if len(roots) < 2:
            return factors
        way = next((x.exp for x in roots if x.has(sp.Sum)), max(x.exp for x in roots))
        inside = sp.Mul(*[sp.Pow(x.base, x.exp / way) for x in roots], evaluate=False)
        return [x for x in factors if x not in roots] + [sp.Pow(inside, way, evaluate=False)]

    @staticmethod
    def _is_count(x):
        """Is this a number of things, such as Σ_i |o_i|?"""
        return isinstance(x, sp.Sum) and bool(x.args[0].is_integer)

    @staticmethod
    def _is_wide(x):
        base = x.as_base_exp()[0]
        if isinstance(base, sp.log | L.Head) or isinstance(base, L.Grad) and len(base.args) == 1:
            return False
        return base.has(*WIDE)

    def _sequence(self, factors):
        out, loose = "", False
        for x in factors:
            wordy = isinstance(x.as_base_exp()[0], L.Head | L.Grad | sp.log)
            out += ("" if not out else r" \, " if loose else " ") + self._factor(x)
            loose = wordy
        return out

    def _fraction(self, above, below):
        below = sorted(below, key=lambda x: (rank(x), str(x)))
        bases, powers = zip(*(x.as_base_exp() for x in (*above, *below)), strict=True)
        if above and len(set(powers)) == 1 and powers[0] != 1 and all(isinstance(x, L.Head) for x in bases):
            inner = self._fraction(list(bases[:len(above)]), list(bases[len(above):]))
            return r"\left(%s\right)^{%s}" % (inner, self._print(powers[0]))     # (π / π_old)²
        top = self._print(above[0]) if len(above) == 1 else self._sequence(above) or "1"
        bottom = self._print(below[0]) if len(below) == 1 else self._sequence(below)
        return r"\frac{%s}{%s}" % (top, bottom)

    def _factor(self, x, last=False):
        body = x.args[0] if isinstance(x, L.Grad) else x
        loose = x.is_Add or isinstance(x, L.Shifted) or isinstance(body, (sp.Sum, sp.Product, L.Over, L.SampleSum)) and not last
        return self._wrap(x) if loose else self._print(x)

    def _wrap(self, x):
        return r"\left(%s\right)" % self._print(x)

    def _print_Pow(self, e):
        base, power = e.as_base_exp()
        if is_below(power):
            return r"\frac{1}{%s}" % self._print(sp.Pow(base, -power))
        if power == sp.Rational(1, 2):
            return r"\sqrt{%s}" % self._print(base)
        if isinstance(base, L.Head) and "^" in base.tex:
            return "%s^{%s}" % (self._print(base), self._print(power))     # Q^π(s, a)^2: no two exponents on one letter
        above = isinstance(base, sp.Indexed) and "^" in str(base.base.label)
        if isinstance(base, L.Head) or not base.has(L.Operator, sp.Sum) and not above:
            return super()._print_Pow(e)
        return r"\left(%s\right)^{%s}" % (self._print(base), self._print(power))

    def _print_log(self, e, exp=None):
        x = e.args[0]
        plain = isinstance(x, L.Head) or x.is_Symbol or self._is_ratio(x)
        body = r"\log " + (self._print(x) if plain else self._wrap(x))
        return body if exp is None else r"\left(%s\right)^{%s}" % (body, exp)

    def _print_asin(self, e, exp=None):
        body = r"\arcsin " + (self._print(e.args[0]) if e.args[0].is_Symbol or e.args[0].is_Pow else self._wrap(e.args[0]))
        return body if exp is None else r"\left(%s\right)^{%s}" % (body, exp)

    @staticmethod
    def _is_ratio(x):
        return x.is_Mul and any(is_below(y.as_base_exp()[1]) for y in x.args)

    def _print_exp(self, e, exp=None):
        if e.args[0].has(sp.Sum):
            body = r"\exp\left(%s\right)" % self._print(e.args[0])
            return body if exp is None else r"\left(%s\right)^{%s}" % (body, exp)
        above, below = sp.fraction(e.args[0])
        plain = below != 1 and not above.is_Add and not below.is_Add and not below.is_Mul
        body = "e^{%s / %s}" % (self._print(above), self._print(below)) if plain else "e^{%s}" % self._print(e.args[0])
        return body if exp is None else r"\left(%s\right)^{%s}" % (body, exp)

    def _print_Sum(self, e):
        body, *limits = e.args
        signs = "".join(r"\sum_{%s=%s}^{%s} " % tuple(map(self._print, limit)) for limit in reversed(limits))
        return signs + self._operand(body)

    def _print_Product(self, e):
        body, *limits = e.args
        signs = "".join(r"\prod_{%s=%s}^{%s} " % tuple(map(self._print, limit)) for limit in reversed(limits))
        return signs + self._operand(body)

    def _operand(self, body):
        return self._wrap(body) if body.is_Add else self._print(body)

    # -- names ---------------------------------------------------------------------------------------
    def arguments(self, head):
        """The arguments of a head: `a | s`, `s' | s, a`, or plain commas."""
        if not head.args:
            return ""
        first, *rest = map(self._print, head.args)
        if not rest:
            return first
        return first + (head.bar + ", ".join(rest) if head.bar == L.MID else ", " + ", ".join(rest))

    def _print_Indexed(self, e):
        name, of_θ, _ = self._print(e.base).partition(r"(\theta)")
        return "%s_{%s}%s" % (name, ",".join(map(self._print, e.indices)), of_θ)

    def _print_KroneckerDelta(self, e, exp=None):
        body = r"\mathbf{1}[%s]" % " = ".join(map(self._print, sorted(e.args, key=lambda x: x == L.T)))
        return body if exp is None else body + "^{%s}" % exp

    # -- operators -----------------------------------------------------------------------------------
    def _print_Grad(self, e):
        body, *component = e.args
        inner = self._wrap(body) if body.is_Add or body.is_Mul else self._print(body)
        if component == [L.φ]:
            return r"\nabla_\phi %s" % inner
        if component:
            return r"\frac{\partial}{\partial %s} %s" % (self._print(component[0]), inner)
        return r"\nabla_\theta %s" % inner

    def _print_Expect(self, e):
        return self._expectation(r"\mathbb{E}_{%s}", e)

    def _print_ExpectOld(self, e):
        return self._expectation(r"\mathbb{E}_{%s}", e, L.π_old.tex)

    def _print_Variance(self, e):
        return self._expectation(r"\operatorname{Var}_{%s}", e)

    def _expectation(self, sign, e, law=L.π.tex):
        body, *given = e.args
        source = (r"\mathcal{D}" if body.has(L.Estimate, L.SampleSum) else r"\tau") + r"\sim" + law
        bar = r" \,\middle|\, " + ", ".join(map(self._print, given)) if given else ""
        return sign % source + r"\!\left[ %s%s \right]" % (self._print(body), bar)

    def _print_Covariance(self, e):
        return r"\operatorname{Cov}_{\tau\sim%s}\!\left[ %s \right]" % (L.π.tex, r",\; ".join(map(self._print, e.args)))

    def _print_Under(self, e):
        return self._under(r"\mathbb{E}_{%s}", e)

    def _print_VarianceUnder(self, e):
        return self._under(r"\operatorname{Var}_{%s}", e)

    def _under(self, sign, e):
        body, law = e.args
        x, *given = map(self._print, law.args)
        given = (r"(\cdot \mid %s)" if law.bar == L.MID else "(%s)") % ", ".join(given) if given else ""
        source = x + r"\sim " + law.tex + given
        return sign % source + r"\!\left[ %s \right]" % self._print(body)

    def _print_Over(self, e):
        body, x = e.args
        return r"\sum_{%s} %s" % (self._print(x), self._operand(body))

    def _print_SampleSum(self, e):
        return r"\sum_{\tau\in\mathcal{D}} %s" % self._operand(e.args[0])

    def _print_StopGradient(self, e):
        return r"\operatorname{sg}\!\left[ %s \right]" % self._print(e.args[0])

    def _print_AtOld(self, e):
        return r"\left. %s \right|_{\theta_{\mathrm{old}}=\theta}" % self._operand(e.args[0])

    def _print_Slope(self, e):
        body, x = map(self._print, e.args)
        return r"\left. \frac{d}{d%s} %s \right|_{%s=0}" % (x, body, x)

    def _print_SquaredNorm(self, e):
        return r"\left\lVert %s \right\rVert^2" % self._print(e.args[0])

    def _print_Shifted(self, e):
        return r"%s + %s \, %s" % tuple(map(self._print, e.args))

    def _print_Clip(self, e, exp=None):
        body = r"\operatorname{clip}\left(%s\right)" % r",\, ".join(map(self._print, e.args))
        return body if exp is None else body + "^{%s}" % exp

    # -- min and max ---------------------------------------------------------------------------------
    def _print_Min(self, e, exp=None):
        return self._extremum(r"\min", e, exp)

    def _print_Max(self, e, exp=None):
        return self._extremum(r"\max", e, exp)

    def _extremum(self, name, e, exp):
        args = sorted(e.args, key=lambda x: (x.has(L.Clip), is_scalar(x), sum(1 for _ in sp.preorder_traversal(x)), str(x)))
        body = name + r"\left(%s\right)" % r",\; ".join(map(self._print, args))
        return body if exp is None else body + "^{%s}" % exp
