"""The third reader: independent samples, for every sample size. Level P.

X_1, ..., X_N are independent copies of one random object; a base of a monomial is an attribute of one of them,
r_i = r(X_i), or any tree in τ read at τ_i. The expectation of a monomial is a sum over the ways in which its
indices can coincide (the set partitions of the indices), a product of moments for each way:

    E[r_i u_j] = 1[i = j] M(r u) + (1 - 1[i = j]) M(r) M(u),        M(X) = E[X] for one sample.

What is left are moments, Kronecker deltas and sums over i, which `Sums` brings to its normal form.
"""
import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from . import language as L
from .errors import IllFormed, Undecided
from .language import speaks_of_path
from .sums import ONE, Sums, Term, as_set


class Moment(L.Head):
    """M(X): the expectation of a monomial of attributes of one sample."""
    tex, rank = r"\mathbb{E}", 30

    def _latex(self, printer, exp=None):
        law = r"_{\tau\sim\pi_\theta}" if speaks_of_path(self.args[0]) else ""
        return r"\mathbb{E}%s\!\left[ %s \right]" % (law, printer._print(self.args[0])) + ("" if exp is None else "^{%s}" % exp)


class Attribute(L.Operator):
    """`Attribute(X, i)`: the value of X on sample i."""


SAMPLES = {as_set((ONE, size)) for size in (L.N, L.G)}  # the ranges that an index of independent samples runs over


def sampled(base):
    """Is this an attribute of one sample: r_i, with i the letter of a sample or bound by a sum over samples?"""
    if not isinstance(base, sp.Indexed):
        return False
    index = base.indices[0]
    return index in (L.i, L.j) or isinstance(index, sp.Dummy) and index.name in SAMPLES


class IID(Sums):
    """Decide an equation between expectations over independent samples.

    Samples are written `r[i]` under Σ(..., (i, 1, N)), or as Σ(X, D) over the trajectories τ of a data set; E and Var of
    a tree in τ alone are moments of one sample. `zero` lists monomials with mean zero, such as the score.
    """

    def __init__(self, zero=(), samples=L.N, **options):
        super().__init__(**options)
        self.zero, self.samples = [sp.sympify(z) for z in zero], samples

    def describe(self):
        known = f", where the mean of {', '.join(map(str, self.zero))} is zero" if self.zero else ""
        return f"proved for independent samples and every sample size, by moments{known}"

    def terms(self, e):
        if isinstance(e, L.Expect):
            if len(e.args) > 1:
                raise IllFormed("independent samples: no conditioning here")
            return [term for x in self.random_terms(e.args[0]) for term in self.expect(x)]
        if isinstance(e, L.Variance):
            body, = e.args
            return self.terms(L.Expect(body**2) - L.Expect(body)**2)
        if isinstance(e, L.SampleSum):
            return self.sample_sum(e.args[0])
        arithmetic = e.is_Add or e.is_Mul or e.is_Pow and e.exp.is_Integer
        if speaks_of_path(e) and not arithmetic and not e.has(L.SampleSum) and not any(map(sampled, e.atoms(sp.Indexed))):
            return [Term(ONE, (), {e: ONE})]           # any function of one trajectory: opaque
        return super().terms(e)

    def random_terms(self, e):
        """The terms of the body of an expectation, each base that is random marked with its sample."""
        out = []
        for term in self.terms(e):
            marked = [base for base in term.powers if isinstance(base, Attribute) or sampled(base)]
            bare = [base for base in term.powers if base not in marked and not isinstance(base, Moment) and speaks_of_path(base)]
            if bare and marked:
                raise IllFormed("one trajectory and a whole data set in the same expectation")
            powers = {Attribute(base, L.τ) if base in bare else self.attribute(base): x for base, x in term.powers.items()}
            out.append(Term(term.coefficient, term.bound, powers))
        return out

    @staticmethod
    def attribute(base):
        if sampled(base):
            return Attribute(sp.Symbol(base.base.label.name), base.indices[0])
        if isinstance(base, sp.Indexed):
            raise IllFormed(f"{base}: the index of a sample must be a variable")
        if not isinstance(base, Attribute) and (any(map(sampled, base.atoms(sp.Indexed))) or base.has(Attribute)):
            raise Undecided(f"no rule for the mean of a function of samples that is not a polynomial: {base}")
        return base

    def sample_sum(self, body):
        """Σ_{τ in D} X(τ): X at sample i, summed over i = 1..N."""
        key = as_set((ONE, self.samples))
        fresh, out = sp.Dummy(key), []
        for term in self.terms(body):
            if any(isinstance(base, Attribute) for base in term.powers):
                raise IllFormed("a sum over the data set inside a sum over the data set")
            powers = {Attribute(base, fresh) if speaks_of_path(base) else base: x for base, x in term.powers.items()}
            out.append(Term(term.coefficient, term.bound + (fresh,), powers))
        return out

    def expect(self, term):
        """E of one monomial: over the set partitions of its sample indices."""
        drawn, fixed = {}, {}
        for base, x in term.powers.items():
            if isinstance(base, Attribute):
                drawn.setdefault(base.args[1], []).append(base.args[0]**x)
            else:
                fixed[base] = x
        constant = Term(term.coefficient, term.bound, fixed)
        if not drawn:
            return [constant]
        out = []
        for blocks in multiset_partitions(list(drawn)):
            value = ONE
            for block in blocks:
                value *= self.moment(sp.Mul(*[x for index in block for x in drawn[index]]))
                value *= sp.Mul(*[sp.KroneckerDelta(block[0], index) for index in block[1:]])
            for k, block in enumerate(blocks):
                for other in blocks[k + 1:]:
                    value *= 1 - sp.KroneckerDelta(block[0], other[0])
            out += [self.times(constant, x) for x in Sums.terms(self, sp.expand(value))]
        return out

    def log_derivative(self, base):
        """The samples are drawn from π_θ: what is said about them cannot be differentiated here."""
        if base.has(Moment, Attribute) or speaks_of_path(base):
            raise Undecided(f"the law of the samples depends on θ: no gradient of {base}")
        return super().log_derivative(base)

    def moment(self, monomial):
        return sp.Integer(0) if monomial in self.zero else Moment(monomial)
