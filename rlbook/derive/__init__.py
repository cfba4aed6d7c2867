"""Executable derivations: one sympy tree, read many ways.

    from rlbook.derive import *

gives an author the language (`language`) and what is done with it (`claims`): define, claim, derivation, refute.
"""
from .claims import any_horizon, any_sample, any_size, claim, define, derivation, refute, softmax  # noqa: F401
from .errors import IllFormed, Refuted, Undecided  # noqa: F401
from .language import *  # noqa: F401,F403
from .printing import latex  # noqa: F401
