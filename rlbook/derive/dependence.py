"""What depends on θ, and what on θ_old: the list that every rule for gradients asks."""
from . import advantages as K
from . import language as L
from .definitions import holders

ON_POLICY = (L.J, L.V, L.Q, L.A, L.ToGo, L.Estimate, L.Ascent, L.e, L.b_star, L.g_return, L.g_togo, L.g_past,
             L.u, L.δπ, *K.LETTERS_OF_θ)               # they depend on θ, and no rule here says how,
ON_POLICY += tuple(holders(lambda body: body.has(L.Trained, *ON_POLICY)))      # like all that is defined by π_θ;
ON_POLICY_BUT_LETTERS = tuple(x for x in ON_POLICY if x not in K.LETTERS_OF_θ)
OF_OLD = L.V_old, L.Q_old, L.A_old, L.ToGo, L.θ_old    # and these on θ_old
OF_OLD += tuple(holders(lambda body: body.has(L.π_old, L.ExpectOld, *OF_OLD)))


class Score(L.Operator):
    """u = ∇ log of one distribution: `Score(π(a, s))`."""


class Curvature(L.Operator):
    """w = ∇ u of one distribution: `Curvature(π(a, s))`."""


def depends(e, *more):
    """Does this depend on θ?"""
    return e.has(L.Trained, Score, Curvature, L.θ, *ON_POLICY, *more)


def held_along(x, e):
    """May this be differentiated along the letter x as a constant? A letter of θ moves with every other one, but for the
    logits e1 and e2."""
    mine = {x} | K.APART if x in K.APART else {x}
    return x not in K.LETTERS_OF_θ or not e.has(L.Trained, *ON_POLICY_BUT_LETTERS, *(y for y in K.LETTERS_OF_θ if y not in mine))
