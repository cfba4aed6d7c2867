"""A counterexample that a person can read: the smallest world in which two sides differ."""
import itertools
import re

import sympy as sp
from sympy.polys.domains import QQ

PER_ROW = 4                                            # facts in a row of the display, so that it fits a phone


class Witness:
    """A non-zero polynomial in the numbers of an MDP, with the simplest of their values at which it does not vanish."""

    def __init__(self, polynomial, interior=False, below=None, logarithms=()):
        """`below`: what the polynomial is to be divided by; `logarithms`: {generator: the polynomial whose log it is}."""
        self.polynomial, self.interior = polynomial, interior
        self.below, self.logarithms = polynomial.ring.one if below is None else below, dict(logarithms)

    def found(self):
        return shrink(self.polynomial, self.interior, self.below, self.logarithms)

    def describe(self):
        """One line of text, every symbol under its own name."""
        value, where = self.found()
        at = ", ".join(f"{name} = {v}" for name, v in where.items())
        return f"{value} at {at}" if at else str(value)

    def latex(self):
        """The same as mathematics: P(1 | 0, 1) = 1 instead of P010 = 0; rewards and directions that are 0 left out."""
        value, where = self.found()
        facts = [fact for name, v in where.items() if (fact := assignment(name, v))]
        silent = any(name[0] == "r" and name[1] != "h" and v == 0 for name, v in where.items())
        facts += [r"\text{other rewards } 0"] if silent else []
        rows = [r",\;\, ".join(facts[k:k + PER_ROW]) for k in range(0, len(facts), PER_ROW)]
        return r" \\ & ".join([sp.latex(value) + (r" \quad\text{where}" if rows else ""), *rows])


def candidates(name, interior, turns=(0, 0, 0)):
    """The values that are tried for one number, the simplest first. A policy is never 0 or 1, a discount never 0; where
    the logarithm of a probability is taken (`interior`), the start and the dynamics are not 0 or 1 either. `turns`: with
    which of its probabilities each of π, π_old and π_ref begins."""
    inner, of = [QQ(1, 2), QQ(1, 3), QQ(1, 5)], "poq".find(name[0])
    turn = (turns[of] + int(name[1]) * turns[(of + 1) % 3]) % 3 if of >= 0 and name[1].isdigit() else 0     # other in each state
    inner = inner[turn:] + inner[:turn]
    if re.fullmatch(r"[poq]\d+", name) or interior and re.fullmatch(r"(rho|P)\d+", name):
        return inner
    return [QQ(1), QQ(1, 2)] if name in ("gamma", "lambda", "alpha", "beta") else [QQ(0), QQ(1), *inner]


def shrink(polynomial, interior=False, below=None, logarithms=()):
    """Set each generator in turn to the first candidate that keeps the polynomial from vanishing; a logarithm has the value
    that the probability gives it. The value of polynomial / below there, and where."""
    below, logarithms = polynomial.ring.one if below is None else below, dict(logarithms)
    used = [x for x in logarithms if has(polynomial, x)]
    for turns in itertools.permutations(range(3)) if used else [(0, 0, 0)]:
        value, where, shown = shrink_from(polynomial, interior, logarithms, turns)
        inside = [x for x in used if sp.Symbol(x) in value.free_symbols]
        if not inside:
            break
        shown = {x: y for x, y in where.items() if x in shown or any(has(logarithms[z], x) for z in inside)}
        value = value.xreplace({sp.Symbol(x): sp.log(number(logarithms[x], where)) for x in inside})
        if abs(sp.N(value, 30)) > 1e-20:
            break
    value = value / number(below, where)
    return (sp.N(value, 4) if inside else value), shown


def shrink_from(polynomial, interior, logarithms, turns):
    """What is left, as a tree in the logarithms; the value of every other generator; and those that matter."""
    ring, where, shown = polynomial.ring, {}, {}
    for generator in ring.gens:
        name = str(generator)
        if name in logarithms:
            continue
        values = candidates(name, interior, turns)
        where[name] = values[0]
        if polynomial.degree(generator) > 0:
            where[name] = shown[name] = next(value for value in values if polynomial.subs(generator, value) != 0)
            polynomial = polynomial.subs(generator, where[name])
    return polynomial.as_expr(), where, shown


def generator_of(ring, name):
    return ring.gens[[str(x) for x in ring.gens].index(name)]


def has(polynomial, name):
    return polynomial.degree(generator_of(polynomial.ring, name)) > 0


def number(polynomial, where):
    """The value of a polynomial where every one of its generators has one."""
    ring = polynomial.ring
    for generator in ring.gens:
        if str(generator) in where and polynomial.degree(generator) > 0:
            polynomial = polynomial.compose(generator, ring(where[str(generator)]))
    return polynomial.as_expr()


def assignment(name, value):
    """`name = value` of one generator in LaTeX; None where it is better left out."""
    stem, digits = re.fullmatch(r"([A-Za-z]+?)(\d*)", name).groups()
    value = sp.Rational(str(value))
    number = sp.latex(value)
    if stem in ("gamma", "lambda", "alpha", "beta"):
        return rf"\{stem} = {number}"
    if stem == "c":                                    # the direction of the gradient
        return rf"\nabla \text{{ along }} \theta_{{{digits[0]},{digits[1]}}}" if value == 1 else None
    if stem == "r":
        return rf"r({','.join(digits)}) = {number}" if value != 0 else None
    if stem in ("rho", "P") and value == 0:       # of two probabilities the other one is 1
        digits, number = digits[:-1] + str(1 - int(digits[-1])), "1"
    if stem == "rho":
        return rf"\rho_0({digits}) = {number}"
    if stem == "P":
        state, action, after = digits
        return rf"P({after} \mid {state},{action}) = {number}"
    if stem in ("p", "o", "q"):
        law = {"p": r"\pi", "o": r"\pi_{\mathrm{old}}", "q": r"\pi_{\mathrm{ref}}"}[stem]
        return rf"{law}({digits[1]} \mid {digits[0]}) = {number}"
    return rf"\mathit{{{stem}}}_{{{','.join(digits)}}} = {number}"
