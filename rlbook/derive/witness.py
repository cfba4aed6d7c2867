"""A counterexample that a person can read: the smallest world in which two sides differ."""
import re

import sympy as sp
from sympy.polys.domains import QQ

PER_ROW = 4                                            # facts in a row of the display, so that it fits a phone


class Witness:
    """A non-zero polynomial in the numbers of an MDP, with the simplest of their values at which it does not vanish."""

    def __init__(self, polynomial, interior=False):
        self.polynomial, self.interior = polynomial, interior

    def describe(self):
        """One line of text, every symbol under its own name."""
        value, where = shrink(self.polynomial, self.interior)
        at = ", ".join(f"{name} = {v}" for name, v in where.items())
        return f"{value} at {at}" if at else str(value)

    def latex(self):
        """The same as mathematics: P(1 | 0, 1) = 1 instead of P010 = 0; rewards and directions that are 0 left out."""
        value, where = shrink(self.polynomial, self.interior)
        facts = [fact for name, v in where.items() if (fact := assignment(name, v))]
        silent = any(name[0] == "r" and name[1] != "h" and v == 0 for name, v in where.items())
        facts += [r"\text{other rewards } 0"] if silent else []
        rows = [r",\;\, ".join(facts[k:k + PER_ROW]) for k in range(0, len(facts), PER_ROW)]
        return r" \\ & ".join([sp.latex(value) + (r" \quad\text{where}" if rows else ""), *rows])


def candidates(name, interior):
    """The values that are tried for one number, the simplest first. A policy is never 0 or 1, a discount never 0; where
    the logarithm of a probability is taken (`interior`), the start and the dynamics are not 0 or 1 either."""
    inner = (QQ(1, 2), QQ(1, 3), QQ(1, 5))
    if re.fullmatch(r"[po]\d+", name) or interior and re.fullmatch(r"(rho|P)\d+", name):
        return inner
    return (QQ(1), QQ(1, 2)) if name in ("gamma", "lambda", "alpha") else (QQ(0), QQ(1), *inner)


def shrink(polynomial, interior=False):
    """Set each generator in turn to the first candidate that keeps the polynomial from vanishing."""
    ring, where = polynomial.ring, {}
    for generator in ring.gens:
        for value in candidates(str(generator), interior):
            rest = polynomial.compose(generator, ring(value))
            if rest != 0:
                if polynomial.degree(generator) > 0:
                    where[str(generator)] = value
                polynomial = rest
                break
    return polynomial.as_expr(), where


def assignment(name, value):
    """`name = value` of one generator in LaTeX; None where it is better left out."""
    stem, digits = re.fullmatch(r"([A-Za-z]+?)(\d*)", name).groups()
    value = sp.Rational(str(value))
    number = sp.latex(value)
    if stem in ("gamma", "lambda", "alpha"):
        return rf"\{stem} = {number}"
    if stem == "c":                                    # the direction of the gradient
        return rf"\nabla \text{{ along }} \theta_{{{digits[0]},{digits[1]}}}" if value == 1 else None
    if stem == "r":
        return rf"r({','.join(digits)}) = {number}" if value != 0 else None
    if stem in ("rho", "P", "p", "o") and value == 0:       # of two probabilities the other one is 1
        digits, number = digits[:-1] + str(1 - int(digits[-1])), "1"
    if stem == "rho":
        return rf"\rho_0({digits}) = {number}"
    if stem == "P":
        state, action, after = digits
        return rf"P({after} \mid {state},{action}) = {number}"
    if stem in ("p", "o"):
        law = r"\pi" if stem == "p" else r"\pi_{\mathrm{old}}"
        return rf"{law}({digits[1]} \mid {digits[0]}) = {number}"
    return rf"\mathit{{{stem}}}_{{{','.join(digits)}}} = {number}"
