"""`Sums` for softmax policies, one component of a gradient at a time. Level P, for every number of actions."""
import sympy as sp

from . import language as L
from .errors import IllFormed
from .sums import Sums, kind


class Softmax(Sums):
    """The same, for the softmax policy π(a) = e^{θ_a} / Σ_b e^{θ_b}, where a gradient has components:

        ∂ log π(a) / ∂θ_b = 1[a = b] - π(b).
    """

    def describe(self):
        return "proved for softmax policies with every number of actions, by reduction to a normal form"

    def grad(self, e):
        body, *component = e.args
        if not component:
            raise IllFormed("name the component, as in grad(X, θ[b_])")
        if body.has(L.AtOld):
            raise IllFormed("θ_old = θ is set after differentiating, never before")
        if component[0].base != L.θ or len(component[0].indices) != 1:
            raise IllFormed(f"a component is θ[b_], one logit of the policy, not {component[0]}")
        direction, = component[0].indices
        inner = type(self)(self.variable, self.unfold)
        inner.direction = direction
        return inner.gradient(inner.terms(body))

    def squared_norm(self, e):
        """‖∇X‖² = Σ_b (∂X/∂θ_b)²."""
        body, *component = e.args[0].args
        if component:
            raise IllFormed(f"{e.args[0]} is one component and has no length")
        logit = sp.Dummy()
        return self.bind(L.Grad(body, L.θ[logit])**2, logit, "actions")

    def log_derivative(self, base):
        if isinstance(base, L.Trained):
            x, *given = base.args
            if base.over != kind(x) or base.over != kind(self.direction):
                raise IllFormed(f"θ[{self.direction}] is no logit of {base}")
            return self.terms(sp.KroneckerDelta(x, self.direction) - base.func(self.direction, *given))
        return super().log_derivative(base)
