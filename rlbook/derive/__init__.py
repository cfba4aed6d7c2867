"""Executable derivations: one sympy tree, read many ways.

    from rlbook.derive import *

gives an author the language (`language`) and what is done with it (`claims`): define, claim, derivation, refute.
"""
from . import language
from .claims import any_horizon, any_sample, any_size, claim, define, derivation, refute, softmax
from .errors import IllFormed, Refuted, Undecided
from .language import *  # noqa: F403
from .printing import latex

__all__ = ["any_horizon", "any_sample", "any_size", "claim", "define", "derivation", "refute", "softmax",
           "IllFormed", "Refuted", "Undecided", "latex"]
__all__ += [name for name in vars(language) if not name.startswith("_") and name not in ("sp", "MID", "head", "Bracket")]
