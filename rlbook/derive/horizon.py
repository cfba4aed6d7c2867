"""The fourth reader: statements about h steps to go, for every h and for state and action sets of every size. Level P.

A function of the steps left is defined by a recursion, F_h(s) = body(F_{h-1}), with its value at h = 0
(`definitions.py`). A statement F_h(s) = X, or ∇F_h(s) = X, is proved by induction over h
(and one about a mean over actions, E_a[F_h(s, a)] = X, in the same way, with nothing assumed in the step):

    base    at h = 0, with every function replaced by its value there, both sides agree;
    step    with every function at h replaced by its body, and the statement assumed at h - 1 for every state,
            both sides have the same normal form (`sums.py`).

A body at h may speak of functions at h too, of those that are defined before it. Lemmas are statements of the same kind,
proved before, and used at every h.
"""
import sympy as sp

from . import language as L
from .definitions import STANDARD
from .errors import IllFormed, Undecided
from .sums import ONE, Sums, Term


class Known:
    """F_h(s) = X or ∇F_h(s) = X, to be used as a rewriting rule."""

    def __init__(self, lhs, rhs):
        self.gradient = isinstance(lhs, L.Grad)
        left = lhs.args[0] if self.gradient else lhs
        places = left.args[1:]
        general = all(x.is_Symbol for x in places) and len(set(places)) == len(places)
        if not isinstance(left, L.ToGo) or left.args[0] != L.h or not general:
            raise Undecided(f"an induction over h proves F(h, s) = ... or grad(F(h, s)) = ..., not {lhs} = ...")
        self.head, self.parameters, self.value = type(left), left.args, sp.sympify(rhs)
        if not self.gradient and self.value.has(self.head):
            raise Undecided(f"{rhs} speaks of the function on the left side")

    def at(self, *args):
        return self.value.xreplace(dict(zip(self.parameters, args, strict=True)))


def captured(tree, args):
    """Would a bound variable of the tree capture one of these arguments?"""
    bound = {x.args[1] for x in tree.atoms(L.Over)} | {x.args[1].args[0] for x in tree.atoms(L.Under, L.VarianceUnder)}
    return bool(bound & set().union(*(sp.sympify(x).free_symbols for x in args)))


class Step(Sums):
    """`Sums`, where a function at h is its body and a known statement rewrites the function at h - 1."""

    def __init__(self, recursions, at, known):
        super().__init__()
        self.recursions, self.at, self.known, heads = recursions, at, known, list(recursions)
        self.before = {head: {L.b_togo, *heads[:number]} for number, head in enumerate(heads)}

    def terms(self, e):
        if isinstance(e, L.ToGo) and type(e) in self.recursions:
            return self.function(e)
        return super().terms(e)

    def function(self, e):
        definition, steps = self.recursions[type(e)], e.args[0]
        if any(captured(tree, e.args) for tree in (definition.body, *(rule.value for rule in self.known))):
            raise IllFormed(f"{e}: the name of this state is bound in what the function stands for")
        before = self.before[type(e)]
        if any(x.args[0] != L.h - 1 and (x.args[0] != L.h or type(x) not in before) for x in definition.body.atoms(L.ToGo)):
            raise IllFormed(f"the recursion of {definition.left} does not go from h to h - 1")
        if steps == 0:
            return self.terms(definition.base)
        if steps == L.h and self.at == L.h:
            return self.terms(definition.unfold(*e.args))
        if steps == L.h - 1 and self.at == L.h:
            for rule in self.known:
                if rule.head is type(e) and not rule.gradient:
                    return self.terms(rule.at(*e.args))
            return [Term(ONE, (), {e: ONE})]
        raise IllFormed(f"{e}: an induction step speaks of h and h - 1")

    def log_derivative(self, base):
        if type(base) in self.recursions:
            for rule in self.known:
                if rule.head is type(base) and rule.gradient:
                    return self.over(self.terms(rule.at(*base.args)), base)
            raise Undecided(f"nothing is known about the gradient of {base}")
        return super().log_derivative(base)

    def over(self, terms, base):
        """Each term divided by `base`."""
        return [self.times(term, Term(ONE, (), {base: -ONE})) for term in terms]


class Horizon:
    """Induction over the number of steps left; `given` are claims that are proved in the same way, which is checked again."""

    level = "P"

    def __init__(self, given=(), definitions=STANDARD):
        weaker = [claim.id for claim in given if not isinstance(getattr(claim, "by", None), Horizon)]
        if weaker:
            raise Undecided(f"a lemma must be a claim that was proved for every horizon: {weaker}")
        false = [claim.id for claim in given if claim.by(claim.lhs, claim.rhs) != 0]
        if false:
            raise Undecided(f"a lemma must be true: {false}")
        self.given, self.lemmas = [claim.id for claim in given], [Known(claim.lhs, claim.rhs) for claim in given]
        self.recursions = {head: d for head, d in definitions.items() if d.base is not None}

    def describe(self):
        using = f", using {', '.join(self.given)}" if self.given else ""
        return ("proved for every horizon and for state and action sets of every size, by induction over the steps left"
                + using)

    def __call__(self, lhs, rhs):
        lhs, rhs = sp.sympify(lhs), sp.sympify(rhs)
        direct = isinstance(lhs, L.Over | L.Under) and lhs.has(L.ToGo)     # proved as it stands, with nothing assumed at h - 1
        hypothesis = [] if direct else [Known(lhs, rhs)]
        for claim, at in ((self._at(lhs, rhs, 0), 0), ((lhs, rhs), L.h)):
            prover = Step(self.recursions, at, self.lemmas + hypothesis if at == L.h else [])
            difference = prover.normal(claim[0] - claim[1])
            if difference:
                return prover.tree(difference)
        return 0

    @staticmethod
    def _at(lhs, rhs, steps):
        return lhs.xreplace({L.h: sp.Integer(steps)}), rhs.xreplace({L.h: sp.Integer(steps)})
