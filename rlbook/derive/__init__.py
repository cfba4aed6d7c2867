"""Executable derivations: one sympy tree, read many ways.

    from rlbook.derive import *

gives an author the language (`language`) and what is done with it (`claims`): define, claim, derivation, refute.
"""
from . import language
from .algebra import Algebra
from .cases import Cases, Less, Nonnegative, oo
from .claims import claim, define, derivation, refute
from .decide import any_horizon, any_sample, any_size, any_trajectory, softmax
from .errors import IllFormed, Refuted, Undecided
from .gaussian import Gaussian, standard_normal
from .induction import Induction
from .language import *  # noqa: F403
from .printing import latex

__all__ = ["any_horizon", "any_sample", "any_size", "any_trajectory", "claim", "define", "derivation", "refute", "softmax",
           "IllFormed", "Refuted", "Undecided", "latex"]
__all__ += ["Algebra", "Cases", "Gaussian", "Induction", "Less", "Nonnegative", "oo", "standard_normal"]
INNER = ("sp", "MID", "head", "Bracket", "speaks_of_path", "misplaced", "PLACES", "OF_PATH")
__all__ += [name for name in vars(language) if not name.startswith("_") and name not in INNER]
