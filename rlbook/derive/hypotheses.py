"""Which equation uses which hypothesis? Give up one at a time and see what still holds.

An equation that is decided on finite MDPs is decided again on MDPs where one hypothesis fails: the policy's numbers need
not sum to one, the dynamics' neither, or the start, the dynamics or the rewards move with θ.
"""
from collections import namedtuple

from . import claims, decide
from .carriers import Point
from .errors import IllFormed
from .mdp import HYPOTHESES, FiniteMDP, On

Row = namedtuple("Row", "id says uses")                # uses: {hypothesis: True, False, or None where it cannot be decided}


def broken_world(hypothesis, states=2, actions=2, T=1):
    """A random point first, then every number a symbol, with one hypothesis given up."""
    options = {"states": states, "actions": actions, "T": T, "broken": (hypothesis,)}
    return On(FiniteMDP(carrier=Point, **options), FiniteMDP(**options))


def needs(link, world):
    """Does the equation fail in a world without the hypothesis? None if it has no meaning there."""
    try:
        return any(world(lhs, rhs) != 0 for lhs, rhs in link.instances())
    except (IllFormed, NotImplementedError):
        return None


def table(equations=None, hypotheses=HYPOTHESES):
    """One row for each claim or derivation (all its steps together) that is decided on finite MDPs."""
    equations = claims.BOOK.values() if equations is None else equations
    equations = [claims.BOOK[x] if isinstance(x, str) else x for x in equations]
    worlds, rows = {hypothesis: broken_world(hypothesis) for hypothesis in hypotheses}, []
    for equation in equations:
        links = [link for link in equation.links() if (on := decide.worlds(link.by)) is not None and on.general]
        if links:
            uses = {h: _any(needs(link, worlds[h]) for link in links) for h in hypotheses}
            rows.append(Row(equation.id, equation.text(), uses))
    return rows


def _any(answers):
    """True if one is True, else None if one is unknown, else False."""
    answers = list(answers)
    return True if True in answers else None if None in answers else False


def markdown(rows):
    """The table for a page: a dot where the equation uses the hypothesis."""
    if not rows:
        return ""
    names = list(rows[0].uses)
    lines = ["| equation | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    sign = {True: "●", False: "", None: "–"}
    for row in rows:
        lines.append(f"| {{eq}}`eq-{row.id}` {row.says} | " + " | ".join(sign[row.uses[h]] for h in names) + " |")
    return "\n".join(lines)
