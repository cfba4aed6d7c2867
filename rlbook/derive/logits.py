"""Two readers for language models. Level P.

`Logits`: `Sums` for a softmax that is written out, p_v = e^{z_v / κ} / Σ_w e^{z_w / κ}, and for every vocabulary. It adds

    log e^X = X                         X is real
    ∂ e^X = e^X ∂X
    ∂ z_w / ∂ z_v = 1[v = w]            so each logit is one coordinate
    ∂ Σ_w X = Σ_w ∂X

`Completions`: `Paths`, where the probability of a completion is the product of those of its tokens.
"""
import sympy as sp

from . import language as L
from .definitions import STANDARD
from .dependence import depends
from .errors import IllFormed, Undecided
from .paths import Paths
from .ratios import KL, KL_reverse
from .sums import ONE, Sums, Term, kind
from .terms import H, Hp, Zβ, best, p_, πo, πo_ref

SOFTMAX = H, Hp, KL, KL_reverse, Zβ, best, p_


class Logits(Sums):
    """Decide an equation between sums over a vocabulary, or over actions, of every size."""

    direction = None

    def __init__(self, definitions=STANDARD):
        super().__init__(unfold={head: definitions[head].unfold for head in SOFTMAX})

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Logits(definitions)

    def grad(self, e):
        body, *component = e.args
        if not component:
            return super().grad(e)
        logit, = component
        if not isinstance(logit, sp.Indexed) or logit.base != L.z or kind(*logit.indices) != "tokens":
            raise IllFormed(f"a component is z[v_], the logit of one token, not {logit}")
        if body.has(L.AtOld):
            raise IllFormed("θ_old = θ is set after differentiating, never before")
        inner = Logits.__new__(type(self))
        inner.variable, inner.unfold, inner.direction = self.variable, self.unfold, logit.indices[0]
        return inner.gradient(inner.terms(body))

    def terms(self, e):
        if isinstance(e, sp.log) and isinstance(e.args[0], sp.exp):
            return self.terms(e.args[0].exp)
        return super().terms(e)

    def logarithm(self, e):
        inside = self.terms(e.args[0])
        if len(inside) != 1 or inside[0].bound:        # log of a sum is a letter, under one name for its bound variable
            whole = self.tree(self.collect(inside))
            if whole == 0:
                raise IllFormed(f"log 0: {e}")
            sums = whole.has(L.Over, sp.Sum) or whole.is_Add
            return [Term(ONE, (), {sp.log(whole): ONE})] if sums else self.terms(sp.log(whole))
        out = []
        for term in super().logarithm(e):
            inside = [x.args[0].exp for x in term.powers if isinstance(x, sp.log) and isinstance(x.args[0], sp.exp)]
            out += self.terms(term.coefficient * inside[0]) if inside else [term]
        return out

    def moves(self, e):
        return self.direction is not None and e.has(L.z)

    def log_derivative(self, base):
        if self.direction is None:
            if base.has(sp.exp, L.z):
                raise Undecided(f"how {base} depends on θ is not known")
            return super().log_derivative(base)
        if isinstance(base, sp.exp):
            return self.gradient(self.terms(base.exp))
        if isinstance(base, sp.Indexed) and base.base == L.z:
            if kind(base.indices[0]) != "tokens":
                raise IllFormed(f"{base} is no logit of a token")
            return self.terms(sp.KroneckerDelta(*base.indices, self.direction) / base)
        if isinstance(base, L.Over):
            return [self.times(x, Term(ONE, (), {base: -ONE})) for x in self.gradient(self.terms(base))]
        if isinstance(base, sp.log):
            return super().log_derivative(base)
        if base.has(L.z) or depends(base):                # (π_θ may be this very softmax: nothing is said of it)
            raise Undecided(f"no rule for the derivative of {base} along a logit")
        return []


class Completions(Paths):
    """Decide an equation about the probability of a completion: a free τ means every prompt with its completion."""

    def __init__(self, definitions=STANDARD):
        super().__init__(definitions=definitions)
        self.definitions = definitions

    def under(self, definitions):
        """The same prover, in a book with other definitions."""
        return Completions(definitions)

    def written_out(self, e):
        """The tree with the product in the place of a completion's probability."""
        if isinstance(e, πo | πo_ref):
            return self.written_out(self.definitions[type(e)].unfold(*e.args))
        return super().written_out(e)
