"""The process of a finite MDP and its numbers, every one a symbol: draw s_0, then again and again a_t and s_{t+1}.

`mdp.FiniteMDP` reads trees on top of this enumeration.
"""
import copy
import functools
from collections import namedtuple

import sympy as sp

from . import language as L
from . import ratios as W
from .carriers import Symbolic
from .definitions import STANDARD, holders

Path = namedtuple("Path", "nodes start probability whole", defaults=(False,))   # (s_u, ..., s_{T+1}), u, P(path | given)

HYPOTHESES = ("policy sums to one", "dynamics sum to one", "start without θ", "dynamics without θ", "rewards without θ")


@functools.lru_cache(maxsize=10_000)
def divides(tree):
    """Does the tree divide by a policy, take the logarithm of another policy than π_θ, or speak of π_ref?"""
    laws = L.π, L.π_old, W.P_old
    below = [x.base for x in tree.atoms(sp.Pow) if x.exp.could_extract_minus_sign()]
    inside = [x.args[0] for x in tree.atoms(sp.log)]
    return tree.has(L.π_ref, W.P_ref, L.Clip) or any(x.has(*laws) for x in below) or any(x.has(L.π_old) for x in inside)


class Process:
    """States 0..S-1, actions 0..A-1, times 0..T, and a tabular softmax policy.

    Generators: ρ_s, P_{sas'}, r_{sas'}, γ, λ, the policy's probabilities p_sa (the last of each row is one minus
    the others) and those of π_old, formal logarithms L_sa = log p_sa, and a direction c_sa in the space of the logits.

    `grad` is the derivative along c:   D L_sa = c_sa - Σ_b p_sb c_sb,   D p_sa = p_sa D L_sa.
    An identity for the generic c is an identity for every component of the gradient. And scores of this form are
    *all* the vectors u with Σ_a p_sa u_sa = 0, so a first-order identity that holds here holds for every
    differentiable policy, not only for the softmax.
    """

    def __init__(self, states=2, actions=2, T=1, carrier=Symbolic, definitions=STANDARD, broken=(), ratios=False,
                 **options):
        unknown = set(broken) - set(HYPOTHESES)
        if unknown:
            raise ValueError(f"unknown hypotheses {sorted(unknown)}; known: {HYPOTHESES}")
        self.S, self.A, self.T, self.definitions, self.broken = range(states), range(actions), T, definitions, set(broken)
        self.ratios, self._wide, self._dividing = ratios, None, None
        self.made = states, actions, T, carrier, definitions, broken, options
        self.K = carrier(self._names(), **options)
        self._build()
        self.env = {L.T: T, L.γ: self.K.generator("gamma"), L.λ: self.K.generator("lambda")}
        self._paths, self._memo, self._open, self._at_old = {}, {}, [], None       # _open: the definitions that are being read

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
        names += [f"r{s}{a}{m}" for s in S for a in A for m in S] + ["gamma", "lambda", "alpha", "beta"]
        names += [f"o{s}{a}" for s in S for a in A[:-1]]
        names += [f"p{s}{a}" for s in S for a in A] + [f"L{s}{a}" for s in S for a in A] + [f"c{s}{a}" for s in S for a in A]
        names += [f"{stem}{u}{s}" for stem in "bV" for u in range(self.T + 2) for s in S]
        if self.ratios:
            names += [f"q{s}{a}" for s in S for a in A[:-1]]
            names += [f"{stem}{s}{a}" for stem in ("Lo", "Lq", "ip", "io", "iq") for s in S for a in A]
            names.append("varepsilon")
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
        self.pi_ref, self.log_old, self.log_ref = None, None, None
        if self.ratios:
            self._build_ratios(score)

    def _build_ratios(self, score):
        """π_ref, and the logarithms and the inverses of the three policies: 1/π, 1/π_old and 1/π_ref are numbers, because
        no policy gives probability 0."""
        S, A, K = self.S, self.A, self.K
        self.pi_ref = [self._row(f"q{s}", len(A)) for s in S]
        self.log_old, self.log_ref = ([[K.generator(f"L{x}{s}{a}") for a in A] for s in S] for x in "oq")
        for stem, log, law in (("p", "L", self.pi), ("o", "Lo", self.pi_old), ("q", "Lq", self.pi_ref)):
            for s in S:
                for a in A:
                    name, own = f"i{stem}{s}{a}", law[s][a]
                    K.invert(name, f"{log}{s}{a}", own)
                    if stem == "p":
                        K.declare(name, K.generator(name), -K.generator(name) * score[s][a])

    def able(self, *trees):
        """This world, or the same with π_ref and with quotients of policies, if a tree speaks of them."""
        if self.ratios or not any(map(self._has_ratios, trees)):
            return self
        if self._wide is None:
            self._wide = self.like(ratios=True)
        return self._wide

    def like(self, definitions=None, ratios=False):
        """A world of the same size and kind, with other definitions or with quotients."""
        states, actions, T, carrier, known, broken, options = self.made
        return type(self)(states, actions, T, carrier, known if definitions is None else definitions, broken, ratios, **options)

    def _has_ratios(self, tree):
        """Does the tree, with every definition unfolded, divide by a policy or speak of π_ref?"""
        if self._dividing is None:
            self._dividing = tuple(holders(divides, self.definitions))
        return divides(tree) or tree.has(*self._dividing)

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
        return [self.weight(nodes, self.pi_old, self.rho[nodes[0]] if start is None else self.K.one, action is None)
                for nodes, *_ in self.trajectories(start, time, action)]

    def weight(self, nodes, policy, start, free=True):
        """The probability of a path under a policy; not `free`: given its first action."""
        for at in range(0, len(nodes) - 1, 2):
            state, chosen, after = nodes[at:at + 3]
            start = start * (policy[state][chosen] if free or at > 0 else 1) * self.P[state][chosen][after]
        return start

    def old_names(self):
        """{a generator of π_old: the same of π}"""
        stems = (("o", "p"), ("Lo", "L"), ("io", "ip")) if self.ratios else (("o", "p"),)
        names = {f"{old}{s}{a}": f"{new}{s}{a}" for old, new in stems for s in self.S for a in self.A}
        return {x: y for x, y in names.items() if x in self.K.generators}

    def at_old(self, body, env):
        """The value at θ_old = θ, after every gradient inside: π_old has the numbers of π, and does not move."""
        if self._at_old is None:
            self._at_old = copy.copy(self)
            self._at_old._memo = {}
            if not isinstance(self.K, Symbolic):       # (where it is, the generators get their new names at the end)
                self._at_old.pi_old, self._at_old.log_old = self.still(self.pi), self.still(self.log_pi)
        value = self._at_old.read(body, env)
        return self.K.renamed(value, self.old_names()) if isinstance(self.K, Symbolic) else value

    def sign_at_old(self, value):
        """The sign of a value at θ_old = θ where that is clear: 0, or 1 of a positive number such as ε; else None."""
        value = self.K.one * value
        if not isinstance(self.K, Symbolic):
            return 0 if value.v == 0 else 1 if value.v > 0 else None
        value, rest = divmod(*self.K.cleared(self.K.renamed(value, self.old_names())))
        if value == rest == 0:
            return 0
        if not self.ratios or rest != 0 or len(value) != 1 or value.LC <= 0:
            return None
        return 1 if sum(value.degrees()) == value.degree(self.K.generator("varepsilon")) else None       # c ε^k, with c > 0

    def still(self, rows):
        return [[self.K.still(x) for x in row] for row in rows]

    def everywhere(self, path, time):
        """The environments over which a free τ and a free t are "for all"."""
        for tau in self.trajectories() if path else [None]:
            for u in range(self.T + 1) if time else [None]:
                yield {**self.env, **({L.τ: tau} if path else {}), **({L.t: u} if time else {})}
