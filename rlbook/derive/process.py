"""The process of a finite MDP and its numbers, every one a symbol: draw s_0, then again and again a_t and s_{t+1}.

`mdp.FiniteMDP` reads trees on top of this enumeration.
"""
from collections import namedtuple

from . import language as L
from .carriers import Symbolic
from .definitions import STANDARD

Path = namedtuple("Path", "nodes start probability whole", defaults=(False,))   # (s_u, ..., s_{T+1}), u, P(path | given)

HYPOTHESES = ("policy sums to one", "dynamics sum to one", "start without θ", "dynamics without θ", "rewards without θ")


class Process:
    """States 0..S-1, actions 0..A-1, times 0..T, and a tabular softmax policy.

    Generators: ρ_s, P_{sas'}, r_{sas'}, γ, λ, the policy's probabilities p_sa (the last of each row is one minus
    the others) and those of π_old, formal logarithms L_sa = log p_sa, and a direction c_sa in the space of the logits.

    `grad` is the derivative along c:   D L_sa = c_sa - Σ_b p_sb c_sb,   D p_sa = p_sa D L_sa.
    An identity for the generic c is an identity for every component of the gradient. And scores of this form are
    *all* the vectors u with Σ_a p_sa u_sa = 0, so a first-order identity that holds here holds for every
    differentiable policy, not only for the softmax.
    """

    def __init__(self, states=2, actions=2, T=1, carrier=Symbolic, definitions=STANDARD, broken=(), **options):
        unknown = set(broken) - set(HYPOTHESES)
        if unknown:
            raise ValueError(f"unknown hypotheses {sorted(unknown)}; known: {HYPOTHESES}")
        self.S, self.A, self.T, self.definitions, self.broken = range(states), range(actions), T, definitions, set(broken)
        self.K = carrier(self._names(), **options)
        self._build()
        self.env = {L.T: T, L.γ: self.K.generator("gamma"), L.λ: self.K.generator("lambda")}
        self._paths, self._memo, self._open = {}, {}, []       # _open: the definitions that are being read

    @property
    def level(self):
        return self.K.level

    def describe(self):
        return (f"exact on the MDPs with {len(self.S)} states, {len(self.A)} actions and {self.T + 1} steps, {self.K.says}")

    # -- the numbers ---------------------------------------------------------------------------------
    def _names(self):
        S, A = self.S, self.A
        last = len(S) - ("dynamics sum to one" not in self.broken)
        names = [f"rho{s}" for s in S[:-1]] + [f"P{s}{a}{m}" for s in S for a in A for m in range(last)]
        names += [f"r{s}{a}{m}" for s in S for a in A for m in S] + ["gamma", "lambda", "alpha"]
        names += [f"o{s}{a}" for s in S for a in A[:-1]]
        names += [f"p{s}{a}" for s in S for a in A] + [f"L{s}{a}" for s in S for a in A] + [f"c{s}{a}" for s in S for a in A]
        names += [f"{stem}{u}{s}" for stem in "bV" for u in range(self.T + 2) for s in S]
        return names + [f"d{x}" for x in names if x[0] in "Pr" and self.broken]

    def _row(self, stem, size, complete=True):
        """Probabilities stem0, stem1, ...: the last is one minus the others."""
        head = [self._number(f"{stem}{m}") for m in range(size - complete)]
        return head + [self.K.one - sum(head, self.K.zero)] if complete else head

    def _number(self, name):
        """A number of the model; it depends on θ only where a hypothesis is broken."""
        value = self.K.generator(name)
        what = "start" if name.startswith("rho") else {"P": "dynamics", "r": "rewards"}.get(name[0])
        if what and f"{what} without θ" in self.broken:
            return self.K.declare(name, value, self.K.generator("d" + name))
        return value

    def _build(self):
        S, A, K = self.S, self.A, self.K
        sums = "dynamics sum to one" not in self.broken
        self.rho = self._row("rho", len(S))
        self.P = [[self._row(f"P{s}{a}", len(S), sums) for a in A] for s in S]
        self.r = [[[self._number(f"r{s}{a}{m}") for m in S] for a in A] for s in S]
        free = "policy sums to one" in self.broken
        c = [[K.generator(f"c{s}{a}") for a in A] for s in S]
        p = [[K.generator(f"p{s}{a}") for a in A] for s in S]
        if not free:
            for row in p:
                row[-1] = K.one - sum(row[:-1], K.zero)
        mean = [K.zero if free else sum((p[s][a] * c[s][a] for a in A), K.zero) for s in S]
        score = [[c[s][a] - mean[s] for a in A] for s in S]
        kept = A if free else A[:-1]
        for s in S:
            for a in kept:
                p[s][a] = K.declare(f"p{s}{a}", p[s][a], p[s][a] * score[s][a])
            if not free:
                p[s][-1] = K.one - sum(p[s][:-1], K.zero)
        self.pi, self.pi_old = p, [self._row(f"o{s}", len(A)) for s in S]
        self.log_pi = [[K.declare(f"L{s}{a}", K.generator(f"L{s}{a}"), score[s][a]) for a in A] for s in S]
        self.directions = [f"c{s}{a}" for s in S for a in A]

    # -- the process ---------------------------------------------------------------------------------
    def trajectories(self, start=None, time=0, action=None):
        """Every path from `time` on, with its probability (given the state, and the action, where they are given)."""
        key = (start, time, action)
        if key not in self._paths:
            K = self.K
            paths = [((s,), self.rho[s]) for s in self.S] if start is None else [((start,), K.one)]
            for u in range(time, self.T + 1):
                fixed = action is not None and u == time
                paths = [(path + (a, m), (weight if fixed else weight * self.pi[path[-1]][a]) * self.P[path[-1]][a][m])
                         for path, weight in paths for a in ([action] if fixed else self.A) for m in self.S]
            self._paths[key] = [Path(nodes, time, weight, start is None) for nodes, weight in paths]
        return self._paths[key]

    def _weights(self, start, time, action):
        """The probability that π_old gives to each of `trajectories`."""
        out = []
        for nodes, *_ in self.trajectories(start, time, action):
            weight = self.rho[nodes[0]] if start is None else self.K.one
            for at in range(0, len(nodes) - 1, 2):
                state, chosen, after = nodes[at:at + 3]
                free = action is None or at > 0
                weight = weight * (self.pi_old[state][chosen] if free else 1) * self.P[state][chosen][after]
            out.append(weight)
        return out

    def everywhere(self, path, time):
        """The environments over which a free τ and a free t are "for all"."""
        for tau in self.trajectories() if path else [None]:
            for u in range(self.T + 1) if time else [None]:
                yield {**self.env, **({L.τ: tau} if path else {}), **({L.t: u} if time else {})}
