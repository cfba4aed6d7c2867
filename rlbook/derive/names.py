"""What a name stands for on a finite MDP: its definition, read at the place where it is used."""
import sympy as sp

from . import language as L
from . import ratios as W
from .carriers import Node
from .errors import IllFormed
from .process import Path, Process


class Names(Process):
    """The named functions; `mdp.FiniteMDP` adds `read`."""

    def _places(self, e, env):
        out = [self.read(x, env) for x in e.args]
        return [x.at if isinstance(x, Node) else x for x in out]

    def _once(self, head, read):
        """Read a definition, unless it is being read already: only a recursion over h may speak of itself."""
        if head in self._open and self.definitions[head].base is None:
            raise IllFormed(f"{getattr(head, '__name__', head)} is defined by itself")
        self._open.append(head)
        try:
            return read()
        finally:
            self._open.pop()

    def _other_path(self, e):
        return L.τ in self.definitions[type(e)].left.args and e.args != (L.τ,)

    def _unfolded(self, definition, e, env):
        """Read the definition of a head, with its parameters bound to the values of the arguments."""
        if definition.base is not None:
            return self._recursion(definition, e, env)
        names = definition.left.args
        if isinstance(e, W.OfParameters) and e.args != names:
            raise IllFormed(f"{e} is not defined: it speaks of {names[0]}")
        if names and all(x.is_Symbol for x in names):
            here = {x: env[x] for x in (*self.env, L.θ_old, L.τ) if x in env}
            return self.read(definition.body, {**here, **{x: self.read(y, env) for x, y in zip(names, e.args, strict=True)}})
        if not any(isinstance(x, sp.Indexed) for x in names):
            return self.read(definition.body, env)
        nodes = [self.read(x, env) for x in e.args]
        if not isinstance(nodes[0], Node):
            raise IllFormed(f"{e}: the first argument must be s[t]")
        places = tuple(x.at if isinstance(x, Node) else x for x in nodes)
        key = (definition.head, nodes[0].time, places, env[L.γ], env[L.λ])
        if key not in self._memo:
            here = {**self._numbers(env), L.t: nodes[0].time, L.τ: Path(places, nodes[0].time, None)}
            self._memo[key] = self.read(definition.body, here)
        return self._memo[key]

    def _numbers(self, env):
        """What a definition sees of the place where it is used: T, γ and λ, and whether θ_old = θ."""
        return {x: env[x] for x in (*self.env, L.θ_old) if x in env}

    def _at_a_time(self, definition, e, env):
        """δ[t + 1] on the trajectory spoken of: its definition, read at that time."""
        time = self.read(e.indices[0], env)
        if L.τ not in env or not isinstance(time, int) or len(e.indices) != 1:
            raise IllFormed(f"{e} speaks of no trajectory")
        tau = env[L.τ]
        key = (definition.body, tau.nodes, tau.start, tau.whole, time, env[L.γ], env[L.λ])
        if key not in self._memo:
            self._memo[key] = self.read(definition.body, {**self._numbers(env), L.τ: tau, L.t: time})
        return self._memo[key]

    def _recursion(self, definition, e, env):
        """A function of the number of steps left and of a state: its value at 0, or its body."""
        steps, *places = self._places(e, env)
        rank = list(self.definitions).index(definition.head)
        fewer = (steps, rank) < (env.get(L.h, steps + 1), env.get("rank", rank))   # inside a definition: fewer than there
        if not isinstance(steps, int) or steps < 0 or not fewer:
            raise IllFormed(f"{e}: the number of steps left is no whole number >= 0, or does not get smaller")
        key = (definition.head, steps, *places, env[L.γ], env[L.λ])
        if key not in self._memo:
            names = dict(zip(definition.left.args[1:], places, strict=True))
            here = {**self._numbers(env), L.h: steps, "rank": rank, **names}
            self._memo[key] = self.read(definition.body if steps else definition.base, here) * self.K.one
        return self._memo[key]
