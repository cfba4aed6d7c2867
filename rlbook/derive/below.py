"""What stands below a fraction bar, and may be 0."""
import sympy as sp

from . import language as L


def may_vanish(e):
    """A fraction whose denominator may be 0 at some place of a sum around it, or None: 1/k where k is summed from 0."""
    for total in e.atoms(sp.Sum, sp.Product):
        for x, low, high in total.limits:
            step = sp.Dummy("step", integer=True, nonnegative=True)
            for power in (y for y in total.args[0].atoms(sp.Pow) if y.base.has(x) and not y.exp.is_nonnegative):
                ends = (never_zero(power.base.xreplace({x: end})) for end in (low + step, high - step))
                if not power.base.has(L.Head, L.Operator, sp.Indexed, sp.Sum) and not any(ends):
                    return power
    return None


def never_zero(e):
    """Is this number, in which a root is not negative, surely not 0?"""
    e = e.replace(lambda y: y.is_Pow and y.exp == sp.Rational(1, 2), lambda y: sp.Dummy(nonnegative=True)).expand()
    return e.is_positive or e.is_negative


class Below(L.Operator):
    """1/X inside a mean, where it is 0 if X is: it cancels nothing, where X/X would be 1 everywhere."""

    def _latex(self, printer):
        return r"\frac{1}{%s}" % printer._print(self.args[0])
